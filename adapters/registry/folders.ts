// PEFT folders on the local disk: their names, whether one has changed (by two stats), and the sampling defaults in them.
import { readdir, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { ServeError } from '../../src/common/errors.ts';
import {
  type GenerationConfig,
  readGenerationConfig,
} from '../../src/contracts/generation-config.ts';
import { CONFIG_FILE, isAbsence, WEIGHTS_FILE } from '../peft/files.ts';
import { toInvalidAdapter } from '../peft/refusal.ts';
import type { AdapterLocation } from './resolved.ts';

/** An adapter's folder in a certain state. */
export interface AdapterFolder {
  readonly directory: string;
  /** Identifies the state: it changes if one of the two files is written or replaced. */
  readonly signature: string;
  /** When the younger of the two files last changed, in Unix milliseconds. */
  readonly changedMs: number;
  /** When the configuration was written, in Unix milliseconds. */
  readonly createdMs: number;
}

/** A name of up to 255 characters, as file systems allow, without `..` and not hidden. */
const NAME_PATTERN = /^(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$/;

/** Lists the valid names below the root, or any that are not hidden, sorted. Empty if the root does not exist. */
export async function folderNames(
  root: string,
  which: 'valid' | 'any' = 'valid',
): Promise<string[]> {
  const names = await readdir(root).catch((error) => {
    if (isAbsence(error)) return [];
    throw error;
  });
  const pattern = which === 'valid' ? NAME_PATTERN : /^[^.]/;
  return names.filter((name) => pattern.test(name)).sort();
}

/** Finds the adapter folder of this name below the root. Throws as `findFolderAt`. */
export async function findFolder(root: string, name: string): Promise<AdapterFolder | undefined> {
  return NAME_PATTERN.test(name) ? findFolderAt(root, name) : undefined;
}

/**
 * Finds the adapter folder at a path, absolute or relative to the root. Undefined if it is not below the root (links are
 * followed) or has no configuration. Throws `ServeError` (503) if the file system fails.
 */
export async function findFolderAt(
  root: string,
  folderPath: string,
): Promise<AdapterFolder | undefined> {
  try {
    const [top, directory] = await Promise.all([
      realpath(root),
      realpath(path.resolve(root, folderPath)),
    ]);
    if (!directory.startsWith(top + path.sep)) return undefined;
    const [config, weights] = await Promise.all([
      stat(path.join(directory, CONFIG_FILE), { bigint: true }),
      stat(path.join(directory, WEIGHTS_FILE), { bigint: true }).catch(() => undefined),
    ]);
    const files = weights ? [config, weights] : [config];
    return {
      directory,
      signature: files.map((f) => [f.ino, f.size, f.mtimeNs, f.ctimeNs].join(':')).join('|'),
      changedMs: Math.max(...files.map((f) => Number(f.ctimeMs))),
      createdMs: Number(config.mtimeMs),
    };
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw new ServeError('adapter_unavailable', 'adapter unavailable: its folder cannot be read', {
      cause: error,
    });
  }
}

/**
 * Returns the sampling defaults of an adapter, from its manifest or from generation_config.json in its folder; undefined if
 * it has none. They are not part of its digest. Throws `ServeError` (`adapter_invalid`) that names the field.
 */
export async function readAdapterGenerationConfig(
  location: AdapterLocation,
): Promise<GenerationConfig | undefined> {
  if (location.kind === 'version') return location.manifest.generation_config;
  return readFolderGenerationConfig(location.directory);
}

/** Reads generation_config.json in a PEFT folder. Throws as `readAdapterGenerationConfig`. */
export async function readFolderGenerationConfig(
  directory: string,
): Promise<GenerationConfig | undefined> {
  try {
    return await readGenerationConfig(directory);
  } catch (error) {
    throw toInvalidAdapter(error);
  }
}
