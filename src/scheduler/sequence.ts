// One sequence as plain state, and how the results of a run change it. Pure: involves no other sequence, no queue and no
// engine.
import type { AdapterWeights } from '../../adapters/peft/weights.ts';
import { assert } from '../common/assert.ts';
import { fieldError, ServeError } from '../common/errors.ts';
import { append } from '../common/long-arrays.ts';
import type { AddedTokens } from '../contracts/added-tokens.ts';
import type {
  CompiledConstraint,
  Constraint,
  GenerationRequest,
  TokenLogprob,
} from '../contracts/generation.ts';
import type { AdapterKey, DecodeRow, PrefillBatch, RowResult, SlotId } from '../engine/batch.ts';
import type { Pooler } from '../engine/pooler.ts';
import type { PrefixChain } from '../engine/prefix/prefix-cache.ts';
import type { TokenBan, TokenMatcher } from '../engine/sampling/constraints.ts';
import type { Sampler } from '../engine/sampling/sampler.ts';
import { type AheadRow, type Drafter, planAhead, usableForced } from './drafter.ts';
import type { EngineEvent, SequenceId } from './protocol.ts';

/** `loading` → `waiting` → `prefilling` → `running` → `finished`. A sequence can finish in any state. */
type SequenceState = 'loading' | 'waiting' | 'prefilling' | 'running' | 'finished';

/** Creates the matcher of a compiled constraint for the tokens of the base and an adapter. */
export type CreateMatcher = (
  constraint: CompiledConstraint,
  added: AddedTokens | undefined,
  tenant: string,
) => Promise<TokenMatcher>;

/** Creates the ban of a sequence's words for the tokens of the base and an adapter. */
export type CreateBan = (
  words: readonly string[],
  added: AddedTokens | undefined,
) => Promise<TokenBan>;

/** An event that ends a sequence. */
export type TerminalEvent = Extract<EngineEvent, { type: 'finished' | 'failed' }>;

/** The parts of a sequence that it is created with. */
interface SequenceInit {
  readonly id: SequenceId;
  readonly tenant: string;
  /** The tenant's share when the sequence was submitted. */
  readonly weight: number;
  /** Whether it only uses slots and time that no other sequence wants. */
  readonly isIdle?: true | undefined;
  /** Undefined for the base. */
  readonly adapter: AdapterKey | undefined;
  readonly request: GenerationRequest;
  readonly sampler: Sampler;
  /** Computes the prompt's embedding. Absent if none is wanted. */
  readonly pooler?: Pooler | undefined;
  /** Whether its completion must depend on its request alone. Then no step takes forced tokens, and only its prompt is cached. */
  readonly isInvariant?: boolean;
  /** Guesses tokens. Absent if the sequence does not draft. */
  readonly drafter?: Drafter | undefined;
  /** The prompt's keys in the prefix cache. Undefined if the sequence does not use the cache or its slot was zeroed. */
  prefix?: PrefixChain | undefined;
}

/** How far a sequence is. */
class Progress {
  state: SequenceState = 'waiting';
  /** The position from which the adapter applies. Earlier tokens run as the base. */
  adapterFrom = 0;
  /** When it started to wait for a slot, in monotonic milliseconds. */
  waitingSinceMs = 0;
  /** The KV slot that it owns during prefill and decoding. */
  slot: SlotId | undefined;
  /** How many of its tokens are in the KV cache. */
  pastLength = 0;
  /** How many prompt tokens came from the prefix cache. */
  cachedTokens = 0;
  /** How many of its tokens the prefix cache held when this sequence last used it. */
  savedTokens = 0;
  /** The sequence with the same prefix whose prefill this one has waited for. A sequence waits for only one. */
  waitedFor: SequenceId | undefined;
  /** The last token, which is not in the cache yet. */
  lastTokenId: number | undefined;
  /** The generated tokens, without a final stop token. */
  readonly generatedIds: number[] = [];
  completionTokens = 0;
  /** Logprobs of the chunks that have run so far. */
  readonly promptLogprobs: TokenLogprob[] = [];
  /** Set if the sequence was ended during its step. Replaces the results of that step. */
  ending: TerminalEvent | undefined;
}

/** One completion in the scheduler, from submit to its end. */
export type Sequence = SequenceInit & Progress;

/**
 * Whether something must be loaded before the sequence can run: an adapter, a grammar, banned words or the graph for
 * embeddings.
 */
export function needsLoading({ adapter, request }: Pick<Sequence, 'adapter' | 'request'>): boolean {
  return [adapter, request.constraint, request.badWords, request.pooling].some(
    (needed) => needed !== undefined,
  );
}

/** Gives the pooler its classifier. Throws `ServeError` if the request asks for results that the adapter does not provide. */
export function matchClassifier(
  { classifier }: Pick<AdapterWeights, 'classifier'>,
  { request, pooler }: Pick<Sequence, 'request' | 'pooler'>,
): void {
  if (request.classifies) {
    const message = 'model: has no classification head. Use an adapter with the task type SEQ_CLS.';
    if (!classifier) throw new ServeError('invalid_request', message, { param: 'model' });
    pooler?.classifyBy(classifier);
  } else if (classifier && !pooler) {
    const fault = 'this adapter classifies text and cannot generate it. Use POST /classify.';
    throw fieldError('model', fault);
  }
}

