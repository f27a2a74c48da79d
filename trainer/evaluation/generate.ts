// A few greedy answers by the trainer's own forward pass: enough to see whether an adapter still speaks. Every token
// computes the whole text again; serving is the engine's part.

import type { Language } from '../data/encode-row.ts';
import type { Example } from '../data/example.ts';
import { assembleBatch } from '../data/micro-batch.ts';
import type { ProbedModel } from '../types.ts';

/** Enough to see a loop. */
const ANSWER_TOKENS = 8;
/** Tokens of a text that has no question in it, as the beginning of one. */
const OPENING_TOKENS = 16;

/** What an answer to this example begins from: all before the first token that is learned, or its opening. */
export function promptOf({ ids, labels }: Example): readonly number[] {
  const first = labels.findIndex((label, t) => t > 0 && label >= 0);
  const length = first > 1 ? first : Math.min(OPENING_TOKENS, ids.length);
  return [...ids.subarray(0, length)];
}

export interface GreedyOptions {
  readonly stopIds: readonly number[];
  /** Of the model; a longer prompt loses its beginning. */
  readonly maxPositions: number;
}

/** The likeliest tokens, by prompt, without the one that ends an answer. */
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

/** Nothing to read, or one token to the limit. */
export function isDegenerate(answer: readonly number[], language: Language | undefined): boolean {
  const text = language?.tokenizer.decode(answer, { skipSpecials: true });
  const isEmpty = text === undefined ? answer.length === 0 : text.trim() === '';
  return isEmpty || (answer.length === ANSWER_TOKENS && new Set(answer).size === 1);
}
