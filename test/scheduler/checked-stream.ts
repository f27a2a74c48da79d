// A sequence of a simulated scheduler with its events so far, and the checks of these.
import type { EngineEvent } from '../../src/scheduler/protocol.ts';
import { isTerminal, type Sequence } from '../../src/scheduler/sequence.ts';
import { POISON, referencePromptLogprobs, referenceTokens } from './fake-engine.ts';
import type { Submission } from './simulated-operations.ts';

/** A sequence and what came of it. */
export interface Tracked {
  readonly sequence: Sequence;
  readonly tenant: Submission['tenant'];
  readonly events: EngineEvent[];
  abortedAt: 'no' | 'asked' | 'due';
  /** The steps since its last chunk, while its prompt is unfinished. */
  idleSteps: number;
}

/** I01, I07, I09: compares the stream so far with that of the sequence alone. */
export function checkStream({ sequence, events }: Tracked): void {
  const { request, adapter } = sequence;
  const expected = referenceTokens(request, adapter === POISON ? undefined : adapter);
  const tokens = events.flatMap((event) => (event.type === 'token' ? [event.tokenId] : []));
  const isPrefix = tokens.every((token, i) => token === expected[i]);
  check(isPrefix, 'I01', `${sequence.id}: ${tokens} is not the start of ${expected}`);
  const [first] = events;
  const last = events.at(-1)!;
  const prompts = events.filter(({ type }) => type === 'prompt').length;
  check(
    prompts === 0 || (prompts === 1 && first?.type === 'prompt'),
    'I07',
    'the prompt comes first',
  );
  if (first?.type === 'prompt') {
    const scores = referencePromptLogprobs(request.promptIds, adapter);
    check(JSON.stringify(first.logprobs) === JSON.stringify(scores), 'I01', 'a wrong prompt score');
  }
  if (!isTerminal(last)) return;
  check(tokens.length === sequence.completionTokens, 'I09', 'tokens counted are not tokens sent');
  if (last.type !== 'finished' || last.reason === 'abort') return;
  check(tokens.length === expected.length, 'I09', `${tokens.length} tokens of ${expected.length}`);
  check(prompts === (request.promptTopLogprobs === undefined ? 0 : 1), 'I07', 'the prompt is lost');
}

/** Throws an error that starts with the invariant's name if the condition is false. */
export function check(condition: unknown, invariant: string, message: string): asserts condition {
  if (!condition) throw new Error(`${invariant}: ${message}`);
}
