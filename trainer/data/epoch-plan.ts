// Which examples each optimizer step of an epoch sees: a pure function of lengths, seed and epoch, so that a resumed
// run needs to know only where it was.
// The micro-batches in which validation rows are evaluated.
import { seededRandom, shuffle, streamSeed } from '../random.ts';
import { packInOrder, packLongestFirst } from './packing.ts';

/** Examples, by index, that share one sequence. */
export type SequencePlan = readonly number[];
/** Sequences that are computed at once. */
export type MicroBatchPlan = readonly SequencePlan[];
/** Micro-batches of one optimizer step. */
export type StepPlan = readonly MicroBatchPlan[];

export interface OrderOptions {
  readonly seed: number;
  /** False: the file's order. */
  readonly shuffle: boolean;
  readonly packing: boolean;
  /** Tokens of the longest sequence. */
  readonly maxLength: number;
  readonly batchSize: number;
  readonly gradAccumulation: number;
}

/** Windows that are sorted by length together: enough to save padding, few enough to stay mixed. */
const GROUPED_WINDOWS = 16;

/** The windows of one epoch; the last may be short. Their number is the same in every epoch. */
export function planEpoch(
  lengths: readonly number[],
  epoch: number,
  options: OrderOptions,
): StepPlan[] {
  const { seed, batchSize, gradAccumulation, maxLength } = options;
  const windowSize = batchSize * gradAccumulation;
  const order = lengths.map((_, index) => index);
  if (!options.shuffle) {
    const rows = options.packing
      ? packInOrder(lengths, order, maxLength)
      : order.map((index) => [index]);
    return chunks(rows, windowSize).map((window) => chunks(window, batchSize));
  }
  const random = seededRandom(streamSeed(seed, `epoch ${epoch}`));
  shuffle(order, random);
  const windows = options.packing
    ? chunks(shuffle(packLongestFirst(lengths, order, maxLength), random), windowSize)
    : groupByLength(lengths, order, { windowSize, random });
  return windows.map((window) => chunks(window, batchSize));
}

/** Windows of examples of like length, in mixed order; only the last of all may be short. */
function groupByLength(
  lengths: readonly number[],
  order: readonly number[],
  { windowSize, random }: { windowSize: number; random: () => number },
): number[][][] {
  const windows: number[][][] = [];
  for (const group of chunks(order, GROUPED_WINDOWS * windowSize)) {
    const sorted = group.sort((a, b) => lengths[b]! - lengths[a]!);
    for (const window of chunks(sorted, windowSize)) windows.push(window.map((index) => [index]));
  }
  const short = windows.at(-1)!.length < windowSize ? windows.splice(-1) : [];
  return [...shuffle(windows, random), ...short];
}

function chunks<T>(values: readonly T[], size: number): T[][] {
  const out: T[][] = [];
  for (let start = 0; start < values.length; start += size) {
    out.push(values.slice(start, start + size));
  }
  return out;
}

/** Sorted by length, so that little is padding; the sum does not depend on the order of rows. */
export function planValidation(lengths: readonly number[], batchSize: number): MicroBatchPlan[] {
  const order = lengths.map((_, index) => index).sort((a, b) => lengths[a]! - lengths[b]!);
  const plans: MicroBatchPlan[] = [];
  for (let start = 0; start < order.length; start += batchSize) {
    plans.push(order.slice(start, start + batchSize).map((index) => [index]));
  }
  return plans;
}
