// One optimizer step: accumulates the gradients of its micro-batches, clips them, updates the parameters, and validates if a
// validation is due.
import type { StepMetrics } from '../../src/contracts/metrics.ts';
import type { MicroBatchPlan, StepBatches } from '../data/epoch-plan.ts';
import { countTokens } from '../data/example.ts';
import type { Dataset } from '../data/load-dataset.ts';
import { addLossSums, NO_LOSS } from '../evaluation/losses.ts';
import type { RunSettings } from '../job/resolve-settings.ts';
import { type AdamWOptions, clipFactor, globalNorm, learningRateAt } from '../optimizer.ts';
import type { LossSums, TrainModel } from '../types.ts';
import { TrainError } from './faults.ts';
import type { Validation } from './metrics.ts';
import type { RunObjective } from './objective.ts';

/** The inputs of every step of a run. */
export interface StepRun {
  readonly model: TrainModel;
  readonly objective: RunObjective;
  readonly settings: RunSettings;
  readonly optimizer: AdamWOptions & { readonly maxGradNorm: number };
  readonly train: Dataset;
  readonly validation: Dataset | undefined;
  /** Called before a validation. */
  onValidation?(): void;
}

/** Runs one optimizer step, and the validation after it if one is due. @throws TrainError if a loss is not finite */
export async function trainStep(
  run: StepRun,
  step: number,
  plans: StepBatches,
  update: (step: number, learningRate: number, gradScale: number) => void,
): Promise<StepMetrics> {
  const { model, objective, settings, optimizer, train } = run;
  const startMs = performance.now();
  for (const { grad } of model.parameters) grad.fill(0);
  let sums = NO_LOSS;
  let tokens = 0;
  await objective.begin?.(step, plans);
  for (const [index, plan] of plans.entries()) {
    model.setDropoutStep(step, index);
    sums = addLossSums(sums, await objective.accumulate(plan));
    tokens += tokensOf(train, plan);
  }
  const { tokens: sampled = 0, ...measured } = objective.metrics(sums);
  const loss = sums.loss / sums.weight;
  const gradNorm = globalNorm(model.parameters.map(({ grad }) => grad)) / sums.weight;
  refuseNothing(step + 1, sums);
  refuseNonFinite(step + 1, loss, 'loss');
  refuseNonFinite(step + 1, gradNorm, 'gradient');
  const learningRate = learningRateAt(step, settings.schedule);
  update(step + 1, learningRate, clipFactor(gradNorm, optimizer.maxGradNorm) / sums.weight);
  const seconds = (performance.now() - startMs) / 1000;
  return {
    step: step + 1,
    loss,
    gradNorm,
    learningRate,
    tokens: tokens + sampled,
    tokensPerSecond: (tokens + sampled) / seconds,
    tokenAccuracy: sums.hits / sums.count,
    ...measured,
    ...(isValidationDue(settings, step + 1) && (await validateStep(run, step + 1))),
  };
}

async function validateStep(
  { validation, objective, onValidation }: StepRun,
  step: number,
): Promise<Partial<Validation>> {
  if (!validation) return {};
  onValidation?.();
  const validated = await objective.validate(validation);
  refuseNonFinite(step, validated.validationLoss, 'validation loss');
  return validated;
}

function refuseNothing(step: number, { weight }: LossSums): void {
  if (weight > 0) return;
  throw new TrainError(
    'nothing_to_learn',
    `step ${step}: its rows have nothing to learn from, because every label is masked, has weight 0 or was cut off. Raise maxLength, or check weights and labels.`,
  );
}

function refuseNonFinite(step: number, value: number, what: string): void {
  if (Number.isFinite(value)) return;
  throw new TrainError(
    'non_finite_loss',
    `step ${step}: the ${what} is not finite. Start again with a lower learningRate or a longer warm-up.`,
  );
}

function tokensOf({ examples }: Dataset, plan: MicroBatchPlan): number {
  return plan.flat().reduce((sum, index) => sum + countTokens(examples[index]!), 0);
}

function isValidationDue({ evalEvery, totalSteps }: RunSettings, step: number): boolean {
  return evalEvery !== undefined && (step % evalEvery === 0 || step === totalSteps);
}
