// Executes a prepared run: trains from the first step or the last checkpoint, evaluates the result, publishes it if it has a
// name, and reports its progress as messages.

import { rm } from 'node:fs/promises';
import path from 'node:path';
import { assert } from '../../src/common/assert.ts';
import { smallest } from '../../src/common/long-arrays.ts';
import { fromFloat32 } from '../../src/common/tensor.ts';
import type { EvaluationCard } from '../../src/contracts/evaluation-card.ts';
import type { Constraint } from '../../src/contracts/generation.ts';
import type { GateSettings, TrainerMessage } from '../../src/contracts/training-messages.ts';
import { memorySource } from '../../src/formats/safetensors.ts';
import type { Artifact } from '../../src/import/artifact.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { sayFailures } from '../evaluation/gates.ts';
import { probeExample } from '../evaluation/losses.ts';
import type { PreparedRun } from '../job/prepare-run.ts';
import { createTrainModel, type TrainModelOptions } from '../model.ts';
import { createGrading } from '../rewards.ts';
import type { ProbedModel } from '../types.ts';
import type { RunState } from './checkpoint.ts';
import { evaluateRun, goalOf } from './evaluate-run.ts';
import { GateError, toFault } from './faults.ts';
import { Phases } from './phases.ts';
import type { Publisher } from './publish-result.ts';
import type { CompletionSampler, Reinforcement } from './reinforcement.ts';
import { createSnapshots, writeAdapter, writeModel } from './result-files.ts';
import type { RunFolder } from './run-folder.ts';
import { isRecorded, toStepSamples } from './samples.ts';
import { type Outcome, type TrainHooks, type TrainRun, train } from './train.ts';

/** The run's environment. */
export interface ExecuteOptions {
  readonly artifact: Artifact;
  readonly folder: RunFolder;
  readonly signal: AbortSignal;
  /** False: an adapter that fails a gate only causes a warning. */
  readonly gate: GateSettings | false;
  /** Present if the run has a name. */
  readonly publisher: Publisher | undefined;
  send(message: TrainerMessage): void;
  /** The most bytes of activations that the run keeps although it recomputes. Absent: a share of the weights'. */
  readonly savedBytes?: number | undefined;
  /** The response format of samples. Absent: any text. */
  readonly format?: Constraint | undefined;
  /** Runs the work with an engine that samples completions. Only reinforcement needs it. */
  withSamplingEngine?<T>(work: (sampler: CompletionSampler) => Promise<T>): Promise<T>;
}

/** Resolves when the run has ended or is paused. A failure is also reported as an event. @throws GateError, TrainError */
export async function executeRun(prepared: PreparedRun, options: ExecuteOptions): Promise<Outcome> {
  const { artifact, folder, signal } = options;
  const reportEvent = createEventReporter(options);
  const phases = new Phases(options.send);
  let model: ProbedModel | undefined;
  try {
    const counters = { onRead: phases.counter('load base'), onSegment: phases.withinBatch };
    const { savedBytes } = options;
    model = phases.watch(createModel(prepared, artifact, { ...counters, savedBytes }));
    await reportEvent('started', 'Fine-tuning job started');
    if (folder.isNew) {
      for (const { code, cause, cure } of prepared.warnings) {
        await reportEvent('warn', `${cause}; ${cure}`, { code, cause, cure });
      }
    }
    const run = toRun(prepared, model, options);
    const onPhase: TrainHooks['onPhase'] = (phase, total) => phases.begin(phase, total);
    const hooks = { signal, onEvent: reportEvent, onPhase, ...reportsOf(run, options) };
    const { outcome, state } = await withRewards(prepared, { model, ...options }, (reinforcement) =>
      train({ ...run, reinforcement }, hooks),
    );
    const hasTable = await report('result.csv', folder.writeTable(), reportEvent);
    const title = prepared.job.name ?? artifact.info.name;
    await report('plot.svg', folder.writePlot(title), reportEvent);
    if (outcome === 'succeeded') {
      phases.begin('evaluate');
      await finish(prepared, { model, state, hasTable, reportEvent, ...options });
    } else await reportEvent('paused', `Paused. Resume it: lorikeet train --resume ${folder.dir}`);
    return outcome;
  } catch (error) {
    const { code, message } = toFault(error);
    await reportEvent('failed', message, { code });
    throw error;
  } finally {
    await model?.release();
  }
}

