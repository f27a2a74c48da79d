// Saves and loads checkpoints: everything that a run needs to continue as if it had never stopped, in one safetensors file with
// its SHA-256 next to it. Damaged checkpoints are ignored.
import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { assert } from '../../src/common/assert.ts';
import { ConfigError } from '../../src/common/errors.ts';
import { makeFolder } from '../../src/common/folders.ts';
import { hashFile, loadRegular, SMALL_FILE_BYTES } from '../../src/common/regular-file.ts';
import { fromFloat32, type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import { TRAINING_SETTINGS } from '../../src/contracts/training-settings.ts';
import { memorySource, openSafetensors, writeSafetensors } from '../../src/formats/safetensors.ts';
import type { Moments } from '../optimizer.ts';
import type { Parameter } from '../types.ts';
import { keepSteps, listSteps, replaceFolder, stepFolder } from './run-folder.ts';

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
        .object({ validationLoss: z.number(), validationTokenAccuracy: z.number() })
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

/** The tensors that a checkpoint saves and restores in place. */
interface TrainedState {
  readonly parameters: readonly Parameter[];
  /** One pair for each parameter. */
  readonly moments: readonly Moments[];
}

const TENSORS_FILE = 'state.safetensors';
const HASH_FILE = 'state.sha256';
/** The number of checkpoints that are kept. */
const KEPT_CHECKPOINTS = 3;

/** Writes the checkpoint `step-N`. Once this resolves, the checkpoint survives a crash. */
export async function saveCheckpoint(
  checkpointsDir: string,
  state: RunState,
  trained: TrainedState,
): Promise<void> {
  const target = stepFolder(checkpointsDir, state.step);
  const building = `${target}.tmp-${process.pid}`;
  await rm(building, { recursive: true, force: true });
  await makeFolder(building);
  const file = path.join(building, TENSORS_FILE);
  const tensors = new Map<string, Tensor>();
  for (const { name, shape, data } of arraysOf(trained)) {
    tensors.set(name, fromFloat32(data, shape, 'F32'));
  }
  const metadata = { state: JSON.stringify(state) };
  await writeSafetensors(file, memorySource(tensors), { metadata });
  const { sha256 } = await hashFile(file);
  await writeFile(path.join(building, HASH_FILE), `${sha256}\n`, { flush: true });
  await replaceFolder(building, target);
  const steps = await listSteps(checkpointsDir);
  await keepSteps(checkpointsDir, steps.slice(-KEPT_CHECKPOINTS));
}

/**
 * Restores the newest intact checkpoint in place. Resolves with undefined if there is none.
 * @throws ConfigError if it belongs to another job, base or data
 */
export async function loadCheckpoint(
  checkpointsDir: string,
  trained: TrainedState,
  { configHash, compute }: Pick<RunState, 'configHash' | 'compute'>,
): Promise<RunState | undefined> {
  for (const step of (await listSteps(checkpointsDir)).reverse()) {
    const folder = stepFolder(checkpointsDir, step);
    if (!(await isWhole(folder))) continue;
    const source = openSafetensors(path.join(folder, TENSORS_FILE));
    try {
      const state = stateSchema.parse(JSON.parse(source.metadata['state'] ?? ''));
      if (state.compute !== compute) {
        throw new ConfigError([
          `compute: is ${compute}, but ${folder} was made with ${state.compute}. Set it to ${state.compute}, or start a new run.`,
        ]);
      }
      if (state.configHash !== configHash) {
        throw new ConfigError([
          `${folder}: the job, its data or its base has changed since this checkpoint. Start a new run.`,
        ]);
      }
      for (const { name, data } of arraysOf(trained)) {
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

function arraysOf({ parameters, moments }: TrainedState) {
  return parameters.flatMap(({ name, shape, data }, i) => [
    { name, shape, data },
    { name: `adam.first.${name}`, shape, data: moments[i]!.first },
    { name: `adam.second.${name}`, shape, data: moments[i]!.second },
  ]);
}

async function isWhole(folder: string): Promise<boolean> {
  try {
    const expected = await loadRegular(path.join(folder, HASH_FILE), SMALL_FILE_BYTES);
    return (await hashFile(path.join(folder, TENSORS_FILE))).sha256 === expected.toString().trim();
  } catch {
    return false;
  }
}
