// Resolves the settings that a job leaves open: method, lengths, learning rate and step counts follow from model and data.
// Pure.
import { ConfigError } from '../../src/common/errors.ts';
import { MAX_LEARNING_RATE } from '../../src/contracts/training-settings.ts';
import type { ArtifactInfo } from '../../src/import/artifact.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import type { OrderOptions } from '../data/epoch-plan.ts';
import type { Schedule } from '../optimizer.ts';
import type { TrainMethod } from '../types.ts';
import type { TrainJob } from './job.ts';

/** The numbers of a run. */
export interface RunSettings {
  readonly method: TrainMethod;
  readonly order: OrderOptions;
  readonly schedule: Schedule;
  /** Optimizer steps of one epoch. */
  readonly stepsPerEpoch: number;
  readonly totalSteps: number;
  /** Undefined without validation rows. */
  readonly evalEvery: number | undefined;
  readonly checkpointEvery: number;
}

/** TRL's default: most examples fit, and a batch of 8 stays below 2 GB of activations for a small model. */
export const MAX_DEFAULT_LENGTH = 1024;
/** The default number of checkpoints per run. */
const DEFAULT_CHECKPOINTS = 10;
const DEFAULT_WARMUP_SHARE = 0.03;

/**
 * Returns the method. @throws ConfigError if it does not fit the base; the message contains the command that imports a fitting
 * one
 */
export function resolveMethod(job: TrainJob, info: ArtifactInfo): TrainMethod {
  const isNf4 = info.quantization === 'nf4';
  const method = job.method ?? (isNf4 ? 'qlora' : 'lora');
  if ((method === 'qlora') === isNf4) return method;
  const needed = method === 'qlora' ? 'nf4' : 'none';
  const [needs, is] = isNf4 ? ['an unquantized base', 'NF4'] : ['an NF4 base', 'not quantized'];
  throw new ConfigError(
    `method: ${method} needs ${needs}, but ${info.name} is ${is}. Import one: lorikeet import ${info.source} --out DIR --quantization ${needed}`,
  );
}

/** Returns the length of the longest example. @throws ConfigError if the model has fewer positions */
export function resolveMaxLength(job: TrainJob, model: DecoderConfig): number {
  const { maxLength = Math.min(MAX_DEFAULT_LENGTH, model.maxPositions) } = job;
  if (maxLength <= model.maxPositions) return maxLength;
  throw new ConfigError(`maxLength: must be at most ${model.maxPositions}, the model's positions`);
}

/** The ratio of TRL's defaults: 1e-6 for DPO and GRPO, 2e-5 for supervised training. */
const PREFERENCE_RATE = 1 / 20;

/**
 * Thinking Machines' estimate (tinker-cookbook): wide models need smaller rates, and LoRA needs ten times the rate of full
 * training.
 */
function defaultLearningRate(
  { objective }: TrainJob,
  method: TrainMethod,
  model: DecoderConfig,
): number {
  const exponent = model.family.startsWith('qwen') ? 0.0775 : 0.781;
  const share =
    (method === 'full' ? 1 : 10) *
    (objective === undefined || objective === 'supervised' ? 1 : PREFERENCE_RATE);
  const rate = 5e-5 * (2000 / model.hiddenSize) ** exponent * share;
  return Number(rate.toPrecision(2));
}

/** Returns the peak of the learning rate. @throws ConfigError if it is too high */
function peakRate(job: TrainJob, method: TrainMethod, model: DecoderConfig): number {
  const peak =
    job.learningRateMultiplier * (job.learningRate ?? defaultLearningRate(job, method, model));
  if (peak <= MAX_LEARNING_RATE) return peak;
  throw new ConfigError(
    `learningRateMultiplier: makes the learning rate ${Number(peak.toPrecision(2))}, but it must be at most ${MAX_LEARNING_RATE}`,
  );
}

/** The properties of model and rows that settings depend on. */
interface ResolveOptions {
  readonly method: TrainMethod;
  readonly maxLength: number;
  readonly stepsPerEpoch: number;
  readonly hasValidation: boolean;
}

/** Resolves the job's open settings. */
export function resolveSettings(
  job: TrainJob,
  model: DecoderConfig,
  { method, maxLength, stepsPerEpoch, hasValidation }: ResolveOptions,
): RunSettings {
  const totalSteps = job.maxSteps ?? job.epochs * stepsPerEpoch;
  return {
    method,
    order: orderOptions(job, maxLength),
    schedule: {
      name: job.schedule,
      peak: peakRate(job, method, model),
      warmupSteps: job.warmupSteps ?? Math.floor(DEFAULT_WARMUP_SHARE * totalSteps),
      totalSteps,
    },
    stepsPerEpoch,
    totalSteps,
    evalEvery: hasValidation ? (job.evalEvery ?? stepsPerEpoch) : undefined,
    checkpointEvery: job.checkpointEvery ?? Math.ceil(totalSteps / DEFAULT_CHECKPOINTS),
  };
}

/** Returns the settings that decide which examples a step gets. */
export function orderOptions(job: TrainJob, maxLength: number): OrderOptions {
  const { seed, shuffle, packing, batchSize, gradAccumulation } = job;
  return { seed, shuffle, packing, maxLength, batchSize, gradAccumulation };
}
