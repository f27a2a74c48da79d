// The losses of DPO as TRL's documentation and source state them, one pair at a time.
import type { Preference } from '../../src/contracts/preference-settings.ts';

/** A sequence: the log-probability of each trained token, under the model and under the reference. */
export interface PlainSequence {
  readonly logProbs: readonly number[];
  readonly reference: readonly number[];
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const logSigmoid = (x: number) => -Math.log(1 + Math.exp(-x));

/** The loss of a pair. */
export function plainLoss(
  chosen: PlainSequence,
  rejected: PlainSequence,
  { loss, beta, labelSmoothing: e }: Preference,
): number {
  const [pc, rc] = [sum(chosen.logProbs), sum(chosen.reference)];
  const [pr, rr] = [sum(rejected.logProbs), sum(rejected.reference)];
  const d = pc - rc - (pr - rr);
  if (loss === 'sigmoid') return -logSigmoid(beta * d);
  if (loss === 'robust') {
    return (-(1 - e) * logSigmoid(beta * d) + e * logSigmoid(-beta * d)) / (1 - 2 * e);
  }
  const mean = (pc - rc) / chosen.logProbs.length - (pr - rr) / rejected.logProbs.length;
  return (mean - 1 / (2 * beta)) ** 2;
}
