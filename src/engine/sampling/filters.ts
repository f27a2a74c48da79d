// top_k, top_p and min_p over tokens ranked by value. Each keeps a prefix of the ranking. Knows only a
// ranked prefix and a bound on the rest, and says so where that does not settle which tokens are kept.
import type { SamplingParams } from '../../contracts/generation.ts';
import type { Buckets, Ranking } from './ranking.ts';

/** `order[0..count)` is ranked; what is not among it has at most the value `tail` (-Inf: nothing is left). */
export interface RankedPrefix extends Ranking {
  count: number;
  tail: number;
}

/** Where a sum lies: its exact value may not be known. */
export interface Interval {
  low: number;
  high: number;
}

export function exactly(sum: number): Interval {
  return { low: sum, high: sum };
}

export function isFiltered(params: SamplingParams, vocabSize: number): boolean {
  return hasTopK(params, vocabSize) || params.topP < 1 || params.minP > 0;
}

function hasTopK({ topK }: SamplingParams, vocabSize: number): boolean {
  return topK > 0 && topK < vocabSize;
}

/**
 * How many of the ranked tokens the filters keep; undefined where these tokens do not settle it.
 * `totalOf` gives the sum of all tokens' weights (undefined: unknown); only top_p asks.
 */
export function keptCount(
  prefix: RankedPrefix,
  params: SamplingParams,
  totalOf: () => Interval | undefined,
): number | undefined {
  const byTopK = topKCount(prefix, params);
  if (byTopK === undefined) return undefined;
  const hasEdge = hasTopK(params, prefix.order.length);
  const isClosed = hasEdge || prefix.tail === Number.NEGATIVE_INFINITY;
  const byMinP = minPCount(prefix, params.minP, { limit: byTopK, isClosed });
  const settled = byMinP ?? (isClosed ? byTopK : undefined);
  if (params.topP >= 1) return settled;

  const total = hasEdge ? exactly(weightOf(prefix, byTopK)) : totalOf();
  if (!total) return undefined;
  let sum = 0;
  for (let i = 0; i < (byMinP ?? byTopK); i++) {
    sum += prefix.weights[prefix.order[i]!]!;
    if (sum >= params.topP * total.high) return i + 1;
    if (sum >= params.topP * total.low) return undefined;
  }
  return settled;
}

/** The last bucket that the filters may reach: with all up to it ranked, `keptCount` is settled but for rounding. */
export function lastBucketNeeded(
  { counts, masses, tops }: Buckets,
  params: SamplingParams,
  { max, total, vocabSize }: { max: number; total: number; vocabSize: number },
): number {
  const topK = hasTopK(params, vocabSize) ? params.topK : undefined;
  let count = 0;
  let mass = 0;
  for (let bucket = 0; bucket < counts.length; bucket++) {
    count += counts[bucket]!;
    mass += masses[bucket]!;
    if (topK !== undefined) {
      if (count >= topK) return bucket;
    } else if (
      (params.topP < 1 && mass >= params.topP * total) ||
      Math.exp(tops[bucket]! - max) < params.minP
    ) {
      if (counts[bucket]! > 0) return bucket;
    }
  }
  return counts.length - 1;
}

/** Keeps every token not below the k-th: ties at the edge stay. Without top_k: all that are ranked. */
function topKCount(prefix: RankedPrefix, params: SamplingParams): number | undefined {
  const { order, values, count, tail } = prefix;
  if (!hasTopK(params, order.length)) return count;
  if (params.topK > count) return tail === Number.NEGATIVE_INFINITY ? count : undefined;
  const edge = values[order[params.topK - 1]!]!;
  if (!(edge > tail)) return undefined; // a tie may lie outside
  let kept = params.topK;
  while (kept < count && values[order[kept]!]! === edge) kept++;
  return kept;
}

/** Keeps what is at least `minP` times as likely as the first; undefined where tokens past `limit` may be. */
function minPCount(
  { order, values, weights, tail }: RankedPrefix,
  minP: number,
  { limit, isClosed }: { limit: number; isClosed: boolean },
): number | undefined {
  if (minP <= 0) return undefined;
  for (let i = 1; i < limit; i++) if (weights[order[i]!]! < minP) return i;
  return isClosed || Math.exp(tail - values[order[0]!]!) < minP ? limit : undefined;
}

/** The sum of the first `count` weights, in ranked order. */
export function weightOf({ order, weights }: Ranking, count: number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += weights[order[i]!]!;
  return sum;
}
