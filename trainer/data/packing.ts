// Packing: which examples share a sequence. Longest first, each into the fullest sequence that still has room, so that
// few positions are padding; and in which rows those of a micro-batch are computed. Knows lengths only; that packed
// examples do not see each other is the graph's part.

/**
 * Groups of indexes whose lengths sum to at most `capacity`; a length above it gets a sequence of its own.
 * How many there are depends on the lengths only, not on their order.
 */
export function packLongestFirst(
  lengths: readonly number[],
  order: readonly number[],
  capacity: number,
): number[][] {
  const byLength = [...order].sort((a, b) => lengths[b]! - lengths[a]!); // stable: mixed stays mixed
  const packs: number[][] = [];
  /** Room left → packs with that room. */
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

/** The same in the order given: a sequence is closed when the next example does not fit. */
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
 * Positions of a row whose attention costs as much as all else: its products grow with the row's length, the others do
 * not. Measured on SmolLM2-135M; the wider a model, the longer the row.
 */
const ATTENTION_LENGTH = 1500;

/**
 * The rows in which the examples of a micro-batch cost least: many short rows are padded to the longest, few long ones
 * spend more on attention.
 */
export function balanceRows(lengths: readonly number[]): number[][] {
  const longest = Math.max(...lengths);
  let best: { cost: number; rows: number[][] } | undefined;
  for (let count = 1; count <= lengths.length; count++) {
    const { rows, length } = spreadOver(lengths, count);
    const cost = count * length * (1 + length / ATTENTION_LENGTH);
    if (!best || cost < best.cost) best = { cost, rows };
    if (length === longest) break; // a further row would be padding
  }
  return best?.rows ?? [];
}

/** Longest first, each into the row that is shortest so far. */
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
    length: Math.max(...rows.map(({ length }) => length)),
  };
}
