// Writes a whole model as a Hugging Face folder: configuration and tokenizer of the base it came from, tensors of its
// own. Import the folder to serve it.
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { FloatDType } from '../src/common/tensor.ts';
import { type WritableTensors, writeSafetensors } from '../src/formats/safetensors.ts';
import { CONFIG_FILE, openFolder, WEIGHTS_FILE } from '../src/import/folder.ts';
import { replaceFolder } from './durable-files.ts';

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
  await writeFile(path.join(building, CONFIG_FILE), config);
  await writeSafetensors(path.join(building, WEIGHTS_FILE), tensors, {
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
