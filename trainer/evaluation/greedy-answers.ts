// Generates a few greedy answers with the trainer's forward pass, to check whether an adapter can still answer. There is no KV
// cache: every token recomputes the whole text.
import type { ModelText } from '../data/encode-row.ts';
import type { Example } from '../data/example.ts';
import { assembleBatch } from '../data/micro-batch.ts';
import type { ProbedModel } from '../types.ts';

/** Enough to detect a loop. */
const ANSWER_TOKENS = 8;
/** The prompt length for an example without a prompt. */
const OPENING_TOKENS = 16;

/** Returns an example's prompt: the tokens before the first label, or its first tokens. */
export function promptOf({ ids, labels }: Example): readonly number[] {
  const first = labels.findIndex((label, t) => t > 0 && label >= 0);
  const length = first > 1 ? first : Math.min(OPENING_TOKENS, ids.length);
  return [...ids.subarray(0, length)];
}

/**
 * The most tokens of a short output, such as a label of one word. Much of what an adapter learns from short outputs is when to stop,
 * and it learns this first: after a few steps it stops before the label, or repeats it. This is no damage if its rows have become
 * more probable.
 */
const SHORT_TOKENS = 4;

/** Whether an example's output is short. */
export function isShort({ labels }: Example, stopIds: readonly number[]): boolean {
  const output = labels.filter((label, t) => t > 0 && label >= 0 && !stopIds.includes(label));
  return output.length <= SHORT_TOKENS;
}

/** The conditions that end an answer. */
interface GreedyOptions {
  readonly stopIds: readonly number[];
  /** The model's positions. A longer prompt loses its start. */
  readonly maxPositions: number;
}

/** Returns each prompt's answer, without the stop token. */
export async function generateGreedily(
  model: Pick<ProbedModel, 'predict'>,
  prompts: readonly (readonly number[])[],
  { stopIds, maxPositions }: GreedyOptions,
): Promise<number[][]> {
  const sequences = prompts.map((prompt) => [...prompt.slice(-(maxPositions - ANSWER_TOKENS))]);
  const answers = prompts.map((): number[] => []);
  let running = [...prompts.keys()];
  for (let count = 0; count < ANSWER_TOKENS && running.length > 0; count++) {
    const next = await model.predict(toBatch(running.map((index) => sequences[index]!)));
    running = running.filter((index, row) => {
      const id = next[row]!;
      if (stopIds.includes(id)) return false;
      sequences[index]!.push(id);
      answers[index]!.push(id);
      return true;
    });
  }
  return answers;
}

function toBatch(sequences: readonly (readonly number[])[]) {
  const examples = sequences.map((sequence): Example => {
    const ids = Int32Array.from(sequence);
    return { ids, labels: new Int32Array(ids.length).fill(-1), weights: undefined };
  });
  return assembleBatch(
    examples,
    examples.map((_, index) => [index]),
  );
}

/** Whether an answer is empty, or repeats one token up to the limit. */
export function isDegenerate(answer: readonly number[], modelText: ModelText | undefined): boolean {
  const text = modelText?.tokenizer.decode(answer, { skipSpecials: true });
  const isEmpty = text === undefined ? answer.length === 0 : text.trim() === '';
  return isEmpty || (answer.length === ANSWER_TOKENS && new Set(answer).size === 1);
}
