// Saves and loads checkpoints: everything that a run needs to continue as if it had never stopped, in one safetensors file with
// its SHA-256 next to it. Damaged checkpoints are ignored.
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { assert } from '../../src/common/assert.ts';
import { ConfigError } from '../../src/common/errors.ts';
import { hashFile } from '../../src/common/regular-file.ts';
import { fromFloat32, type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import {
  CHECKPOINT_FILES,
  isWholeCheckpoint,
  listSteps,
  stepFolder,
} from '../../src/contracts/run-folder.ts';
import { TRAINING_SETTINGS } from '../../src/contracts/training-settings.ts';
import { memorySource, openSafetensors, writeSafetensors } from '../../src/formats/safetensors.ts';
import type { Moments } from '../optimizer.ts';
import type { Parameter } from '../types.ts';
import { keepSteps, writeFolderDurably } from './durable-files.ts';

const stateSchema = z.object({
  /** Finished steps. */
  step: z.number().int().min(0),
  /** The position of the next step. `window` counts steps within the epoch. */
  cursor: z.object({ epoch: z.number().int(), window: z.number().int() }),
  /** All random numbers derive from the seed together with step, epoch and names. */
  seed: z.number().int(),
  best: z.object({ step: z.number().int(), validationLoss: z.number() }).nullable(),
  /** The base's losses without the adapter. Null if there is no adapter, or before they are measured. */
  base: z
    .object({
      validation: z
        .object({
          validationLoss: z.number(),
          validationTokenAccuracy: z.number().exactOptional(),
          eval_reward: z.number().exactOptional(),
        })
        .nullable(),
      textLoss: z.number().nullable(),
    })
    .nullable(),
  /** The number of validations since the best one. */
  staleValidations: z.number().int(),
  /** The codes of the warnings so far. */
  warned: z.array(z.string()),
  /** Hash of job, base and data. A checkpoint with another hash is refused. */
  configHash: z.string(),
  /** The arithmetic of the run. Older checkpoints lack this field. */
  compute: TRAINING_SETTINGS.compute.schema.default(TRAINING_SETTINGS.compute.default),
});

/** The state of a run between two steps. */
export type RunState = z.infer<typeof stateSchema>;

/** An array that a checkpoint saves and restores in place. */
export interface SavedArray {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** The tensors that a checkpoint saves and restores in place. */
interface TrainedState {
  readonly parameters: readonly Parameter[];
  /** One pair for each parameter. */
  readonly moments: readonly Moments[];
  /** The values that the objective measured before the first step. */
  readonly saved: readonly SavedArray[];
}

/** The number of checkpoints that are kept. */
const KEPT_CHECKPOINTS = 3;

/** Writes the checkpoint `step-N`. Once this resolves, the checkpoint survives a crash. */
export async function saveCheckpoint(
  checkpointsDir: string,
  state: RunState,
  trained: TrainedState,
): Promise<void> {
  const tensors = new Map<string, Tensor>();
  for (const { name, shape, data } of arraysOf(trained)) {
    tensors.set(name, fromFloat32(data, shape, 'F32'));
  }
  const metadata = { state: JSON.stringify(state) };
  await writeFolderDurably(stepFolder(checkpointsDir, state.step), async (dir) => {
    const file = path.join(dir, CHECKPOINT_FILES.tensors);
    await writeSafetensors(file, memorySource(tensors), { metadata });
    const { sha256 } = await hashFile(file);
    await writeFile(path.join(dir, CHECKPOINT_FILES.hash), `${sha256}\n`, { flush: true });
  });
  const steps = await listSteps(checkpointsDir);
  await keepSteps(checkpointsDir, steps.slice(-KEPT_CHECKPOINTS));
}

/**
 * Restores the newest intact checkpoint in place. Resolves with undefined if there is none. `onDamaged` gets the steps of others.
 * @throws ConfigError if it belongs to another job, base or data
 */
export async function loadCheckpoint(
  checkpointsDir: string,
  trained: TrainedState,
  { configHash, compute }: Pick<RunState, 'configHash' | 'compute'>,
  onDamaged: (step: number) => Promise<void>,
): Promise<RunState | undefined> {
  for (const step of (await listSteps(checkpointsDir)).reverse()) {
    const folder = stepFolder(checkpointsDir, step);
    if (!(await isWholeCheckpoint(folder))) {
      await onDamaged(step);
      continue;
    }
    const source = openSafetensors(path.join(folder, CHECKPOINT_FILES.tensors));
    try {
      const state = stateSchema.parse(JSON.parse(source.metadata['state'] ?? ''));
      if (state.compute !== compute) {
        throw new ConfigError(
          `compute: is ${compute}, but ${folder} was made with ${state.compute}. Set it to ${state.compute}, or start a new run.`,
        );
      }
      if (state.configHash !== configHash) {
        throw new ConfigError(
          `${folder}: the job, its data or its base has changed since this checkpoint. Start a new run.`,
        );
      }
      const arrays = arraysOf(trained);
      if (!arrays.every(({ name }) => source.infos.has(name))) {
        throw new ConfigError(
          `${folder}: was written by an older version, which started PiSSA from less exact factors. Start a new run.`,
        );
      }
      for (const { name, data } of arrays) {
        const values = toFloat32(source.read(name));
        assert(values.length === data.length, `checkpoint: ${name} has another size`);
        data.set(values);
      }
      return state;
    } finally {
      source.close();
    }
  }
  return undefined;
}

/** Lists the arrays of a model in training, in a fixed order. */
export function arraysOf({ parameters, moments, saved }: TrainedState): SavedArray[] {
  const trained = parameters.flatMap(({ name, shape, data, neutral, startedAs }, i) => [
    { name, shape, data },
    // Another version, or another CPU, may compute the start differently, and the result subtracts it.
    ...(neutral && startedAs ? [{ name: `start.${name}`, shape, data: neutral }] : []),
    { name: `adam.first.${name}`, shape, data: moments[i]!.first },
    { name: `adam.second.${name}`, shape, data: moments[i]!.second },
  ]);
  return [...trained, ...saved];
}