/** Throws `ServeError` if a request names a token that its model lacks. `size` is the size of the model's vocabulary. */
export function checkTokens(
  { promptIds, predictionIds = [], sampling }: GenerationRequest,
  size: number,
): void {
  const { logitBias, allowedTokenIds = [], minTokens } = sampling;
  const lists = [promptIds, predictionIds, allowedTokenIds, minTokens?.endings ?? []];
  for (const ids of [...lists, logitBias.keys()])
    for (const id of ids) {
      if (id < size) continue;
      const message = `The model has no token ${id}: its vocabulary has ${size} tokens.`;
      throw new ServeError('invalid_request', message);
    }
}

/** Creates a sequence in the state `loading` if something must be loaded, else `waiting`. */
export function createSequence(init: SequenceInit): Sequence {
  const sequence = Object.assign(new Progress(), init);
  if (needsLoading(init)) sequence.state = 'loading';
  return sequence;
}

/** Returns the event that carries a pooled prompt's embedding or scores. */
export function pooledEvent(id: SequenceId, pooler: Pooler): EngineEvent {
  const classified = pooler.scores();
  if (classified) return { type: 'scores', id, ...classified };
  return { type: 'embedding', id, embedding: pooler.embedding() };
}

/** Returns the event that ends a sequence with an error. */
export function failedEvent({ id }: Pick<Sequence, 'id'>, error: ServeError): TerminalEvent {
  return { type: 'failed', id, error: error.toPlain() };
}

/** Whether an event ends its sequence. */
export function isTerminal(event: EngineEvent | undefined): event is TerminalEvent {
  return event?.type === 'finished' || event?.type === 'failed';
}

/** Whether the engine has zeroed the row's slot. */
export function isZeroed(row: RowResult | undefined): boolean {
  return row?.ok === false && row.reason === 'non_finite';
}

/**
 * No chunk leaves a single token over, because one is computed in another way than several. The length of chunks would change
 * the completion.
 */
function chunkEnd(start: number, last: number, chunkTokens: number): number {
  const end = Math.min(start + chunkTokens, last);
  return last - end === 1 && end - start > 2 ? end - 1 : end;
}

/** Returns the next chunk of the prompt, at most `chunkTokens` tokens. */
export function toPrefillBatch(sequence: Sequence, chunkTokens: number): PrefillBatch {
  const { promptIds, maxTokens, promptTopLogprobs, promptTargetIds } = sequence.request;
  const { slot, pastLength, adapterFrom } = sequence;
  assert(slot !== undefined, 'a prefilling sequence owns a slot');
  const isBase = pastLength < adapterFrom;
  const last = isBase ? Math.min(adapterFrom, promptIds.length) : promptIds.length;
  const end = chunkEnd(pastLength, last, chunkTokens);
  const tokenIds = promptIds.slice(pastLength, end);
  const samples = end === promptIds.length && maxTokens > 0;
  // A scored prompt needs only the rows of the prompt, so no forced tokens run with it.
  const runsForced = samples && promptTopLogprobs === undefined;
  return {
    kind: 'prefill',
    slot,
    adapter: isBase ? undefined : sequence.adapter,
    tokenIds,
    pastLength,
    sampler: samples ? sequence.sampler : undefined,
    pooler: sequence.pooler,
    forcedIds: runsForced ? usableForced(toAheadRow(sequence)) : [],
    scoring:
      promptTopLogprobs === undefined
        ? undefined
        : {
            nextIds: tokenIds.map((_, i) => promptIds[pastLength + i + 1]),
            topLogprobs: promptTopLogprobs,
            ...(promptTargetIds && { targetIds: promptTargetIds.slice(pastLength, end) }),
          },
  };
}

/** Returns the rows of the running sequences in a decode batch. */
export function toDecodeRows(sequences: readonly Sequence[]): DecodeRow[] {
  const ahead = planAhead(sequences.map(toAheadRow));
  return sequences.map((sequence, i) => {
    const { lastTokenId, pastLength, adapterFrom, sampler } = sequence;
    assert(lastTokenId !== undefined, 'a running sequence has a last token');
    const adapter = pastLength < adapterFrom ? undefined : sequence.adapter;
    return { adapter, tokenId: lastTokenId, pastLength, sampler, ...ahead[i]! };
  });
}

function toAheadRow(sequence: Sequence): AheadRow {
  const { drafter, sampler, request, completionTokens, isInvariant } = sequence;
  const { stopTokenIds, maxTokens } = request;
  const remainingTokens = maxTokens - completionTokens;
  return { drafter, upcoming: isInvariant ? [] : sampler.upcoming, stopTokenIds, remainingTokens };
}

