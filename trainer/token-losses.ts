// The losses of tokens with Tinker's names and definitions, as one table: the value of each loss and its slope, the derivative by
// the log-probability of each target. Losses are sums over tokens. Pure.
import type { TokenLossName } from '../src/contracts/training-service.ts';

/** A sequence of T targets: their log-probabilities, and the loss's inputs by name, [T] each. */
interface ScoredTokens {
  readonly logProbs: ArrayLike<number>;
  readonly inputs: Readonly<Record<string, ArrayLike<number>>>;
}

/** The loss of a sequence. */
interface SequenceLoss {
  readonly loss: number;
  /** [T]: d(loss)/d(log-probability) */
  readonly slopes: Float32Array;
}

type Parameters = Readonly<Record<string, number>>;

/** Computes the loss of a sequence. @param parameters all of the loss's */
type TokenLoss = (tokens: ScoredTokens, parameters: Parameters) => SequenceLoss;

/** Returns the input or the parameter of this name at one token. */
type ValueOf = (name: string) => number;

interface TokenValue {
  readonly loss: number;
  readonly slope: number;
}

/** A loss whose value at a token depends on that token alone. */
function perToken(valueAt: (logProb: number, of: ValueOf) => TokenValue): TokenLoss {
  return ({ logProbs, inputs }, parameters) => {
    const slopes = new Float32Array(logProbs.length);
    let loss = 0;
    for (let t = 0; t < logProbs.length; t++) {
      const value = valueAt(logProbs[t]!, (name) => inputs[name]?.[t] ?? parameters[name]!);
      loss += value.loss;
      slopes[t] = value.slope;
    }
    return { loss, slopes };
  };
}

const ratioOf = (logProb: number, of: ValueOf) => Math.exp(logProb - of('logprobs'));
const clip = (ratio: number, of: ValueOf) =>
  Math.min(Math.max(ratio, of('clip_low_threshold')), of('clip_high_threshold'));

/** The smaller of ratio * advantage and its clipped twin, negated. `slope` is its derivative by the log of the ratio. */
function clippedSurrogate(ratio: number, of: ValueOf): TokenValue {
  const advantage = of('advantages');
  const [plain, clipped] = [ratio * advantage, clip(ratio, of) * advantage];
  return plain <= clipped ? { loss: -plain, slope: -plain } : { loss: -clipped, slope: 0 };
}

/** The losses by name. Their inputs and parameters are `TOKEN_LOSS_SHAPES`. */
export const TOKEN_LOSSES: Readonly<Record<TokenLossName, TokenLoss>> = {
  cross_entropy: perToken((logProb, of) => ({
    loss: -of('weights') * logProb,
    slope: -of('weights'),
  })),
  importance_sampling: perToken((logProb, of) => {
    const loss = -ratioOf(logProb, of) * of('advantages');
    return { loss, slope: loss };
  }),
  ppo: perToken((logProb, of) => clippedSurrogate(ratioOf(logProb, of), of)),
  /** The clipped ratio only scales the policy gradient: it is not differentiated. */
  cispo: perToken((logProb, of) => {
    const slope = -clip(ratioOf(logProb, of), of) * of('advantages');
    return { loss: slope * logProb, slope };
  }),
  dro: perToken((logProb, of) => {
    const [advantage, beta, rise] = [of('advantages'), of('beta'), logProb - of('logprobs')];
    return {
      loss: (beta / 2) * rise ** 2 - logProb * advantage,
      slope: beta * rise - advantage,
    };
  }),
  gspo: sequenceRatioLoss,
};

/** PPO's loss with one ratio for the whole sequence: the geometric mean of its tokens' ratios under the mask. */
function sequenceRatioLoss(
  { logProbs, inputs }: ScoredTokens,
  parameters: Parameters,
): SequenceLoss {
  const { logprobs: sampled, sequence_ratio_mask: mask } = inputs;
  let [rise, count] = [0, 0];
  for (let t = 0; t < logProbs.length; t++) {
    rise += mask![t]! * (logProbs[t]! - sampled![t]!);
    count += mask![t]!;
  }
  const slopes = new Float32Array(logProbs.length);
  if (count === 0) return { loss: 0, slopes };
  const ratio = Math.exp(rise / count);
  let [loss, slope] = [0, 0];
  for (let t = 0; t < logProbs.length; t++) {
    if (mask![t] === 0) continue;
    const value = clippedSurrogate(ratio, (name) => inputs[name]?.[t] ?? parameters[name]!);
    loss += value.loss;
    slope += value.slope;
  }
  for (let t = 0; t < slopes.length; t++) slopes[t] = (slope * mask![t]!) / count;
  return { loss, slopes };
}
