// The loss of GRPO with TRL's definitions (`dapo`): maps the rewards of sampled completions to advantages, and the
// log-probabilities of their tokens to the weight that each token has in the loss. Pure.

/** The smallest standard deviation counts as this much more, so equal rewards give no advantage. */
const EPSILON = 1e-4;
/** The largest importance weight of a token, as in TRL's mode `token_truncate`. */
const MAX_IMPORTANCE = 3;

/** Returns the advantages of completions of one prompt: their rewards, standardized. */
export function advantagesOf(rewards: readonly number[]): number[] {
  const [mean, deviation] = [meanOf(rewards), standardDeviation(rewards)];
  return rewards.map((reward) => (reward - mean) / (deviation + EPSILON));
}

/** Returns the standard deviation of numbers, as estimated from a sample; 0 of one number. */
export function standardDeviation(values: readonly number[]): number {
  const mean = meanOf(values);
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return Math.sqrt(squares / Math.max(values.length - 1, 1));
}

/** The tokens of sampled completions, in any order. */
export interface SampledTokens {
  /** Under the model in training. */
  readonly logProbs: ArrayLike<number>;
  /** Under the engine that sampled them, whose arithmetic may differ. */
  readonly sampled: ArrayLike<number>;
  /** Each token has its completion's. */
  readonly advantages: ArrayLike<number>;
}

/** The loss of some tokens. */
interface PolicyLoss {
  /** Summed over tokens. */
  readonly loss: number;
  /** The weight of each token's loss. */
  readonly weights: Float32Array;
  /** The sum of the differences between the two log-probabilities. */
  readonly drift: number;
}

/**
 * Computes the loss of tokens. A step is the only update with its samples, so the ratio to the model that sampled them is 1, and
 * its clipping at 0.2 has no effect, as with TRL's defaults. What differs is the arithmetic, which truncated importance weights
 * correct.
 */
export function weighPolicy({ logProbs, sampled, advantages }: SampledTokens): PolicyLoss {
  const weights = new Float32Array(logProbs.length);
  let [loss, drift] = [0, 0];
  for (let t = 0; t < weights.length; t++) {
    const difference = logProbs[t]! - sampled[t]!;
    const importance = Math.min(Math.exp(difference), MAX_IMPORTANCE);
    // A token's loss is its negative log-probability.
    weights[t] = advantages[t]! * importance;
    loss -= advantages[t]! * importance;
    drift += Math.abs(difference);
  }
  return { loss, weights, drift };
}

/** Returns the mean of numbers; NaN if there are none. */
export function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
