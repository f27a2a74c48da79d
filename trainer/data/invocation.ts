// The invocation of an activated LoRA: token ids after whose last occurrence in a row the adapter applies and is trained.
import { ConfigError } from '../../src/common/errors.ts';
import type { ModelText } from './encode-row.ts';
import type { Example } from './example.ts';
import type { RowEncoder } from './load-dataset.ts';

/** The model whose tokens form the invocation. */
interface InvocationModel {
  readonly vocabSize: number;
  /** Undefined if the model has no tokenizer. */
  readonly modelText: ModelText | undefined;
}

/**
 * Returns the token ids of a job's invocation. Control tokens in the text are recognized. @throws ConfigError naming `alora`
 */
export function resolveInvocation(
  wanted: string | readonly number[] | undefined,
  { vocabSize, modelText }: InvocationModel,
): readonly number[] | undefined {
  if (wanted === undefined) return undefined;
  if (typeof wanted === 'string') {
    if (modelText) return modelText.tokenizer.encode(wanted, { specials: true });
    throw new ConfigError('alora: the model has no tokenizer, so it must be a list of token ids');
  }
  const index = wanted.findIndex((id) => id >= vocabSize);
  if (index < 0) return wanted;
  throw new ConfigError(
    `alora[${index}]: ${wanted[index]} is not a token id (the vocabulary has ${vocabSize} tokens)`,
  );
}

/** Returns the position of the last occurrence of the invocation in ids[start, end); -1 if it does not occur. */
export function lastInvocation(
  ids: Int32Array,
  invocation: readonly number[],
  { start = 0, end = ids.length }: { readonly start?: number; readonly end?: number } = {},
): number {
  for (let at = end - invocation.length; at >= start; at--) {
    if (invocation.every((id, i) => ids[at + i] === id)) return at;
  }
  return -1;
}

/**
 * Returns an encoder that keeps labels only at positions that the adapter predicts: those after the first token of the last
 * invocation. An example without an invocation has no labels.
 */
export function learnFromInvocation(
  encode: RowEncoder,
  invocation: readonly number[] | undefined,
): RowEncoder {
  if (!invocation) return encode;
  return (row) => maskBefore(encode(row), invocation);
}

function maskBefore(example: Example, invocation: readonly number[]): Example {
  const { ids } = example;
  const start = lastInvocation(ids, invocation);
  const labels = example.labels.slice();
  labels.fill(-1, 0, start < 0 ? ids.length : start + 1);
  const { rejected } = example;
  return { ...example, labels, ...(rejected && { rejected: maskBefore(rejected, invocation) }) };
}
