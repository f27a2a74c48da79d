// The training loop: windows of micro-batches → gradients → one update each; validation, checkpoints, warnings between.
// Three lines tell it: gradients are accumulated, the optimizer steps, the step is recorded. It knows neither graphs
// nor how rows came to be.

import { loadCheckpoint, type RunState, saveCheckpoint } from './checkpoint.ts';
import { type MicroBatchPlan, planEpoch, type WindowPlan } from './data/epoch-plan.ts';
import type { Dataset } from './data/load-dataset.ts';
import { assembleTightBatch } from './data/micro-batch.ts';
import { examineCurves, type RunContext } from './doctor.ts';
import { addSums, validate } from './evaluation/validate.ts';
import { withoutAdapter } from './evaluation/without-adapter.ts';
import type { StepMetrics, Validation } from './metrics.ts';
import { type AdamWOptions, createAdamW } from './optim/adamw.ts';
import { clipFactor, globalNorm } from './optim/clip.ts';
import { learningRateAt } from './optim/schedule.ts';
import type { EventType, RunFolder } from './run-folder.ts';
import type { RunSettings } from './settings.ts';
import type { Snapshots } from './snapshots.ts';
import type { LossSums, TrainModel } from './types.ts';

export interface TrainRun {
  readonly model: TrainModel;
  readonly settings: RunSettings;
  readonly optimizer: AdamWOptions & { readonly maxGradNorm: number };
  readonly patience: number | undefined;
  readonly train: Dataset;
  readonly validation: Dataset | undefined;
  readonly folder: RunFolder;
  readonly context: RunContext;
  readonly configHash: string;
  /** Of an adapter; a `full` run has none, and no base to compare with. */
  readonly snapshots: Snapshots | undefined;
  /** Writes the trained weights where the run's result lies. */
  saveResult(): Promise<void>;
}

export interface TrainHooks {
  /** Aborted: the run ends after the step that it is in, with a checkpoint. */
  readonly signal: AbortSignal;
  onStep(metrics: StepMetrics, state: RunState): void;
  /** After the step of a snapshot, and again where a run goes on that has it. */
  onSnapshot(metrics: StepMetrics): void;
  onEvent(type: EventType, message: string, data?: Record<string, unknown>): Promise<void>;
}

export type Outcome = 'succeeded' | 'paused';

export interface TrainEnd {
  readonly outcome: Outcome;
  readonly state: RunState;
}

/** A run cannot go on; what it has learned before is in its checkpoints. */
export class TrainError extends Error {
  override name = 'TrainError';
  readonly code: 'non_finite_loss' | 'nothing_to_learn';

  constructor(code: TrainError['code'], message: string) {
    super(message);
    this.code = code;
  }
}

/** How often the curves are looked at, at least. */
const EXAMINATIONS = 100;

/** Trains until the end, the abort, or patience's end. @throws TrainError where a loss is not finite */
export async function train(run: TrainRun, hooks: TrainHooks): Promise<TrainEnd> {
  const { model, settings, folder, snapshots } = run;
  const optimizer = createAdamW(model.parameters, run.optimizer);
  const trained = { parameters: model.parameters, moments: optimizer.moments };
  const found = await loadCheckpoint(folder.checkpointsDir, trained, run.configHash);
  let state = found ?? firstState(run);
  await folder.rewind(state.step);
  if (found) await hooks.onEvent('resumed', `Going on after step ${found.step}`);
  await retellSnapshots(run, hooks);
  state = await compareBase(run, state, hooks);
  let savedStep = state.step;
  const save = async () => {
    await saveCheckpoint(folder.checkpointsDir, state, trained);
    savedStep = state.step;
    await hooks.onEvent('checkpoint', `Checkpoint created at step ${state.step}`);
  };
  const windows = createWindows(run);
  while (!isDone(run, state)) {
    if (hooks.signal.aborted) {
      if (savedStep !== state.step || state.step === 0) await save();
      return { outcome: 'paused', state };
    }
    const metrics = await trainStep(run, state.step, windows(state.step), optimizer.step);
    state = advance(run, state, metrics);
    if (state.best?.step === state.step) await run.saveResult();
    await folder.addMetrics(metrics);
    state = await giveWarnings(run, state, hooks);
    hooks.onStep(metrics, state);
    if (snapshots && (state.step % settings.stepsPerEpoch === 0 || isDone(run, state))) {
      await snapshots.save(state.step); // before the checkpoint: who goes on from there has it
      hooks.onSnapshot(metrics);
    }
    if (state.step % settings.checkpointEvery === 0 || isDone(run, state)) await save();
  }
  if (state.best === null) await run.saveResult();
  return { outcome: 'succeeded', state };
}

/** Whoever was told before may not have heard it. */
async function retellSnapshots({ snapshots, folder }: TrainRun, hooks: TrainHooks): Promise<void> {
  const steps = new Set(await snapshots?.steps());
  for (const row of folder.metrics) if (steps.has(row.step)) hooks.onSnapshot(row);
}

