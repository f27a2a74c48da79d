// Ranks tokens by value, only as far down as needed, with a bucket sort in one pass over the vocabulary. Larger values come
// first, equal ones by ascending id.

/** Token ids in order, and the values and weights exp(value - largest value) by id. [V] each. */
export interface Ranking {
  order: Int32Array;
  values: Float64Array;
  weights: Float64Array;
}

/** A bucket is 1/32 nat wide. All values more than 64 nats below the largest one share the last bucket. */
const BUCKETS_PER_NAT = 32;
const BUCKET_COUNT = 64 * BUCKETS_PER_NAT;

/** The number of tokens, the sum of weights and the largest value of each bucket. */
export interface Buckets {
  counts: Int32Array;
  masses: Float64Array;
  tops: Float64Array;
}

/** Counts all tokens by bucket. `max` is the largest value. */
export function fillBuckets({ values, weights }: Ranking, max: number): Buckets {
  const counts = new Int32Array(BUCKET_COUNT);
  const masses = new Float64Array(BUCKET_COUNT);
  const tops = new Float64Array(BUCKET_COUNT).fill(Number.NEGATIVE_INFINITY);
  for (let id = 0; id < values.length; id++) {
    const value = values[id]!;
    if (value === Number.NEGATIVE_INFINITY) continue; // forbidden tokens have no rank
    const bucket = bucketOf(value, max);
    counts[bucket]!++;
    masses[bucket]! += weights[id]!;
    if (value > tops[bucket]!) tops[bucket] = value;
  }
  return { counts, masses, tops };
}

/** Ranks the tokens of buckets 0..last in `order`. Returns their number and the largest of all other values. */
export function rankBuckets(
  ranking: Ranking,
  { counts, tops }: Buckets,
  { max, last }: { max: number; last: number },
): { count: number; tail: number } {
  const { order, values } = ranking;
  const ends = new Int32Array(last + 1); // the position of the bucket's next id, finally its end
  let count = 0;
  for (let bucket = 0; bucket <= last; bucket++) {
    ends[bucket] = count;
    count += counts[bucket]!;
  }
  for (let id = 0; id < values.length; id++) {
    if (values[id] === Number.NEGATIVE_INFINITY) continue;
    const bucket = bucketOf(values[id]!, max);
    if (bucket <= last) order[ends[bucket]!++] = id;
  }
  for (let bucket = 0; bucket <= last; bucket++) {
    sortRange(ranking, ends[bucket]! - counts[bucket]!, ends[bucket]!);
  }
  const tail = tops.subarray(last + 1).find((top) => top > Number.NEGATIVE_INFINITY);
  return { count, tail: tail ?? Number.NEGATIVE_INFINITY };
}

/** Sorts the ids in `order[from..to)` by rank. */
export function sortRange({ order, values }: Ranking, from: number, to: number): void {
  if (to - from < 2) return;
  order.subarray(from, to).sort((a, b) => values[b]! - values[a]! || a - b);
}

function bucketOf(value: number, max: number): number {
  return Math.min(BUCKET_COUNT - 1, Math.trunc((max - value) * BUCKETS_PER_NAT));
}
