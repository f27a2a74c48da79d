// Writes the results of a run: an adapter as a PEFT folder, snapshots of an adapter, or a whole model as a Hugging Face
// folder.

import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { CONFIG_FILE, WEIGHTS_FILE } from '../../adapters/peft/files.ts';
import { EMBEDDING, HEAD, tensorName } from '../../adapters/peft/tensor-names.ts';
import type { FloatDType, Tensor } from '../../src/common/tensor.ts';
import { KEPT_CHECKPOINTS, keptSteps } from '../../src/contracts/kept-checkpoints.ts';
import type { StepMetrics } from '../../src/contracts/metrics.ts';
import { listSteps, stepFolder } from '../../src/contracts/run-folder.ts';
import { TRAINING_ORIGIN_FILE, type TrainingOrigin } from '../../src/contracts/training-origin.ts';
import {
  memorySource,
  type WritableTensors,
  writeSafetensors,
} from '../../src/formats/safetensors.ts';
import {
  CONFIG_FILE as MODEL_CONFIG,
  WEIGHTS_FILE as MODEL_WEIGHTS,
  openFolder,
} from '../../src/import/folder.ts';
import { type StoredParameter, storedSettings, toStored } from '../adapter/peft-file.ts';
import type { AdapterPlan } from '../job/adapter-plan.ts';
import { keepSteps, writeFileDurably, writeFolderDurably } from './durable-files.ts';

/** An adapter and its file format. */
interface AdapterToWrite {
  readonly parameters: readonly StoredParameter[];
  readonly peft: AdapterPlan['peft'];
  /** Values are rounded to nearest, ties to even. */
  readonly dtype: FloatDType;
  /** `base_model_name_or_path`, for information only. */
  readonly baseName: string;
  /** Absent: none is written. */
  readonly origin?: TrainingOrigin;
}

/** Writes an adapter as peft does, replacing the folder `dir` atomically. peft and llama.cpp's converter can open it. */
export async function writeAdapter(dir: string, adapter: AdapterToWrite): Promise<void> {
  const { origin } = adapter;
  const tensors = new Map<string, Tensor>();
  for (const parameter of adapter.parameters) {
    tensors.set(parameter.name, toStored(parameter, adapter.dtype));
  }
  const tied = adapter.peft.ensure_weight_tying && tensors.get(tensorName(EMBEDDING, 'whole'));
  if (tied) tensors.set(tensorName(HEAD, 'whole'), tied); // peft does not open the folder without it
  await writeFolderDurably(dir, async (building) => {
    await writeFileDurably(path.join(building, CONFIG_FILE), serializeConfig(adapter));
    const json = `${JSON.stringify(origin, null, 2)}\n`;
    if (origin) await writeFileDurably(path.join(building, TRAINING_ORIGIN_FILE), json);
    await writeSafetensors(path.join(building, WEIGHTS_FILE), memorySource(tensors), TORCH);
  });
}

/** The metadata that transformers expects in a file of tensors. */
const TORCH = { metadata: { format: 'pt' } };

/** Serializes the fields that all peft versions support, sorted as in peft. */
function serializeConfig({ peft, baseName }: AdapterToWrite): string {
  const { exclude_modules, lora_bias, alora_invocation_tokens, ensure_weight_tying, ...settings } =
    storedSettings(peft);
  const fields: Record<string, unknown> = {
    // Older versions of peft reject these fields, so they are only written if set.
    ...(exclude_modules !== null && { exclude_modules }),
    ...(lora_bias && { lora_bias }),
    ...(ensure_weight_tying && { ensure_weight_tying }),
    ...(alora_invocation_tokens !== null && { alora_invocation_tokens }),
    auto_mapping: null,
    base_model_name_or_path: baseName,
    fan_in_fan_out: false,
    inference_mode: true,
    peft_type: 'LORA',
    revision: null,
    task_type: 'CAUSAL_LM',
    ...settings,
  };
  const sorted = Object.fromEntries(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)));
  return `${JSON.stringify(sorted, null, 2)}\n`;
}

/** Copies of the adapter at the end of each epoch, or after each validation of rewards. */
export interface Snapshots {
  /** Lists the steps that have a snapshot, in ascending order. */
  steps(): Promise<number[]>;
  /** Returns the PEFT folder of a snapshot. */
  directory(step: number): string;
  /** @param rows the metrics of all steps so far */
  save(step: number, rows: readonly SnapshotRow[]): Promise<void>;
}

type SnapshotRow = Pick<StepMetrics, 'step' | 'eval_reward'>;

/**
 * Creates the snapshots of a run. After a kill, the resumed run writes identical ones. @param adapter the adapter in training
 */
export function createSnapshots(dir: string, adapter: AdapterToWrite): Snapshots {
  return {
    steps: () => listSteps(dir),
    directory: (step) => stepFolder(dir, step),
    async save(step, rows) {
      const target = stepFolder(dir, step);
      // A snapshot from before a kill is complete and identical. Somebody may be reading it.
      if (!existsSync(target)) await writeAdapter(target, adapter);
      const steps = await listSteps(dir);
      const rewards = new Map(rows.map((row) => [row.step, row.eval_reward]));
      const past = steps.filter((other) => other <= step);
      const best = keptSteps(past.map((other) => ({ step: other, reward: rewards.get(other) })));
      // The newest stay for a while even if they are not the best: a server may still be reading them.
      const newest = past.slice(-KEPT_CHECKPOINTS);
      await keepSteps(dir, [...best, ...newest, ...steps.filter((other) => other > step)]);
    },
  };
}

/** A whole model and the base that it came from. */
interface ModelToWrite {
  /** The base's folder, the source of configuration and tokenizer. */
  readonly baseDir: string;
  readonly tensors: WritableTensors;
  /** The dtype of the linears, for `config.json`. */
  readonly dtype: FloatDType;
}

/** The names that transformers gives to dtypes. */
const DTYPE_NAMES = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' } as const;

/** Writes a whole model and replaces the folder `dir` atomically. Import the folder to serve it. */
export async function writeModel(dir: string, { baseDir, tensors, dtype }: ModelToWrite) {
  const base = openFolder(baseDir);
  base.tensors.close();
  await writeFolderDurably(dir, async (building) => {
    for (const [name, bytes] of base.files) await writeFile(path.join(building, name), bytes);
    const config = plainConfig(base, DTYPE_NAMES[dtype]);
    await writeFile(path.join(building, MODEL_CONFIG), config);
    await writeSafetensors(path.join(building, MODEL_WEIGHTS), tensors, TORCH);
  });
}

/**
 * Returns the base's configuration without its quantization. The text is edited if possible, because JSON.parse turns 1.0 into
 * 1.
 */
function plainConfig(
  { configJson, configText }: ReturnType<typeof openFolder>,
  dtype: string,
): string {
  const { quantization_config: quantization, ...plain } = configJson;
  const text = quantization === undefined ? configText : `${JSON.stringify(plain, null, 2)}\n`;
  return text.replace(/("(?:torch_)?dtype"\s*:\s*)"[^"]*"/, `$1"${dtype}"`);
}
