// Writes an adapter as peft does: adapter_config.json and adapter_model.safetensors, which peft, our server and
// llama.cpp's converter open.
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { CONFIG_FILE, WEIGHTS_FILE } from '../adapters/peft/files.ts';
import { type FloatDType, fromFloat32, type Tensor } from '../src/common/tensor.ts';
import { memorySource, writeSafetensors } from '../src/formats/safetensors.ts';
import { replaceFolder, writeFileDurably } from './durable-files.ts';
import type { PeftSettings } from './lora-settings.ts';
import type { Parameter } from './types.ts';

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
