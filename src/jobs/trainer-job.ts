// Translates an API request into the trainer's job file.
import { HYPERPARAMETERS, type HyperparameterField } from '../contracts/training-fields.ts';
import type { JobRequest } from './job.ts';
import type { TrainerJob } from './runner.ts';

/** Sequences that are computed at once. Larger batches accumulate gradients, which needs no more memory. */
const MAX_MICRO_BATCH = 8;
/** A prime batch size cannot be split. Up to this size it is computed at once. */
const MAX_SINGLE_BATCH = 16;

/** Numbers for a job's hyperparameters, by their key in its record. */
export type ResolvedHyperparameters = Record<HyperparameterField, number>;

/** Replaces `auto` with the trainer's defaults. */
export function resolveHyperparameters(
  requested: JobRequest['hyperparameters'],
): ResolvedHyperparameters {
  return Object.fromEntries(
    HYPERPARAMETERS.map(({ field, default: auto }) => {
      const value = requested[field];
      return [field, value === 'auto' ? auto : value];
    }),
  ) as ResolvedHyperparameters;
}

/** Local files that a job reads. */
export interface JobInputs {
  /** The base's folder. */
  readonly model: string;
  readonly data: string;
  readonly validation?: string;
  readonly initAdapter?: string;
}

/** Returns the trainer's job: the request's settings by their keys in a job file, and local files. */
export function toTrainerJob(request: JobRequest, inputs: JobInputs): TrainerJob {
  const resolved = resolveHyperparameters(request.hyperparameters);
  const numbers = HYPERPARAMETERS.map(({ key, field }) => [key, resolved[field]]);
  const { gate: _gate, ...settings } = request.settings;
  return {
    ...inputs,
    ...settings,
    seed: request.seed,
    ...Object.fromEntries(numbers),
    ...splitBatch(resolved.batchSize),
  };
}

/** Splits a batch size into two factors. */
export function splitBatch(size: number): { batchSize: number; gradAccumulation: number } {
  if (size <= MAX_MICRO_BATCH) return { batchSize: size, gradAccumulation: 1 };
  let batchSize = MAX_MICRO_BATCH;
  while (size % batchSize !== 0) batchSize--;
  if (batchSize === 1 && size <= MAX_SINGLE_BATCH) return { batchSize: size, gradAccumulation: 1 };
  return { batchSize, gradAccumulation: size / batchSize };
}
