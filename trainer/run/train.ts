// The training loop: optimizer steps, with validations, checkpoints, snapshots and warnings between them. The model and the
// rows are arguments.

import type { StepMetrics } from '../../src/contracts/metrics.ts';
import type { Preference } from '../../src/contracts/preference-settings.ts';
import { planEpoch, planValidation, type StepBatches } from '../data/epoch-plan.ts';
import { type Example, sequenceLengths } from '../data/example.ts';
import type { Dataset } from '../data/load-dataset.ts';
import { measureBase } from '../evaluation/losses.ts';
import { createAdamW } from '../optimizer.ts';
import type { Compute } from '../types.ts';
import { loadCheckpoint, type RunState, saveCheckpoint } from './checkpoint.ts';
import { examineCurves, isSolved, type RunContext } from './curve-warnings.ts';
import { TrainError } from './faults.ts';
import type { Validation } from './metrics.ts';
import { createObjective, type RunObjective } from './objective.ts';
import { type StepRun, trainStep } from './optimizer-step.ts';
import { type Reinforcement, Rewards } from './reinforcement.ts';
import type { Snapshots } from './result-files.ts';
import type { EventType, RunFolder } from './run-folder.ts';

/** The inputs of the training loop. */
export interface TrainRun extends Omit<StepRun, 'objective' | 'onValidation'> {
  /** Present if the rows are pairs. */
  readonly preference: Preference | undefined;
  /** Present if the rows are prompts. */
  readonly reinforcement?: Reinforcement | undefined;
  readonly patience: number | undefined;
  /** The fixed text that measures the base. Undefined for a classifier, and if the model has no tokenizer. */
  readonly text: Example | undefined;
  /** Whether the rows are labeled with classes. */
  readonly classifies: boolean;
  readonly folder: RunFolder;
  readonly context: Omit<RunContext, 'baseTextLoss'>;
  readonly configHash: string;
  readonly compute: Compute;
  /** The adapter's snapshots. A `full` run has none, and no base to compare with. */
  readonly snapshots: Snapshots | undefined;
  /** Saves the trained weights as the run's result. */
  saveResult(): Promise<void>;
}

/** Controls the run and receives its reports. */
export interface TrainHooks {
  /** On abort the run ends after its current step, with a checkpoint. */
  readonly signal: AbortSignal;
  onStep(metrics: StepMetrics, state: RunState): void;
  /** Called after a snapshot's step. On resume, also called for existing snapshots. */
  onSnapshot(metrics: StepMetrics): void;
  onEvent(type: EventType, message: string, data?: Record<string, unknown>): Promise<void>;
  /** Called before work that may take minutes. @param total its micro-batches; absent: unknown */
  onPhase?(phase: string, total?: number): void;
}

/** How training ended. */
export type Outcome = 'succeeded' | 'paused';

/** The state at the end of training. */
export interface TrainResult {
  readonly outcome: Outcome;
  readonly state: RunState;
}

/** The curves are examined at most about this many times in a run. A shorter run examines every step. */
const EXAMINATIONS = 100;

/** Trains until the last step, an abort, early stopping, or the highest reward. @throws TrainError if a loss is not finite */
export async function train(run: TrainRun, hooks: TrainHooks): Promise<TrainResult> {
  const { model, settings, folder, snapshots } = run;
  const optimizer = createAdamW(model.parameters, run.optimizer);
  const options = { ...run, batchSize: settings.order.batchSize };
  const objective: RunObjective = run.reinforcement
    ? new Rewards(options, run.reinforcement)
    : createObjective(options);
  const { saved } = objective;
  const trained = { parameters: model.parameters, moments: optimizer.moments, saved };
  const checkpoint = await loadCheckpoint(folder.checkpointsDir, trained, run, async (step) => {
    const cause = `the checkpoint of step ${step} is damaged`;
    const cure = 'the run goes on from the one before it, or from its beginning';
    const code = 'checkpoint_damaged';
    await hooks.onEvent('warn', `${cause}; ${cure}`, { code, cause, cure, step });
  });
  let state = checkpoint ?? initialState(run);
  await folder.rewind(state.step);
  if (checkpoint) await hooks.onEvent('resumed', `Resumed after step ${checkpoint.step}`);
  else {
    if (objective.prepare) {
      hooks.onPhase?.('measure reference', measuredBatches(run, run.train, run.validation));
    }
    if ((await objective.prepare?.(hooks.signal)) === false) return { outcome: 'paused', state };
  }
  await resendSnapshots(run, hooks);
  // No step has changed anything yet.
  if (!checkpoint && hooks.signal.aborted) return { outcome: 'paused', state };
  state = await compareBase({ ...run, objective }, state, hooks);
  let savedStep = state.step;
  const save = async () => {
    await saveCheckpoint(folder.checkpointsDir, state, trained);
    savedStep = state.step;
    await hooks.onEvent('checkpoint', `Checkpoint created at step ${state.step}`);
  };
  const planOf = createStepBatches(run);
  while (!isDone(run, state)) {
    const plans = planOf(state.step);
    hooks.onPhase?.(`step ${state.step + 1}`, plans.length);
    if (hooks.signal.aborted) {
      if (savedStep !== state.step || state.step === 0) await save();
      return { outcome: 'paused', state };
    }
    const onValidation = () => hooks.onPhase?.('validate', measuredBatches(run, run.validation));
    const parts = { ...run, objective, onValidation };
    const metrics = await trainStep(parts, state.step, plans, optimizer.step);
    state = advanceState(run, state, metrics);
    if (state.best?.step === state.step) await run.saveResult();
    await folder.addMetrics(metrics);
    state = await addWarnings(run, state, hooks);
    hooks.onStep(metrics, state);
    if (snapshots && (isSnapshotDue(run, metrics) || isDone(run, state))) {
      await snapshots.save(state.step, folder.metrics); // before the checkpoint: a run that resumes from it then finds the snapshot
      hooks.onSnapshot(metrics);
    }
    if (state.step % settings.checkpointEvery === 0 || isDone(run, state)) await save();
  }
  if (state.step < settings.totalSteps && isSolved(folder.metrics, run.context.goal)) {
    const message = `All completions of the last steps got the highest reward, so training ended after step ${state.step} of ${settings.totalSteps}`;
    await hooks.onEvent('solved', message);
  }
  if (state.best === null) await run.saveResult();
  return { outcome: 'succeeded', state };
}

