// One optimizer step: accumulates the gradients of its micro-batches, clips them, updates the parameters, and validates if a
// validation is due.
import type { MicroBatchPlan, StepBatches } from '../data/epoch-plan.ts';
import type { Dataset } from '../data/load-dataset.ts';
import { assembleTightBatch } from '../data/micro-batch.ts';
import { addLossSums, measureValidation } from '../evaluation/losses.ts';
import type { RunSettings } from '../job/run-settings.ts';
import type { AdamWOptions } from '../optimizer.ts';
import { clipFactor, globalNorm, learningRateAt } from '../optimizer.ts';
import type { LossSums, TrainModel } from '../types.ts';
import { TrainError } from './faults.ts';
import type { StepMetrics, Validation } from './metrics.ts';

/** The inputs of every step of a run. */
export interface StepRun {
  readonly model: TrainModel;
  readonly settings: RunSettings;
  readonly optimizer: AdamWOptions & { readonly maxGradNorm: number };
  readonly train: Dataset;
  readonly validation: Dataset | undefined;
}

/** Runs one optimizer step, and the validation after it if one is due. @throws TrainError if a loss is not finite */
export async function trainStep(
  run: StepRun,
  step: number,
  plans: StepBatches,
  update: (step: number, learningRate: number, gradScale: number) => void,
): Promise<StepMetrics> {
  const { model, settings, optimizer, train } = run;
  const startMs = performance.now();
  for (const { grad } of model.parameters) grad.fill(0);
  const sums = { loss: 0, weight: 0, count: 0, hits: 0 };
  let tokens = 0;
  for (const [index, plan] of plans.entries()) {
    model.setDropoutStep(step, index);
    addLossSums(sums, await model.accumulate(assembleTightBatch(train.examples, plan)));
    tokens += countTokens(train, plan);
  }
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
    tokens,
    tokensPerSecond: tokens / seconds,
    tokenAccuracy: sums.hits / sums.count,
    ...(isValidationDue(settings, step + 1) && (await validateStep(run, step + 1))),
  };
}

async function validateStep(
  { model, validation, settings }: StepRun,
  step: number,
): Promise<Partial<Validation>> {
  if (!validation) return {};
  const validated = await measureValidation(model, validation, settings.order.batchSize);
  refuseNonFinite(step, validated.validationLoss, 'validation loss');
  return validated;
}

function refuseNothing(step: number, { weight }: LossSums): void {
  if (weight > 0) return;
  throw new TrainError('nothing_to_learn', `step ${step}: its rows have nothing to learn from`);
}

function refuseNonFinite(step: number, value: number, what: string): void {
  if (Number.isFinite(value)) return;
  throw new TrainError(
    'non_finite_loss',
    `step ${step}: the ${what} is not finite. Start again with a lower learningRate or a longer warm-up.`,
  );
}

function countTokens({ examples }: Dataset, plan: MicroBatchPlan): number {
  return plan.flat().reduce((sum, index) => sum + examples[index]!.ids.length, 0);
}

function isValidationDue({ evalEvery, totalSteps }: RunSettings, step: number): boolean {
  return evalEvery !== undefined && (step % evalEvery === 0 || step === totalSteps);
}
