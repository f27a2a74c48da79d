// The losses of DPO with TRL's definitions and metrics. Pure: maps the log-probabilities of pairs to their loss, and to the
// weight that each token has in it.
import { NO_PAIRS, type PairMetrics } from '../src/contracts/metrics.ts';
import type { Preference } from '../src/contracts/preference-settings.ts';
import type { LossSums } from './types.ts';

/** The sequences of P pairs, chosen and rejected alternating. */
export interface PairScores {
  /** [2P]: log-probabilities, each summed over the trained tokens of a sequence. */
  readonly sums: ArrayLike<number>;
  /** [2P]: the same under the reference. */
  readonly reference: ArrayLike<number>;
  /** [2P]: the number of trained tokens. Pairs with an empty sequence do not count. */
  readonly counts: ArrayLike<number>;
}

/** The losses of some pairs. */
interface PairLosses {
  /** Sums over pairs: the accuracy counts those with a positive margin. */
  readonly sums: LossSums & { readonly pairs: PairMetrics };
  /** [2P]: the weight of the loss of each token of a sequence. */
  readonly weights: Float32Array;
}

/** A loss as a function of the margin between the chosen and the rejected sequence. */
interface MarginLoss {
  /** Whether the margin is between means over tokens. Otherwise it is between sums. */
  readonly isPerToken?: true;
  /** Returns the loss, and its derivative with respect to the margin. */
  at(margin: number, preference: Preference): { readonly loss: number; readonly slope: number };
}

const LOSSES: Readonly<Record<Preference['loss'], MarginLoss>> = {
  sigmoid: {
    at: (margin, { beta }) => ({
      loss: softplus(-beta * margin),
      slope: -beta * sigmoid(-beta * margin),
    }),
  },
  ipo: {
    isPerToken: true,
    at(margin, { beta }) {
      const rest = margin - 1 / (2 * beta);
      return { loss: rest ** 2, slope: 2 * rest };
    },
  },
  robust: {
    at(margin, { beta, labelSmoothing: swapped }) {
      const [kept, scale] = [1 - swapped, 1 - 2 * swapped];
      const logit = beta * margin;
      return {
        loss: (kept * softplus(-logit) - swapped * softplus(logit)) / scale,
        slope: (-beta * (kept * sigmoid(-logit) + swapped * sigmoid(logit))) / scale,
      };
    },
  },
};

/** Returns the loss of a pair that the model prefers as its reference does. */
export function lossOfReference(preference: Preference): number {
  return LOSSES[preference.loss].at(0, preference).loss;
}

/** A smaller margin, in nats, is the rounding of the sums. The pair is then a tie, as all are at the first step. */
const TIE = 1e-3;

/** Computes the losses of pairs. */
export function comparePairs(
  { sums, reference, counts }: PairScores,
  preference: Preference,
): PairLosses {
  const { isPerToken, at } = LOSSES[preference.loss];
  const weights = new Float32Array(sums.length);
  const total = { loss: 0, weight: 0, count: 0, hits: 0, pairs: { ...NO_PAIRS } };
  for (let chosen = 0; chosen < sums.length; chosen += 2) {
    const rejected = chosen + 1;
    if (counts[chosen] === 0 || counts[rejected] === 0) continue;
    const rises = [chosen, rejected].map((i) => sums[i]! - reference[i]!) as [number, number];
    const sizes = [chosen, rejected].map((i) => (isPerToken ? counts[i]! : 1)) as [number, number];
    const { loss, slope } = at(rises[0] / sizes[0] - rises[1] / sizes[1], preference);
    // A token's loss is its negative log-probability.
    weights[chosen] = -slope / sizes[0];
    weights[rejected] = slope / sizes[1];
    const isRight = rises[0] - rises[1] > TIE;
    total.loss += loss;
    total.weight++;
    total.count++;
    if (isRight) total.hits++;
    total.pairs['rewards/chosen'] += preference.beta * rises[0];
    total.pairs['rewards/rejected'] += preference.beta * rises[1];
    total.pairs['rewards/margins'] += preference.beta * (rises[0] - rises[1]);
    total.pairs['rewards/accuracies'] += isRight ? 1 : 0;
    total.pairs['logps/chosen'] += sums[chosen]!;
    total.pairs['logps/rejected'] += sums[rejected]!;
  }
  return { sums: total, weights };
}

/** Adds the metrics' sums. */
export function addMetrics(sums: PairMetrics | undefined, more: PairMetrics): PairMetrics {
  if (!sums) return more;
  const added = Object.entries(more).map(([name, sum]) => [
    name,
    sum + sums[name as keyof PairMetrics],
  ]);
  return Object.fromEntries(added) as PairMetrics;
}

/** Returns the means of the metrics over the pairs. */
export function meanMetrics({ weight, pairs }: Pick<LossSums, 'weight' | 'pairs'>) {
  const means = Object.entries(pairs ?? {}).map(([name, sum]) => [name, sum / weight]);
  return Object.fromEntries(means) as Partial<PairMetrics>;
}

/** Returns log(1 + exp(x)), which is also -log sigmoid(-x). */
function softplus(x: number): number {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}

function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}
