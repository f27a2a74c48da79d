// Packing: which examples share a sequence. Longest first, each into the fullest sequence that still has room, so that
// few positions are padding. Knows lengths only; that packed examples do not see each other is the graph's part.

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
