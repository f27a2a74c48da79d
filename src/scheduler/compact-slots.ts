// Keeps the running sequences in KV slots 0..n-1, as a decode batch needs them, with the fewest moves. Plans the moves; the
// caller moves the data.
import type { SlotId } from '../engine/batch.ts';
import type { Sequence } from './sequence.ts';

/** A copy from one KV slot to another. */
export interface SlotMove {
  readonly from: SlotId;
  readonly to: SlotId;
  /** How many positions are filled and have to be copied. */
  readonly length: number;
}

/**
 * Moves running sequences from slots past the end into free slots before it. Afterwards `rows[i]` owns slot i, and the
 * prefilling sequences own the slots after the last row, in order. Prefilling sequences without a slot get one.
 */
export function compactSlots(
  running: readonly Sequence[],
  prefilling: readonly Sequence[],
): {
  rows: Sequence[];
  moves: SlotMove[];
} {
  const rows = new Array<Sequence | undefined>(running.length).fill(undefined);
  const outside: Sequence[] = [];
  for (const sequence of running) {
    if (sequence.slot! < rows.length) rows[sequence.slot!] = sequence;
    else outside.push(sequence);
  }
  const moves: SlotMove[] = [];
  const move = (sequence: Sequence, to: number) => {
    moves.push({ from: sequence.slot!, to: to as SlotId, length: sequence.pastLength });
    sequence.slot = to as SlotId;
  };
  for (const [i, row] of rows.entries()) {
    if (row) continue;
    rows[i] = outside.pop()!; // as many sequences are outside as slots are free
    move(rows[i]!, i);
  }
  prefilling.forEach((sequence, i) => {
    if (sequence.slot === undefined) sequence.slot = (rows.length + i) as SlotId;
    else if (sequence.slot !== rows.length + i) move(sequence, rows.length + i);
  });
  return { rows: rows as Sequence[], moves };
}
