// Bounds the sum of the weights of all tokens by the largest logits of a row and its log-sum-exp. With these bounds,
// most draws never read the rest of the vocabulary.
import type { Interval } from './filters.ts';

/** Covers float64 rounding on both sides of a comparison with the bounds. It is far below float32 rounding. */
const SLACK = 1e-7;

/** The tokens whose logits are known. */
export interface KnownTokens {
  /** Their number, and the sum of their weights exp(value - max). */
  count: number;
  weight: number;
  /** The sum of their exp(raw logit - logSumExp). */
  rawMass: number;
}

/** Facts about all tokens. */
export interface UnknownTokens {
  vocabSize: number;
  temperature: number;
  /** The largest value (logit after penalties / temperature) of all tokens. */
  max: number;
  /** No unknown token has a larger logit. Unknown tokens have no penalties. */
  tail: number;
  /** The log-sum-exp of the raw logits, computed in float32. */
  logSumExp: number;
}

/**
 * Bounds the sum of exp(logit / temperature - max) over all tokens. The raw mass m of the N unknown tokens is the rest
 * of the log-sum-exp. With a = 1 / temperature and x_i = exp(logit_i) ≤ t:
 * N (m/N)^a ≤ Σ x_i^a ≤ m t^(a-1) for a ≥ 1 (convexity; x^a = x · x^(a-1)), and the reverse for a ≤ 1.
 */
export function boundTotal(known: KnownTokens, unknown: UnknownTokens): Interval {
  const { vocabSize, temperature, max, tail, logSumExp } = unknown;
  const count = vocabSize - known.count; // N
  const power = 1 / temperature; // a
  const logTail = tail - logSumExp; // log t, in units of the whole mass
  const logUnit = logSumExp * power - max;
  const atTail = (mass: number) => Math.exp(logUnit + Math.log(mass) + (power - 1) * logTail);
  const evenly = (mass: number) =>
    Math.exp(logUnit + Math.log(count) + power * Math.log(mass / count));

  const error = logSumExpError(vocabSize, logSumExp);
  const least = Math.max(0, Math.exp(-error) - known.rawMass);
  const most = Math.max(0, Math.exp(error) - known.rawMass);
  const low = count === 0 ? 0 : power >= 1 ? evenly(least) : atTail(least);
  const high = count === 0 ? 0 : power >= 1 ? atTail(most) : evenly(most);
  return {
    low: (known.weight + low) * (1 - SLACK),
    high: (known.weight + high) * (1 + SLACK),
  };
}

/**
 * The largest error of a float32 log-sum-exp for any order of summation: V roundings of the sum (2^-24 each), a few
 * units in the last place of exp and log, and the rounding of the result.
 */
function logSumExpError(vocabSize: number, logSumExp: number): number {
  return vocabSize * 2 ** -24 + (Math.abs(logSumExp) + 8) * 2 ** -21;
}
