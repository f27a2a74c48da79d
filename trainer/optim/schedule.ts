// The learning rate of each step.

export type ScheduleName = 'cosine' | 'linear' | 'constant';

export interface Schedule {
  readonly name: ScheduleName;
  readonly peak: number;
  readonly warmupSteps: number;
  /** All steps of the run. */
  readonly totalSteps: number;
}

/** `progress` runs from 0 after the warm-up towards 1, which would come one step after the last. */
const SHAPES: Readonly<Record<ScheduleName, (progress: number) => number>> = {
  cosine: (progress) => (1 + Math.cos(Math.PI * progress)) / 2,
  linear: (progress) => 1 - progress,
  constant: () => 1,
};

/** The rate of step `step`, from 0. The first step of a warm-up has rate 0. */
export function learningRateAt(
  step: number,
  { name, peak, warmupSteps, totalSteps }: Schedule,
): number {
  if (step < warmupSteps) return (peak * step) / warmupSteps;
  return peak * SHAPES[name]((step - warmupSteps) / (totalSteps - warmupSteps));
}
