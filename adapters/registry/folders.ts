// A folder of PEFT folders: which names it holds and whether one has changed, by two stats. It reads no contents.
import { readdir, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { ServeError } from '../../src/common/errors.ts';
import { CONFIG_FILE, isAbsence, WEIGHTS_FILE } from '../peft/files.ts';

export interface AdapterFolder {
  readonly directory: string;
  /** Changes whenever one of the two files is written or replaced. */
  readonly signature: string;
  /** Unix milliseconds of the younger file's last change. */
  readonly changedMs: number;
  /** Unix milliseconds of the configuration. */
  readonly createdMs: number;
}

/** A file system's limit for one name; `..` and hidden folders are no names. */
const NAME_PATTERN = /^(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$/;

/** Names below the root that may be adapters, or any that are not hidden, sorted; empty if there is no root. */
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

/** The adapter folder of that name below the root; throws as `findFolderAt`. */
export async function findFolder(root: string, name: string): Promise<AdapterFolder | undefined> {
  return NAME_PATTERN.test(name) ? findFolderAt(root, name) : undefined;
}

/**
 * The adapter folder at a path: below the root, links followed, with a configuration; else undefined.
 * Throws `ServeError` (503) where the file system fails.
 */
export async function findFolderAt(
  root: string,
  place: string,
): Promise<AdapterFolder | undefined> {
  try {
    const [top, directory] = await Promise.all([
      realpath(root),
      realpath(path.resolve(root, place)),
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
