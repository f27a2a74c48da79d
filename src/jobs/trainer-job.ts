// From what an API request says to the keys of the trainer's job file, and the numbers that `auto` stands for.
import type { JobRequest, JobSettings } from './job.ts';
import type { TrainerJob } from './runner.ts';

/** OpenAI's API says what they mean, not which they are: as the trainer's own. */
const AUTO = { nEpochs: 3, batchSize: 8, learningRateMultiplier: 1 } as const;
/** Sequences that are computed at once; larger batches accumulate, which costs no memory. */
const MAX_MICRO_BATCH = 8;
/** A prime above that is trained as it is, up to here. */
const MAX_SINGLE_BATCH = 16;

export type ResolvedHyperparameters = Record<keyof typeof AUTO, number>;

export function resolveHyperparameters({
  nEpochs,
  batchSize,
  learningRateMultiplier,
}: JobRequest['hyperparameters']): ResolvedHyperparameters {
  const resolve = (key: keyof typeof AUTO, value: 'auto' | number) =>
    value === 'auto' ? AUTO[key] : value;
  return {
    nEpochs: resolve('nEpochs', nEpochs),
    batchSize: resolve('batchSize', batchSize),
    learningRateMultiplier: resolve('learningRateMultiplier', learningRateMultiplier),
  };
}

/** Local files that a job reads. */
export interface JobInputs {
  /** The base's folder. */
  readonly model: string;
  readonly data: string;
  readonly validation?: string;
  readonly initAdapter?: string;
}

export function toTrainerJob(request: JobRequest, inputs: JobInputs): TrainerJob {
  const { nEpochs, batchSize, learningRateMultiplier } = resolveHyperparameters(
    request.hyperparameters,
  );
  const { gate: _gate, ...settings }: JobSettings = request.settings;
  return {
    ...inputs,
    ...settings,
    seed: request.seed,
    epochs: nEpochs,
    learningRateMultiplier,
    ...splitBatch(batchSize),
  };
}

/** The product is the batch. */
export function splitBatch(size: number): { batchSize: number; gradAccumulation: number } {
  if (size <= MAX_MICRO_BATCH) return { batchSize: size, gradAccumulation: 1 };
  let batchSize = MAX_MICRO_BATCH;
  while (size % batchSize !== 0) batchSize--;
  if (batchSize === 1 && size <= MAX_SINGLE_BATCH) return { batchSize: size, gradAccumulation: 1 };
  return { batchSize, gradAccumulation: size / batchSize };
}
