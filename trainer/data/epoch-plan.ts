// Plans the examples of each optimizer step in an epoch. The plan is a pure function of lengths, seed and epoch, so a resumed
// run only needs its position.
import { seededRandom, shuffle, streamSeed } from '../random.ts';
import { type Example, sequenceLengths } from './example.ts';
import { packInOrder, packLongestFirst } from './packing.ts';

/** Indices of the examples that share one sequence. */
type PackedSequence = readonly number[];
/** The sequences of a micro-batch. */
export type MicroBatchPlan = readonly PackedSequence[];
/** The micro-batches of one optimizer step. */
export type StepBatches = readonly MicroBatchPlan[];

/** The settings that decide which examples a step gets. */
export interface OrderOptions {
  readonly seed: number;
  /** False: keeps the file's order. */
  readonly shuffle: boolean;
  readonly packing: boolean;
  /** The most tokens in a sequence. */
  readonly maxLength: number;
  readonly batchSize: number;
  readonly gradAccumulation: number;
}

/** Examples are sorted by length within this many steps: enough to save padding, few enough to stay random. */
const GROUPED_STEPS = 16;

/** Returns the steps of one epoch. The last may be short. Every epoch has the same number of steps. */
export function planEpoch(
  lengths: readonly number[],
  epoch: number,
  options: OrderOptions,
): StepBatches[] {
  const { seed, batchSize, gradAccumulation, maxLength } = options;
  const stepSize = batchSize * gradAccumulation;
  const order = lengths.map((_, index) => index);
  if (!options.shuffle) {
    const rows = options.packing
      ? packInOrder(lengths, order, maxLength)
      : order.map((index) => [index]);
    return chunks(rows, stepSize).map((step) => chunks(step, batchSize));
  }
  const random = seededRandom(streamSeed(seed, `epoch ${epoch}`));
  shuffle(order, random);
  const steps = options.packing
    ? chunks(shuffle(packLongestFirst(lengths, order, maxLength), random), stepSize)
    : groupByLength(lengths, order, { stepSize, random });
  return steps.map((step) => chunks(step, batchSize));
}

/** Returns steps of examples with similar lengths, in random order. Only the last may be short. */
function groupByLength(
  lengths: readonly number[],
  order: readonly number[],
  { stepSize, random }: { stepSize: number; random: () => number },
): number[][][] {
  const steps: number[][][] = [];
  for (const group of chunks(order, GROUPED_STEPS * stepSize)) {
    const sorted = group.sort((a, b) => lengths[b]! - lengths[a]!);
    for (const step of chunks(sorted, stepSize)) steps.push(step.map((index) => [index]));
  }
  const short = steps.at(-1)!.length < stepSize ? steps.splice(-1) : [];
  return [...shuffle(steps, random), ...short];
}

function chunks<T>(values: readonly T[], size: number): T[][] {
  const out: T[][] = [];
  for (let start = 0; start < values.length; start += size) {
    out.push(values.slice(start, start + size));
  }
  return out;
}

/** Returns the micro-batches of a validation, sorted by length to save padding. The loss does not depend on the order. */
export function planValidation(examples: readonly Example[], batchSize: number): MicroBatchPlan[] {
  const lengths = sequenceLengths(examples);
  const order = lengths.map((_, index) => index).sort((a, b) => lengths[a]! - lengths[b]!);
  return chunks(order, batchSize).map((batch) => batch.map((index) => [index]));
}