/** Resolves with whether the report was written. A failure is a warning, because the trained weights can still be published. */
function report(
  name: string,
  written: Promise<void>,
  reportEvent: TrainHooks['onEvent'],
): Promise<boolean> {
  return written.then(
    () => true,
    async (error) => {
      const cause = `${name} was not written (${error instanceof Error ? error.message : error})`;
      const cure = 'the figures of all steps are in metrics.jsonl';
      const code = 'report_failed';
      await reportEvent('warn', `${cause}; ${cure}`, { code, cause, cure });
      return false;
    },
  );
}

/** Creates a function that writes an event to the run folder, then sends it. */
function createEventReporter({ folder, send }: ExecuteOptions): TrainHooks['onEvent'] {
  return async (type, message, data) => {
    const level = type === 'failed' ? 'error' : type === 'warn' ? 'warn' : 'info';
    const known = data && { data };
    await folder.addEvent({ type, level, message, ...known });
    const code = type === 'warn' ? String(data?.['code']) : type;
    send({ type: 'event', level, code, message, ...known });
  };
}

function createModel(
  { job, settings, adapter }: PreparedRun,
  artifact: Artifact,
  own: Pick<TrainModelOptions, 'onRead' | 'onSegment' | 'savedBytes'>,
): ProbedModel {
  return createTrainModel(artifact, {
    method: settings.method,
    adapter: adapter?.lora,
    dropout: job.dropout,
    compute: job.compute,
    recompute: job.recompute,
    blocksPerSegment: job.blocksPerSegment,
    threads: job.threads,
    seed: job.seed,
    ...own,
  });
}

/** Runs the work with the sampler and the grader of a run that learns from rewards. */
function withRewards<T>(
  prepared: PreparedRun,
  options: ExecuteOptions & { readonly model: ProbedModel },
  work: (reinforcement: Reinforcement | undefined) => Promise<T>,
): Promise<T> {
  const { job, settings, modelText, sampling } = prepared;
  if (!sampling) return work(undefined);
  const { withSamplingEngine, folder, model, artifact, format, send } = options;
  assert(
    withSamplingEngine && modelText,
    'a run that learns from rewards has an engine and a tokenizer',
  );
  const written = writtenOf(prepared, model, artifact)!;
  const directory = path.join(folder.dir, 'sampling');
  const result = withSamplingEngine((sampler) =>
    work({
      ...sampling,
      maxLength: settings.order.maxLength,
      seed: job.seed,
      sampler,
      async writeAdapter() {
        await writeAdapter(directory, { ...written, dtype: 'F32' });
        return directory;
      },
      ...createGrading(job.grader, {
        modelText,
        format,
        post: sampler.post,
        runPython: sampler.runPython,
        base: artifact.info.name,
        seed: job.seed,
      }),
      async record(step, groups) {
        if (!isRecorded(step, settings.totalSteps)) return;
        const samples = toStepSamples(step, groups, modelText.tokenizer);
        await folder.addSamples(samples);
        send({ type: 'samples', ...samples });
      },
    }),
  );
  return result.finally(() => rm(directory, { recursive: true, force: true }));
}

function toRun(prepared: PreparedRun, model: ProbedModel, options: ExecuteOptions): TrainRun {
  const { artifact, folder } = options;
  const written = writtenOf(prepared, model, artifact);
  return {
    ...toTrainRun(prepared, artifact.config),
    model,
    folder,
    snapshots: written && createSnapshots(folder.snapshotsDir, written),
    saveResult: () =>
      written ? writeAdapter(folder.adapterDir, written) : writeWholeModel(model, options),
  };
}

/** Returns the adapter in training as it is written. Undefined if the method is `full`. */
function writtenOf(
  { adapter, job, origin }: PreparedRun,
  { parameters }: ProbedModel,
  { info }: Artifact,
) {
  return (
    adapter && {
      parameters,
      peft: adapter.peft,
      baseName: info.source,
      dtype: job.saveDtype === 'float16' ? ('F16' as const) : ('F32' as const),
      origin,
    }
  );
}

