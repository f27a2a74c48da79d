// Writes an adapter as peft does: adapter_config.json and adapter_model.safetensors, which peft, our server and
// llama.cpp's converter open.
// The adapter as it was at the end of each epoch: PEFT folders, the three newest of which stay. A run that was killed
// makes the same ones again.
// Writes a whole model as a Hugging Face folder: configuration and tokenizer of the base it came from, tensors of its
// own. Import the folder to serve it.

import { existsSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { CONFIG_FILE, WEIGHTS_FILE } from '../../adapters/peft/files.ts';
import { type FloatDType, fromFloat32, type Tensor } from '../../src/common/tensor.ts';
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
import type { PeftSettings } from '../job/adapter-plan.ts';
import type { Parameter } from '../types.ts';
import {
  keepSteps,
  listSteps,
  replaceFolder,
  stepFolder,
  writeFileDurably,
} from './durable-files.ts';

export interface AdapterToWrite {
  readonly parameters: readonly Pick<Parameter, 'name' | 'shape' | 'data'>[];
  readonly peft: PeftSettings;
  /** Values are rounded to the nearest, ties to even. */
  readonly dtype: FloatDType;
  /** `base_model_name_or_path`: informs only. */
  readonly baseName: string;
}

/** Replaces the folder `dir` as one. */
export async function writeAdapter(dir: string, adapter: AdapterToWrite): Promise<void> {
  const building = `${dir}.tmp-${process.pid}`;
  await rm(building, { recursive: true, force: true });
  await mkdir(building, { recursive: true });
  await writeFileDurably(path.join(building, CONFIG_FILE), serializeConfig(adapter));
  const tensors = new Map<string, Tensor>();
  for (const { name, shape, data } of adapter.parameters) {
    tensors.set(name, fromFloat32(data, shape, adapter.dtype));
  }
  const metadata = { format: 'pt' };
  await writeSafetensors(path.join(building, WEIGHTS_FILE), memorySource(tensors), { metadata });
  await replaceFolder(building, dir);
}

/** The fields that all versions of peft know, sorted as peft sorts them. */
function serializeConfig({ peft, baseName }: AdapterToWrite): string {
  const { exclude_modules, ...settings } = peft;
  const fields: Record<string, unknown> = {
    ...settings,
    // Younger than the other fields: named only where it says something.
    ...(exclude_modules !== null && { exclude_modules }),
    auto_mapping: null,
    base_model_name_or_path: baseName,
    bias: 'none',
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    modules_to_save: null,
    peft_type: 'LORA',
    revision: null,
    task_type: 'CAUSAL_LM',
    use_dora: false,
  };
  const sorted = Object.fromEntries(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)));
  return `${JSON.stringify(sorted, null, 2)}\n`;
}

export interface Snapshots {
  /** Those that are there, ascending. */
  steps(): Promise<number[]>;
  /** A PEFT folder. */
  directory(step: number): string;
  save(step: number): Promise<void>;
}

/** As many as OpenAI's API keeps callable. */
const KEPT_SNAPSHOTS = 3;

/** @param adapter its parameters change while it is trained */
export function createSnapshots(dir: string, adapter: AdapterToWrite): Snapshots {
  return {
    steps: () => listSteps(dir),
    directory: (step) => stepFolder(dir, step),
    async save(step) {
      const target = stepFolder(dir, step);
      // Made before a kill, it is whole and has the same bytes; somebody may be reading it.
      if (!existsSync(target)) await writeAdapter(target, adapter);
      const steps = await listSteps(dir);
      const newest = steps.filter((other) => other <= step).slice(-KEPT_SNAPSHOTS);
      await keepSteps(dir, [...newest, ...steps.filter((other) => other > step)]);
    },
  };
}

export interface ModelToWrite {
  /** Of the base: its artifact or any Hugging Face folder. */
  readonly baseDir: string;
  readonly tensors: WritableTensors;
  /** Of the linears, for `config.json`. */
  readonly dtype: FloatDType;
}

/** transformers' names of dtypes. */
const DTYPE_NAMES = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' } as const;

/** Replaces the folder `dir` as one. */
export async function writeModel(dir: string, { baseDir, tensors, dtype }: ModelToWrite) {
  const building = `${dir}.tmp-${process.pid}`;
  await rm(building, { recursive: true, force: true });
  await mkdir(building, { recursive: true });
  const base = openFolder(baseDir);
  base.tensors.close();
  for (const [name, bytes] of base.files) await writeFile(path.join(building, name), bytes);
  const config = plainConfig(base, DTYPE_NAMES[dtype]);
  await writeFile(path.join(building, MODEL_CONFIG), config);
  await writeSafetensors(path.join(building, MODEL_WEIGHTS), tensors, {
    metadata: { format: 'pt' },
  });
  await replaceFolder(building, dir);
}

interface BaseConfig {
  readonly configJson: Readonly<Record<string, unknown>>;
  readonly configText: string;
}

/** The base's configuration without its quantization; the text is kept where it can be, as it tells 1.0 from 1. */
function plainConfig({ configJson, configText }: BaseConfig, dtype: string): string {
  const { quantization_config: quantization, ...plain } = configJson;
  const text = quantization === undefined ? configText : `${JSON.stringify(plain, null, 2)}\n`;
  return text.replace(/("(?:torch_)?dtype"\s*:\s*)"[^"]*"/, `$1"${dtype}"`);
}
