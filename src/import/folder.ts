// Opens a Hugging Face model folder: config.json, safetensors in one file or in shards, and tokenizer files.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { FileError } from '../common/errors.ts';
import { readRegular } from '../common/regular-file.ts';
import { createTensorSource, type TensorInfo, type TensorSource } from '../common/tensor.ts';
import { openSafetensors } from '../formats/safetensors.ts';
import { type Checkpoint, COMPANION_FILES } from './checkpoint.ts';

export const WEIGHTS_FILE = 'model.safetensors';
export const INDEX_FILE = 'model.safetensors.index.json';
export const CONFIG_FILE = 'config.json';

/** The largest known tokenizer.json has less than 40 MB. */
const MAX_FILE_BYTES = 256 * 1024 * 1024;

const indexSchema = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

/** Opens the folder. The caller closes `tensors`. Throws `FileError` naming the file at fault. */
export function openFolder(dir: string): Checkpoint {
  const configText = readText(dir, CONFIG_FILE);
  const configJson = parseObject(CONFIG_FILE, configText);
  const files = new Map<string, Uint8Array>();
  for (const name of COMPANION_FILES) {
    if (existsSync(path.join(dir, name))) files.set(name, readSmallFile(dir, name));
  }
  return { configJson, configText, files, tensors: openWeights(dir) };
}

/** Reads a JSON object from a file in the folder. Throws `FileError`. */
export function readJson(dir: string, name: string): Record<string, unknown> {
  return parseObject(name, readText(dir, name));
}

/** Returns the file names of the shards in an index, sorted. Throws `FileError`. */
export function shardNames(index: unknown): string[] {
  const result = indexSchema.safeParse(index);
  if (!result.success) throw new FileError(INDEX_FILE, 'has no weight_map of file names');
  const names = [...new Set(Object.values(result.data.weight_map))].sort();
  for (const name of names) {
    if (name !== path.basename(name) || !name.endsWith('.safetensors')) {
      throw new FileError(
        INDEX_FILE,
        'names a file that is not a .safetensors file in the same folder',
      );
    }
  }
  return names;
}

function openWeights(dir: string): TensorSource {
  if (existsSync(path.join(dir, WEIGHTS_FILE))) return openShard(dir, WEIGHTS_FILE);
  if (!existsSync(path.join(dir, INDEX_FILE))) {
    throw new FileError(
      WEIGHTS_FILE,
      'is absent, and so is its index. Only models in safetensors format can be imported.',
    );
  }
  const index = readJson(dir, INDEX_FILE);
  const shards: TensorSource[] = [];
  try {
    for (const name of shardNames(index)) {
      if (!existsSync(path.join(dir, name))) throw new FileError(name, 'is absent');
      shards.push(openShard(dir, name));
    }
    return joinShards(shards);
  } catch (error) {
    for (const shard of shards) shard.close();
    throw error;
  }
}

/** The parser's errors name the header or a tensor, which may be in any shard. */
function openShard(dir: string, name: string): TensorSource {
  try {
    return openSafetensors(path.join(dir, name));
  } catch (error) {
    if (!(error instanceof FileError) || error.field === name) throw error;
    throw new FileError(name, error.message, { cause: error });
  }
}

function joinShards(shards: readonly TensorSource[]): TensorSource {
  const infos = new Map<string, TensorInfo>();
  const owners = new Map<string, TensorSource>();
  for (const shard of shards) {
    for (const [name, info] of shard.infos) {
      if (infos.has(name)) throw new FileError(name, 'is in more than one shard');
      infos.set(name, info);
      owners.set(name, shard);
    }
  }
  const close = () => {
    for (const shard of shards) shard.close();
  };
  const readRow = (name: string, _: TensorInfo, row: number) =>
    owners.get(name)!.readRow(name, row);
  return createTensorSource(infos, (name) => owners.get(name)!.read(name), { readRow, close });
}

function readText(dir: string, name: string): string {
  if (!existsSync(path.join(dir, name))) throw new FileError(name, 'is absent');
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(readSmallFile(dir, name));
  } catch (cause) {
    throw cause instanceof FileError ? cause : new FileError(name, 'is not UTF-8', { cause });
  }
}

function parseObject(name: string, text: string): Record<string, unknown> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new FileError(name, 'is not JSON', { cause });
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new FileError(name, 'is not a JSON object');
  }
  return json as Record<string, unknown>;
}

function readSmallFile(dir: string, name: string): Uint8Array {
  return readRegular(path.join(dir, name), MAX_FILE_BYTES);
}
