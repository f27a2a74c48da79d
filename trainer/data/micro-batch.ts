// Assembles examples into a padded micro-batch. Packed examples follow each other in a row; each is a separate segment with
// positions from 0. Targets are shifted only here.
import { largest } from '../../src/common/long-arrays.ts';
import type { MicroBatch } from '../types.ts';
import type { MicroBatchPlan } from './epoch-plan.ts';
import { countLabels, type Example, sequencesOf } from './example.ts';
import { balanceRows } from './packing.ts';

/**
 * Assembles whole examples as [N, T], with T the length of the longest row. Last positions, padding and masked labels get the
 * target -1.
 */
export function assembleBatch(examples: readonly Example[], plan: MicroBatchPlan): MicroBatch {
  return fillRows(plan.map((row) => row.map((index) => trimmed(examples[index]!))));
}

/**
 * Assembles a batch with the same losses for less work. Positions after the one that predicts an example's last label are
 * dropped, and short examples share a row if that is cheaper than padding.
 */
export function assembleTightBatch(examples: readonly Example[], plan: MicroBatchPlan): MicroBatch {
  return assembleSequences(examples, plan).batch;
}

/** A micro-batch, and the sequences to which its targets belong. */
interface SequenceBatch {
  readonly batch: MicroBatch;
  /**
   * [targets in the loss]: the number of the sequence that a target belongs to, in the batch's order. Sequences are counted in
   * the plan's order; those of pair p are 2p (chosen) and 2p + 1 (rejected).
   */
  readonly sequences: Int32Array;
  /** [targets in the loss]: the number of earlier targets in the same sequence. */
  readonly offsets: Int32Array;
}

/** Assembles a tight batch, and tells which sequence each of its targets belongs to. */
export function assembleSequences(
  examples: readonly Example[],
  plan: MicroBatchPlan,
): SequenceBatch {
  const all = plan
    .flat()
    .flatMap((index) => sequencesOf(examples[index]!))
    .map((sequence) => trimmed(sequence, trainedLength(sequence)));
  const rows = balanceRows(all.map(({ length }) => length));
  const counts = rows.flat().map((number) => [number, countLabels(all[number]!.example)] as const);
  return {
    batch: fillRows(rows.map((row) => row.map((index) => all[index]!))),
    sequences: Int32Array.from(
      counts.flatMap(([number, count]) => new Array<number>(count).fill(number)),
    ),
    offsets: Int32Array.from(counts.flatMap(([, count]) => [...new Array(count).keys()])),
  };
}

/** Counts the positions up to the one that predicts the last trained label; at least one. */
export function trainedLength({ labels, weights }: Example): number {
  let last = labels.length - 1;
  while (last > 1 && !(labels[last]! >= 0 && (weights?.[last] ?? 1) > 0)) last--;
  return Math.max(last, 1);
}

/** The first `length` positions of an example. */
interface TrimmedExample {
  readonly example: Example;
  readonly length: number;
}

function trimmed(example: Example, length = example.ids.length): TrimmedExample {
  return { example, length };
}

function fillRows(rows: readonly (readonly TrimmedExample[])[]): MicroBatch {
  const lengths = rows.map((row) => row.reduce((sum, { length }) => sum + length, 0));
  const length = largest(lengths);
  const count = rows.length * length;
  const batch = {
    rows: rows.length,
    length,
    inputIds: new Int32Array(count),
    positions: new Int32Array(count),
    segments: new Int32Array(count).fill(-1),
    targets: new Int32Array(count).fill(-1),
    weights: new Float32Array(count),
  };
  for (const [r, row] of rows.entries()) {
    let at = r * length;
    for (const [segment, one] of row.entries()) {
      writeExample(batch, one, { at, segment });
      at += one.length;
    }
  }
  return batch;
}

function writeExample(
  batch: MicroBatch,
  { example: { ids, labels, weights }, length }: TrimmedExample,
  { at, segment }: { at: number; segment: number },
): void {
  batch.inputIds.set(ids.subarray(0, length), at);
  batch.segments.fill(segment, at, at + length);
  for (let t = 0; t < length; t++) {
    batch.positions[at + t] = t;
    const weight = weights?.[t + 1] ?? 1;
    if (t + 1 === labels.length || labels[t + 1]! < 0 || weight === 0) continue;
    batch.targets[at + t] = labels[t + 1]!;
    batch.weights[at + t] = weight;
  }
}
