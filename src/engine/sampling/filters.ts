// top_k, top_p and min_p over tokens ranked by value. Each filter keeps a prefix of the ranking. A filter sees only a ranked
// prefix and a bound on the rest; if they do not decide which tokens are kept, the result is undefined.
import type { SamplingParams } from '../../contracts/generation.ts';
import type { Buckets, Ranking } from './ranking.ts';

/** `order[0..count)` is ranked. All other tokens have a value of at most `tail`; -Infinity means that there are no others. */
export interface RankedPrefix extends Ranking {
  count: number;
  tail: number;
}

/** Bounds on a sum whose exact value may be unknown. */
export interface Interval {
  low: number;
  high: number;
}

/** The bounds of a known sum. */
export function exactly(sum: number): Interval {
  return { low: sum, high: sum };
}

/** Whether any filter can remove a token. */
export function isFiltered(params: SamplingParams, vocabSize: number): boolean {
  return hasTopK(params, vocabSize) || params.topP < 1 || params.minP > 0;
}

function hasTopK({ topK }: SamplingParams, vocabSize: number): boolean {
  return topK > 0 && topK < vocabSize;
}

/**
 * Returns how many of the ranked tokens the filters keep, or undefined if these tokens do not decide it. `totalOf` returns the
 * sum of the weights of all tokens, or undefined if it is unknown. Only top_p needs it.
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
  const decided = byMinP ?? (isClosed ? byTopK : undefined);
  if (params.topP >= 1) return decided;

  const total = hasEdge ? exactly(weightOf(prefix, byTopK)) : totalOf();
  if (!total) return undefined;
  let sum = 0;
  for (let i = 0; i < (byMinP ?? byTopK); i++) {
    sum += prefix.weights[prefix.order[i]!]!;
    if (sum >= params.topP * total.high) return i + 1;
    if (sum >= params.topP * total.low) return undefined;
  }
  return decided;
}

/**
 * Returns the last bucket that the filters can reach. If everything up to it is ranked, only rounding can leave `keptCount`
 * undecided.
 */
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

/** Keeps all tokens not below the k-th, including ties. Without top_k, keeps all ranked tokens. */
function topKCount(prefix: RankedPrefix, params: SamplingParams): number | undefined {
  const { order, values, count, tail } = prefix;
  if (!hasTopK(params, order.length)) return count;
  if (params.topK > count) return tail === Number.NEGATIVE_INFINITY ? count : undefined;
  const edge = values[order[params.topK - 1]!]!;
  if (!(edge > tail)) return undefined; // a tie may be outside the ranked tokens
  let kept = params.topK;
  while (kept < count && values[order[kept]!]! === edge) kept++;
  return kept;
}

/**
 * Counts the tokens that are at least `minP` times as likely as the first. Undefined if tokens past `limit` may qualify as
 * well.
 */
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
