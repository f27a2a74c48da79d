// Which checkpoints of a job can be called: OpenAI's API keeps three.

/** How many are kept. */
export const KEPT_CHECKPOINTS = 3;

/** A checkpoint, and its mean reward on the validation rows if it was measured. */
interface Rewarded {
  readonly step: number;
  readonly reward: number | undefined;
}

/**
 * Returns the steps to keep, in ascending order: the newest, or those with the highest rewards if rewards are measured. Of equal
 * ones, the earlier: the run keeps the first best adapter as its result.
 */
export function keptSteps(checkpoints: readonly Rewarded[]): number[] {
  const isRewarded = checkpoints.some(({ reward }) => reward !== undefined);
  const none = Number.NEGATIVE_INFINITY;
  const byReward = (a: Rewarded, b: Rewarded) =>
    (b.reward ?? none) - (a.reward ?? none) || a.step - b.step;
  const byStep = (a: Rewarded, b: Rewarded) => b.step - a.step;
  const kept = checkpoints.toSorted(isRewarded ? byReward : byStep).slice(0, KEPT_CHECKPOINTS);
  return kept.map(({ step }) => step).sort((a, b) => a - b);
}
