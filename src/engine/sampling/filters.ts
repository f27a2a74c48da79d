// top_k, top_p and min_p over tokens ranked by value. Knows only a ranked prefix and a bound on the
// rest, and says so where that does not settle which tokens are kept.
import type { SamplingParams } from '../../generation.ts';
import type { Ranking } from './ranking.ts';

/** The tokens `order[0..count)`, ranked; what is not among them has at most the value `tail` (-Inf: nothing left). */
export interface RankedPrefix extends Ranking {
  count: number;
  tail: number;
}

/** Where a sum lies: its exact value may not be known. */
export interface Interval {
  low: number;
  high: number;
}

export function isFiltered(params: SamplingParams, vocabSize: number): boolean {
  return hasTopK(params, vocabSize) || params.topP < 1 || params.minP > 0;
}

function hasTopK({ topK }: SamplingParams, vocabSize: number): boolean {
  return topK > 0 && topK < vocabSize;
}

/**
 * How many of the ranked tokens the filters keep; undefined where these tokens do not settle it.
 * A token's weight is exp(value - largest value); `totalOf` gives the sum of all tokens' weights
 * (undefined: unknown) and is asked only where top_p needs it.
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
  const max = prefix.values[prefix.order[0]!]!;
  let sum = 0;
  for (let i = 0; i < (byMinP ?? byTopK); i++) {
    sum += Math.exp(prefix.values[prefix.order[i]!]! - max);
    if (sum >= params.topP * total.high) return i + 1;
    if (sum >= params.topP * total.low) return undefined;
  }
  return settled;
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
  { order, values, tail }: RankedPrefix,
  minP: number,
  { limit, isClosed }: { limit: number; isClosed: boolean },
): number | undefined {
  if (minP <= 0) return undefined;
  const max = values[order[0]!]!;
  for (let i = 1; i < limit; i++) if (Math.exp(values[order[i]!]! - max) < minP) return i;
  return isClosed || Math.exp(tail - max) < minP ? limit : undefined;
}

/** The sum of the first `count` weights, in ranked order. */
export function weightOf({ order, values }: Ranking, count: number): number {
  const max = values[order[0]!]!;
  let sum = 0;
  for (let i = 0; i < count; i++) sum += Math.exp(values[order[i]!]! - max);
  return sum;
}

export function exactly(sum: number): Interval {
  return { low: sum, high: sum };
}
