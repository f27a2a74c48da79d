// Examples → one padded micro-batch: packed examples follow each other in a row, each its own segment with positions
// from 0, and targets are shifted here, once.
import type { MicroBatch } from '../types.ts';
import type { MicroBatchPlan } from './epoch-plan.ts';
import type { Example } from './example.ts';

/** [N, T] with T the longest row. Targets of an example's last position, of padding and of masked labels are -1. */
export function assembleBatch(examples: readonly Example[], plan: MicroBatchPlan): MicroBatch {
  const rows = plan.length;
  const length = Math.max(...plan.map((row) => rowLength(examples, row)));
  const count = rows * length;
  const batch = {
    rows,
    length,
    inputIds: new Int32Array(count),
    positions: new Int32Array(count),
    segments: new Int32Array(count).fill(-1),
    targets: new Int32Array(count).fill(-1),
    weights: new Float32Array(count),
  };
  for (const [r, row] of plan.entries()) {
    let at = r * length;
    for (const [segment, index] of row.entries()) {
      const example = examples[index]!;
      place(batch, example, { at, segment });
      at += example.ids.length;
    }
  }
  return batch;
}

function rowLength(examples: readonly Example[], row: readonly number[]): number {
  return row.reduce((sum, index) => sum + examples[index]!.ids.length, 0);
}

function place(
  batch: MicroBatch,
  { ids, labels, weights }: Example,
  { at, segment }: { at: number; segment: number },
): void {
  batch.inputIds.set(ids, at);
  batch.segments.fill(segment, at, at + ids.length);
  for (let t = 0; t < ids.length; t++) {
    batch.positions[at + t] = t;
    const weight = weights?.[t + 1] ?? 1;
    if (t + 1 === ids.length || labels[t + 1]! < 0 || weight === 0) continue;
    batch.targets[at + t] = labels[t + 1]!;
    batch.weights[at + t] = weight;
  }
}