/** Returns the loop's inputs from a prepared run. The caller adds the model and the folder. */
export function toTrainRun(
  { job, settings, adapter, train, validation, modelText, ...prepared }: PreparedRun,
  { vocabSize, maxPositions }: DecoderConfig,
): Omit<TrainRun, 'model' | 'folder' | 'snapshots' | 'saveResult' | 'reinforcement'> {
  const ranks = [...(adapter?.lora.modules.values() ?? [])].map(({ rank }) => rank);
  const { classes, invocation } = adapter?.lora ?? {};
  const classifies = classes !== undefined;
  const { objective = 'supervised' } = job;
  const { betas, epsilon, weightDecay, maxGradNorm } = job;
  return {
    settings,
    optimizer: { betas, epsilon, weightDecay, maxGradNorm },
    patience: job.patience,
    train,
    validation,
    preference: prepared.preference,
    text: probeExample({ modelText, classifies, maxPositions, invocation }),
    classifies,
    context: {
      vocabSize: classifies || objective !== 'supervised' ? undefined : vocabSize,
      objective,
      usesTemplate: prepared.usesTemplate,
      totalSteps: settings.totalSteps,
      peakRate: settings.schedule.peak,
      rank: ranks.length > 0 ? smallest(ranks) : undefined,
      goal: goalOf({ job, settings }),
    },
    configHash: prepared.configHash,
    compute: job.compute,
  };
}

/** Writes the result of a `full` run. */
function writeWholeModel(
  { parameters }: ProbedModel,
  { artifact, folder }: ExecuteOptions,
): Promise<void> {
  const tensors = new Map(
    parameters.map(({ name, shape, data }) => [name, fromFloat32(data, shape, 'F32')]),
  );
  return writeModel(folder.modelDir, {
    baseDir: artifact.dir,
    tensors: memorySource(tensors),
    dtype: 'F32',
  });
}

function reportsOf(
  { settings: { totalSteps }, snapshots }: TrainRun,
  { send }: ExecuteOptions,
): Pick<TrainHooks, 'onStep' | 'onSnapshot'> {
  return {
    onStep: (metrics) => send({ type: 'step', totalSteps, ...metrics }),
    onSnapshot: (metrics) => {
      const { step } = metrics;
      send({ type: 'snapshot', step, directory: snapshots!.directory(step), metrics });
    },
  };
}

interface FinishOptions extends ExecuteOptions {
  /** The model after the last step. The evaluation loads the adapter from the run folder into it. */
  readonly model: ProbedModel;
  readonly state: RunState;
  /** Whether the result table was written. */
  readonly hasTable: boolean;
  readonly reportEvent: TrainHooks['onEvent'];
}

async function finish(prepared: PreparedRun, options: FinishOptions): Promise<void> {
  const { folder, hasTable, reportEvent, send } = options;
  const card = prepared.adapter && (await passGates(prepared, options));
  await publish(prepared, card, options);
  const peakBytes = process.resourceUsage().maxRSS * 1024;
  await reportEvent('succeeded', 'The job has successfully completed', { peakBytes });
  send({
    type: 'trained',
    directory: prepared.adapter ? folder.adapterDir : folder.modelDir,
    ...(hasTable && { resultFile: folder.resultFile }),
    totalSteps: folder.metrics.length,
    trainedTokens: folder.metrics.reduce((sum, { tokens }) => sum + tokens, 0),
  });
}

/** Evaluates the adapter. @throws GateError if it fails and the job has gates */
async function passGates(prepared: PreparedRun, options: FinishOptions): Promise<EvaluationCard> {
  const { gate, reportEvent, send } = options;
  const card = await evaluateRun(prepared, options);
  send({ type: 'card', card });
  await reportEvent('evaluated', 'Adapter evaluated', { ...card });
  const failures = sayFailures(card);
  if (failures.length > 0 && gate) throw new GateError(failures.join('; '), card);
  for (const message of failures) await reportEvent('warn', message, { code: 'gate_failed' });
  return card;
}

async function publish(
  { job }: PreparedRun,
  card: EvaluationCard | undefined,
  { folder, publisher, reportEvent }: FinishOptions,
): Promise<void> {
  if (job.name === undefined || !card || !publisher) return;
  const message = await publisher.publish({
    name: job.name,
    directory: folder.adapterDir,
    job: path.basename(folder.dir),
    metrics: folder.metrics,
    evaluation: card,
  });
  await reportEvent('published', message);
}