/** What the adapter has to be better than. */
async function compareBase(run: TrainRun, state: RunState, hooks: TrainHooks): Promise<RunState> {
  const { model, validation, settings, snapshots } = run;
  if (!validation || !snapshots || state.base) return state;
  const base = await withoutAdapter(model.parameters, () =>
    validate(model, validation, settings.order.batchSize),
  );
  refuseNonFinite(0, base.validationLoss, "base's validation loss");
  const message = `Validation loss of the base: ${base.validationLoss.toFixed(4)}`;
  await hooks.onEvent('evaluated', message, { ...base });
  return { ...state, base };
}

function firstState({ settings, configHash }: TrainRun): RunState {
  return {
    step: 0,
    cursor: { epoch: 0, window: 0 },
    seed: settings.order.seed,
    best: null,
    base: null,
    staleValidations: 0,
    warned: [],
    configHash,
  };
}

function isDone({ settings, patience }: TrainRun, state: RunState): boolean {
  return (
    state.step >= settings.totalSteps ||
    (patience !== undefined && state.staleValidations >= patience)
  );
}

/** The window of each step; an epoch is planned once. */
function createWindows({ train, settings }: TrainRun): (step: number) => WindowPlan {
  const lengths = train.examples.map(({ ids }) => ids.length);
  let planned: { epoch: number; windows: WindowPlan[] } | undefined;
  return (step) => {
    const epoch = Math.floor(step / settings.stepsPerEpoch);
    if (planned?.epoch !== epoch) {
      planned = { epoch, windows: planEpoch(lengths, epoch, settings.order) };
    }
    return planned.windows[step % settings.stepsPerEpoch]!;
  };
}

/** One optimizer step, and the validation that is due after it. */
async function trainStep(
  run: TrainRun,
  step: number,
  window: WindowPlan,
  update: (step: number, learningRate: number, gradScale: number) => void,
): Promise<StepMetrics> {
  const { model, settings, optimizer, train } = run;
  const startMs = performance.now();
  for (const { grad } of model.parameters) grad.fill(0);
  const sums = { loss: 0, weight: 0, count: 0, hits: 0 };
  let tokens = 0;
  for (const [index, plan] of window.entries()) {
    model.setDropoutStep(step, index);
    addSums(sums, await model.accumulate(assembleTightBatch(train.examples, plan)));
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
  { model, validation, settings }: TrainRun,
  step: number,
): Promise<Partial<Validation>> {
  if (!validation) return {};
  const validated = await validate(model, validation, settings.order.batchSize);
  refuseNonFinite(step, validated.validationLoss, 'validation loss');
  return validated;
}

function refuseNothing(step: number, { weight }: LossSums): void {
  if (weight > 0) return;
  throw new TrainError('nothing_to_learn', `step ${step}: its rows have nothing to learn`);
}

function refuseNonFinite(step: number, value: number, what: string): void {
  if (Number.isFinite(value)) return;
  throw new TrainError(
    'non_finite_loss',
    `step ${step}: the ${what} is not finite; begin again with a lower learningRate or a longer warm-up`,
  );
}

function countTokens({ examples }: Dataset, plan: MicroBatchPlan): number {
  return plan.flat().reduce((sum, index) => sum + examples[index]!.ids.length, 0);
}

function isValidationDue({ evalEvery, totalSteps }: RunSettings, step: number): boolean {
  return evalEvery !== undefined && (step % evalEvery === 0 || step === totalSteps);
}

function advance(
  { settings, validation }: TrainRun,
  state: RunState,
  { step, validationLoss }: StepMetrics,
): RunState {
  const cursor = {
    epoch: Math.floor(step / settings.stepsPerEpoch),
    window: step % settings.stepsPerEpoch,
  };
  if (!validation || validationLoss === undefined) return { ...state, step, cursor };
  const isBest = state.best === null || validationLoss < state.best.validationLoss;
  return {
    ...state,
    step,
    cursor,
    best: isBest ? { step, validationLoss } : state.best,
    staleValidations: isBest ? 0 : state.staleValidations + 1,
  };
}

/** New warnings become events, each once in a run. */
async function giveWarnings(run: TrainRun, state: RunState, hooks: TrainHooks): Promise<RunState> {
  const { totalSteps } = run.settings;
  const isDue =
    state.step === 1 ||
    state.step === totalSteps ||
    state.step % Math.ceil(totalSteps / EXAMINATIONS) === 0;
  if (!isDue) return state;
  const warnings = examineCurves(run.folder.metrics, run.context).filter(
    ({ code }) => !state.warned.includes(code),
  );
  for (const { code, cause, cure } of warnings) {
    await hooks.onEvent('warn', `${cause}; ${cure}`, { code, cause, cure, step: state.step });
  }
  return { ...state, warned: [...state.warned, ...warnings.map(({ code }) => code)] };
}
