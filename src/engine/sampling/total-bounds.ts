// Bounds on the sum of all tokens' weights from a row's largest logits and its log-sum-exp alone, so
// that most draws never look at the rest of the vocabulary.
import type { Interval } from './filters.ts';

/** Rounding in float64 of both sides of a comparison with the bounds; far above it, far below float32's. */
const SLACK = 1e-7;

export interface KnownTokens {
  /** Number of tokens whose logits are known, and the sum of their weights exp(value - max). */
  count: number;
  weight: number;
  /** Sum of exp(raw logit - logSumExp) of the same tokens. */
  rawMass: number;
}

export interface UnknownTokens {
  vocabSize: number;
  temperature: number;
  /** Largest value (logit after penalties / temperature) of all tokens. */
  max: number;
  /** No unknown token's logit is above this; penalties touch none of them. */
  tail: number;
  /** Of the raw logits, computed in float32. */
  logSumExp: number;
}

/**
 * The sum over all tokens of exp(logit / temperature - max). The unknown tokens' raw mass m is what is
 * left of the log-sum-exp; with a = 1 / temperature, x_i = exp(logit_i) ≤ t, N of them:
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
 * Largest error of a float32 log-sum-exp, whatever the order of summation: V roundings of the sum
 * (2^-24 each), a few units in the last place of exp and log, and the rounding of the result.
 */
function logSumExpError(vocabSize: number, logSumExp: number): number {
  return vocabSize * 2 ** -24 + (Math.abs(logSumExp) + 8) * 2 ** -21;
}
