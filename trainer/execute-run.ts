// One prepared run from its first step (or its last checkpoint) to its result in the run folder, told as events.
import path from 'node:path';
import { memorySource } from '../src/formats/safetensors.ts';
import type { Artifact } from '../src/import/artifact.ts';
import type { DecoderConfig } from '../src/model/config.ts';
import { fromFloat32 } from '../src/tensor.ts';
import { DatasetError } from './data/example.ts';
import { createTrainModel } from './model.ts';
import { writeModel } from './model-writer.ts';
import { writeAdapter } from './peft-writer.ts';
import type { PreparedRun } from './prepare-run.ts';
import type { Publisher } from './publish.ts';
import type { EventType, RunFolder } from './run-folder.ts';
import { type Outcome, type TrainHooks, type TrainRun, train } from './train.ts';
import type { TrainModel } from './types.ts';

export interface ExecuteOptions {
  readonly artifact: Artifact;
  readonly folder: RunFolder;
  readonly signal: AbortSignal;
  readonly onStep: TrainHooks['onStep'];
  /** Events as they are written. */
  onEvent(type: EventType, message: string): void;
  /** Of a run with a name. */
  readonly publisher: Publisher | undefined;
}

/** Resolves when the run has ended or was asked to; a failure is an event, too. */
export async function executeRun(prepared: PreparedRun, options: ExecuteOptions): Promise<Outcome> {
  const { artifact, folder, signal, onStep } = options;
  const tell: TrainHooks['onEvent'] = async (type, message, data) => {
    const level = type === 'failed' ? 'error' : type === 'warn' ? 'warn' : 'info';
    await folder.addEvent({ type, level, message, ...(data && { data }) });
    options.onEvent(type, message);
  };
  let model: TrainModel | undefined;
  try {
    model = createModel(prepared, artifact);
    await tell('started', 'Fine-tuning job started');
    if (folder.isNew) {
      for (const { code, cause, cure } of prepared.warnings) {
        await tell('warn', `${cause}; ${cure}`, { code, cause, cure });
      }
    }
    const trained = model;
    const run = {
      ...toTrainRun(prepared, artifact.config),
      model: trained,
      folder,
      saveResult: () => writeResult(prepared, trained, options),
    };
    const outcome = await train(run, { signal, onStep, onEvent: tell });
    const title = prepared.job.name ?? artifact.info.name;
    await folder.writeReports(title);
    if (outcome === 'succeeded') await finish(prepared, options, tell);
    else await tell('paused', `Paused; go on by: lorikeet train --resume ${folder.dir}`);
    return outcome;
  } catch (error) {
    const code = error instanceof DatasetError ? error.code : 'training_failed';
    const message = error instanceof Error ? error.message : String(error);
    await tell('failed', message, { code });
    throw error;
  } finally {
    await model?.release();
  }
}

function createModel({ job, settings, adapter }: PreparedRun, artifact: Artifact): TrainModel {
  return createTrainModel(artifact, {
    method: settings.method,
    adapter: adapter?.lora,
    dropout: job.dropout,
    recompute: job.recompute,
    blocksPerSegment: job.blocksPerSegment,
    threads: job.threads,
    seed: job.seed,
  });
}

/** What the loop needs of a prepared run, beside the model and its folder. */
export function toTrainRun(
  { job, settings, adapter, train, validation, configHash }: PreparedRun,
  { vocabSize }: DecoderConfig,
): Omit<TrainRun, 'model' | 'folder' | 'saveResult'> {
  const ranks = [...(adapter?.lora.modules.values() ?? [])].map(({ rank }) => rank);
  const { betas, epsilon, weightDecay, maxGradNorm } = job;
  return {
    settings,
    optimizer: { betas, epsilon, weightDecay, maxGradNorm },
    patience: job.patience,
    train,
    validation,
    context: {
      vocabSize,
      totalSteps: settings.totalSteps,
      peakRate: settings.schedule.peak,
      rank: ranks.length > 0 ? Math.min(...ranks) : undefined,
    },
    configHash,
  };
}

/** The adapter, or the whole model of a `full` run. */
async function writeResult(
  { adapter }: PreparedRun,
  { parameters }: TrainModel,
  { artifact, folder }: ExecuteOptions,
): Promise<void> {
  if (adapter) {
    const baseName = artifact.info.source;
    return writeAdapter(folder.adapterDir, { parameters, peft: adapter.peft, baseName });
  }
  const tensors = new Map(
    parameters.map(({ name, shape, data }) => [name, fromFloat32(data, shape, 'F32')]),
  );
  return writeModel(folder.modelDir, {
    baseDir: artifact.dir,
    tensors: memorySource(tensors),
    dtype: 'F32',
  });
}

async function finish(
  { job, adapter }: PreparedRun,
  { folder, publisher }: ExecuteOptions,
  tell: TrainHooks['onEvent'],
): Promise<void> {
  if (job.name !== undefined && adapter && publisher) {
    const message = await publisher.publish({
      name: job.name,
      directory: folder.adapterDir,
      job: path.basename(folder.dir),
      metrics: folder.metrics,
    });
    await tell('published', message);
  }
  const peakBytes = process.resourceUsage().maxRSS * 1024;
  await tell('succeeded', 'The job has successfully completed', { peakBytes });
}
