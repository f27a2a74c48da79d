// Splits a pass into micro-batches. The trainer computes one at a time, and other tenants' requests come between them.
import type { PassResult, TokenDatum } from '../contracts/training-service.ts';

/** The most tokens of a micro-batch, unless a single sequence is longer: enough for fast products, and a bound on memory. */
const BATCH_TOKENS = 2048;
/** The most sequences of a micro-batch, as in jobs by default. */
const BATCH_SEQUENCES = 8;

/** Computes a pass by micro-batches. */
export async function passInBatches(
  data: readonly TokenDatum[],
  compute: (batch: readonly TokenDatum[]) => Promise<PassResult>,
): Promise<PassResult> {
  const logProbs = new Array<Float32Array>(data.length);
  let loss = 0;
  for (const indices of microBatches(data)) {
    const result = await compute(indices.map((index) => data[index]!));
    for (const [i, index] of indices.entries()) logProbs[index] = result.logProbs[i]!;
    loss += result.loss;
  }
  return { logProbs, loss };
}

/**
 * Returns the indices of each micro-batch, by length to save padding. The largest is first: if the trainer refuses it for lack of
 * memory, no other one has changed the gradients.
 */
function microBatches(data: readonly TokenDatum[]): number[][] {
  const lengthOf = (index: number) => data[index]!.inputIds.length;
  const sizeOf = (batch: readonly number[]) => batch.length * lengthOf(batch.at(-1)!);
  const batches: number[][] = [];
  for (const index of [...data.keys()].sort((a, b) => lengthOf(a) - lengthOf(b))) {
    const last = batches.at(-1);
    const fits = last && (last.length + 1) * lengthOf(index) <= BATCH_TOKENS;
    if (fits && last.length < BATCH_SEQUENCES) last.push(index);
    else batches.push([index]);
  }
  return batches.sort((a, b) => sizeOf(b) - sizeOf(a));
}
