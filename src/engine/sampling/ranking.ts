// Tokens in order of their value, as far as somebody needs the order: partial selection instead of a
// sort of the vocabulary. Order: larger value first, equal values by ascending id.

/** Ids `order` [V] and their values by id [V]: `order[0..ranked)` is sorted, nothing after it comes before. */
export interface Ranking {
  order: Int32Array;
  values: Float64Array;
}

/** Sorts `order[from..to)`. */
export function sortRange({ order, values }: Ranking, from: number, to: number): void {
  order.subarray(from, to).sort((a, b) => values[b]! - values[a]! || a - b);
}

/**
 * Extends a ranked prefix: with `order[0..from)` ranked, ranks `order[0..to)`.
 * `size` is the number of ids in `order`.
 */
export function rankTo(ranking: Ranking, range: { from: number; to: number; size: number }): void {
  if (range.to < range.size) partition(ranking, range);
  sortRange(ranking, range.from, range.to);
}

/** Moves the ids that rank below `to` to `order[from..to)`, unsorted (Hoare's selection). */
function partition(
  { order, values }: Ranking,
  { from, to, size }: { from: number; to: number; size: number },
): void {
  const isBefore = (a: number, b: number) =>
    values[a]! > values[b]! || (values[a]! === values[b]! && a < b);
  let left = from;
  let right = size - 1;
  while (left < right) {
    const pivot = order[(left + right) >>> 1]!;
    let i = left;
    let j = right;
    while (i <= j) {
      while (isBefore(order[i]!, pivot)) i++;
      while (isBefore(pivot, order[j]!)) j--;
      if (i > j) break;
      const swapped = order[i]!;
      order[i++] = order[j]!;
      order[j--] = swapped;
    }
    if (to - 1 <= j) right = j;
    else if (to - 1 >= i) left = i;
    else return;
  }
}