/** The events of a sequence's run, and how many tokens they cover. */
interface AppliedRows {
  /** The last one may be terminal. */
  readonly events: EngineEvent[];
  /** Includes a stop token, which the client does not see. */
  readonly generatedTokens: number;
  /** How many tokens were certain to end the text and therefore needed no run. */
  readonly endingTokens: number;
}

/** Applies the tokens of a run to their sequence, and the tokens that must follow to end its text. */
export function applyRows(sequence: Sequence, rows: readonly RowResult[]): AppliedRows {
  const { sampler } = sequence;
  const events: EngineEvent[] = [];
  let generatedTokens = 0;
  let endingTokens = 0;
  const isOver = () => isTerminal(events.at(-1));
  // The sampler has already drawn all rows, so only the last row can have completed the text.
  for (const [i, row] of rows.entries()) {
    if (isOver()) break;
    append(events, applyRow(sequence, row, i === rows.length - 1 && sampler.isComplete));
    if (row.ok) generatedTokens++;
  }
  while (!isOver()) {
    const id = sampler.takeEnding();
    if (id === undefined) break;
    append(events, applyRow(sequence, { ok: true, id }, sampler.isComplete));
    endingTokens++;
  }
  return { events, generatedTokens: generatedTokens + endingTokens, endingTokens };
}

function applyRow(sequence: Sequence, row: RowResult, isComplete: boolean): EngineEvent[] {
  const { id, request } = sequence;
  if (!row.ok) return [failedEvent(sequence, rowError(sequence, row.reason))];
  const { logprob } = row;
  const token: EngineEvent = { type: 'token', id, tokenId: row.id, ...(logprob && { logprob }) };
  if (request.stopTokenIds.includes(row.id)) {
    const finished: EngineEvent = { type: 'finished', id, reason: 'stop' };
    return request.includesStopToken ? [token, finished] : [finished];
  }
  sequence.lastTokenId = row.id;
  sequence.drafter?.append(row.id);
  sequence.generatedIds.push(row.id);
  sequence.completionTokens++;
  if (isComplete) return [token, { type: 'finished', id, reason: 'stop' }];
  // Prompt and maxTokens fit into a slot (asserted at submit), so this is the only limit.
  if (sequence.completionTokens < request.maxTokens) return [token];
  return [token, { type: 'finished', id, reason: 'length' }];
}

/** The names of constraints in messages. A request has several fields for a constraint, and its model may supply one. */
const CONSTRAINT_NAMES: Partial<Record<Constraint['kind'], string>> = {
  json_schema: 'the JSON schema',
  regex: 'the regular expression',
  grammar: 'the grammar',
  choice: 'the list of choices',
};

function forbidsAll({ sampling, badWords, constraint }: GenerationRequest): ServeError {
  const { allowedTokenIds, minTokens } = sampling;
  const lists = { allowed_token_ids: allowedTokenIds, bad_words: badWords, min_tokens: minTokens };
  const fields = Object.entries(lists).flatMap(([field, list]) => (list ? [field] : []));
  const names = [...fields];
  if (constraint) names.push(CONSTRAINT_NAMES[constraint.kind] ?? 'the format of the answer');
  const list = new Intl.ListFormat('en').format(names);
  const verb = names.length > 1 ? 'together forbid' : 'forbids';
  const message = `No token can be generated: ${list} ${verb} every token. Allow at least one.`;
  return new ServeError('invalid_request', message, fields[0] ? { param: fields[0] } : {});
}

function rowError(
  { adapter, request }: Sequence,
  reason: Extract<RowResult, { ok: false }>['reason'],
): ServeError {
  if (reason === 'nothing_allowed') return forbidsAll(request);
  if (reason === 'too_ambiguous') {
    const message =
      'The grammar is too ambiguous: it takes too long to find the tokens that may follow. Avoid repeats within repeats.';
    return new ServeError('invalid_request', message);
  }
  return adapter === undefined
    ? new ServeError(
        'internal_error',
        'The model produced a value that is not finite. An operator can check its weights: lorikeet verify',
      )
    : new ServeError(
        'adapter_non_finite',
        'The adapter produced a value that is not finite. Train it again with a lower learning rate, or use an older version.',
      );
}

/**
 * Returns the prompt tokens that count for the repetition penalty. A chat prompt contains the end-of-turn token, and penalizing
 * that token would make every completion longer.
 */
export function penalizedIds({ promptIds, stopTokenIds }: GenerationRequest): readonly number[] {
  return promptIds.filter((id) => !stopTokenIds.includes(id));
}

/** The part of a prompt for which an adapter is used, and the keys of its blocks. Empty: the whole prompt. */
export type AdapterStart = Partial<Pick<Sequence, 'adapterFrom' | 'prefix'>>;

/**
 * Returns the position of the invocation's last occurrence in a prompt, from which the adapter applies. If there is none,
 * returns Infinity: the adapter is not used at all, as in peft.
 */
export function adapterStart(promptIds: readonly number[], invocation: readonly number[]): number {
  for (let start = promptIds.length - invocation.length; start >= 0; start--)
    if (invocation.every((id, i) => promptIds[start + i] === id)) return start;
  return Number.POSITIVE_INFINITY;
}
