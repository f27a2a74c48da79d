// Packing: decides which examples share a sequence, and a micro-batch's rows, to save padding. Pure: it works on lengths alone.
// The attention mask keeps packed examples apart.
import { largest } from '../../src/common/long-arrays.ts';

/**
 * Returns groups of indices whose lengths sum to at most `capacity`: longest first, each into the fullest group with room (best
 * fit). A length above the capacity gets a separate group. The number of groups does not depend on the order.
 */
export function packLongestFirst(
  lengths: readonly number[],
  order: readonly number[],
  capacity: number,
): number[][] {
  const byLength = [...order].sort((a, b) => lengths[b]! - lengths[a]!); // stable: equal lengths stay shuffled
  const packs: number[][] = [];
  /** Packs by the room that is left in them. */
  const open: number[][][] = Array.from({ length: capacity + 1 }, () => []);
  for (const index of byLength) {
    const length = lengths[index]!;
    let room = length;
    while (room <= capacity && open[room]!.length === 0) room++;
    const pack = room <= capacity ? open[room]!.pop()! : [];
    if (pack.length === 0) packs.push(pack);
    pack.push(index);
    const left = Math.min(room, capacity) - length;
    if (left > 0) open[left]!.push(pack);
  }
  return packs;
}

/** Packs in the given order: a sequence ends when the next example does not fit. */
export function packInOrder(
  lengths: readonly number[],
  order: readonly number[],
  capacity: number,
): number[][] {
  const packs: number[][] = [];
  let room = 0;
  for (const index of order) {
    const length = lengths[index]!;
    if (length > room || packs.length === 0) {
      packs.push([]);
      room = capacity;
    }
    packs.at(-1)!.push(index);
    room -= length;
  }
  return packs;
}

/**
 * The row length at which attention costs as much as everything else, measured on SmolLM2-135M. Attention's cost per position
 * grows with the row length. Wider models reach this point at longer rows.
 */
const ATTENTION_LENGTH = 1500;

/**
 * Returns the cheapest rows for a micro-batch's examples. Many short rows waste padding; few long ones spend more on attention.
 */
export function balanceRows(lengths: readonly number[]): number[][] {
  const longest = largest(lengths);
  let best: { cost: number; rows: number[][] } | undefined;
  for (let count = 1; count <= lengths.length; count++) {
    const { rows, length } = spreadOver(lengths, count);
    const cost = count * length * (1 + length / ATTENTION_LENGTH);
    if (!best || cost < best.cost) best = { cost, rows };
    if (length === longest) break; // a further row would only add padding
  }
  return best?.rows ?? [];
}

/** Distributes examples over rows: longest first, each into the shortest row so far. */
function spreadOver(lengths: readonly number[], count: number) {
  const rows = Array.from({ length: count }, () => ({ length: 0, indexes: [] as number[] }));
  const byLength = lengths.map((_, index) => index).sort((a, b) => lengths[b]! - lengths[a]!);
  for (const index of byLength) {
    const row = rows.reduce((least, other) => (other.length < least.length ? other : least));
    row.length += lengths[index]!;
    row.indexes.push(index);
  }
  return {
    rows: rows.map(({ indexes }) => indexes),
    length: largest(rows.map(({ length }) => length)),
  };
}