/** Reports a resumed run's snapshots again, because the first report may have been lost. */
async function resendSnapshots({ snapshots, folder }: TrainRun, hooks: TrainHooks): Promise<void> {
  const steps = new Set(await snapshots?.steps());
  for (const row of folder.metrics) if (steps.has(row.step)) hooks.onSnapshot(row);
}

/** Measures the base once per run, for comparison with the adapter. */
async function compareBase(
  run: TrainRun & StepRun,
  state: RunState,
  hooks: TrainHooks,
): Promise<RunState> {
  const { model, validation, text, objective, snapshots } = run;
  if (!snapshots || state.base) return state;
  const { guessed } = objective;
  const validate = validation ? () => objective.validate(validation) : async () => null;
  const probes = text && { examples: [text] };
  hooks.onPhase?.('measure base', measuredBatches(run, probes, guessed ? undefined : validation));
  const base = await measureBase(model, { guessed, text, validate });
  refuseBroken([base.validation?.validationLoss, base.textLoss]);
  if (base.validation) {
    const who = guessed ? 'guessing' : 'the base';
    const { validationLoss, eval_reward: reward } = base.validation;
    const [what, value] = reward === undefined ? ['loss', validationLoss] : ['reward', reward];
    const message = `Validation ${what} of ${who}: ${value.toFixed(4)}`;
    await hooks.onEvent('evaluated', message, { ...base.validation });
  }
  return { ...state, base: { ...base, validation: base.validation && toSaved(base.validation) } };
}

/** Returns the number of batches in which the rows are measured; 0 (unknown) if their completions are sampled first. */
function measuredBatches(
  { settings: { order }, reinforcement }: Pick<TrainRun, 'settings' | 'reinforcement'>,
  ...sets: readonly (Pick<Dataset, 'examples'> | undefined)[]
): number {
  if (reinforcement) return 0;
  return sets.flatMap((rows) => planValidation(rows?.examples ?? [], order.batchSize)).length;
}

function toSaved({ validGrading: _, ...validation }: Validation): Validation {
  return validation;
}

function refuseBroken(losses: readonly (number | null | undefined)[]): void {
  if (losses.every((loss) => Number.isFinite(loss ?? 0))) return;
  throw new TrainError(
    'non_finite_loss',
    "the base's own loss is not finite: the base's weights are damaged. Import the base again.",
  );
}

function initialState({ settings, configHash, compute }: TrainRun): RunState {
  return {
    step: 0,
    cursor: { epoch: 0, window: 0 },
    seed: settings.order.seed,
    best: null,
    base: null,
    staleValidations: 0,
    warned: [],
    configHash,
    compute,
  };
}

function isDone({ settings, patience, folder, context }: TrainRun, state: RunState): boolean {
  return (
    state.step >= settings.totalSteps ||
    isSolved(folder.metrics, context.goal) ||
    (patience !== undefined && state.staleValidations >= patience)
  );
}

/** Whether an epoch has ended, or rewards have been validated. */
function isSnapshotDue({ settings, validation, reinforcement }: TrainRun, row: StepMetrics) {
  const isOfEpoch = !validation || !reinforcement;
  return isOfEpoch ? row.step % settings.stepsPerEpoch === 0 : row.eval_reward !== undefined;
}

/** Returns a function that maps a step to its micro-batches. Each epoch is planned once. */
function createStepBatches({ train, settings }: TrainRun): (step: number) => StepBatches {
  const lengths = sequenceLengths(train.examples);
  let planned: { epoch: number; steps: StepBatches[] } | undefined;
  return (step) => {
    const epoch = Math.floor(step / settings.stepsPerEpoch);
    if (planned?.epoch !== epoch) {
      planned = { epoch, steps: planEpoch(lengths, epoch, settings.order) };
    }
    return planned.steps[step % settings.stepsPerEpoch]!;
  };
}

function advanceState(
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

/** Reports each new warning as an event, once per run. */
async function addWarnings(run: TrainRun, state: RunState, hooks: TrainHooks): Promise<RunState> {
  const { totalSteps } = run.settings;
  const isDue =
    state.step === 1 ||
    state.step === totalSteps ||
    state.step % Math.ceil(totalSteps / EXAMINATIONS) === 0;
  if (!isDue) return state;
  const context = { ...run.context, baseTextLoss: state.base?.textLoss ?? undefined };
  const warnings = examineCurves(run.folder.metrics, context).filter(
    ({ code }) => !state.warned.includes(code),
  );
  for (const { code, cause, cure } of warnings) {
    await hooks.onEvent('warn', `${cause}; ${cure}`, { code, cause, cure, step: state.step });
  }
  return { ...state, warned: [...state.warned, ...warnings.map(({ code }) => code)] };
}
