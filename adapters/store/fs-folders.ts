// The disk of a store: walks its folders in key order, removes empty ones, and reports failures as `StoreError`.
import type { Dirent } from 'node:fs';
import { lstat, readdir, readFile, rm, rmdir } from 'node:fs/promises';
import path from 'node:path';
import { AssertionError } from '../../src/common/assert.ts';
import { whyUnwritable } from '../../src/common/failure.ts';
import {
  compareKeys,
  isSegment,
  type PutSource,
  StoreError,
  type StoreErrorKind,
} from './store.ts';

/** An object or folder on the disk. */
interface FolderEntry {
  readonly key: string;
  readonly file: string;
  readonly kind: 'object' | 'folder';
}

/** Which keys a walk yields. */
interface WalkOptions {
  /** The folder's key with its final `/`, or empty for the root. */
  readonly base: string;
  /** The beginning of the names directly below the folder. */
  readonly begin: string;
  /** Keys up to this one are skipped. */
  readonly after: string;
  /** Yields only the name of a folder that holds an object, not its content. */
  readonly isFlat: boolean;
}

/** Yields the files below a folder in key order. Skips links and names that no key can have. */
export async function* walk(
  folder: string,
  { base, begin, after, isFlat }: WalkOptions,
): AsyncGenerator<FolderEntry> {
  for (const { name, isFolder } of await entriesOf(folder, begin)) {
    const file = path.join(folder, name);
    const key = base + name;
    if (!isFolder) {
      if (key > after) yield { kind: 'object', key, file };
    } else if (isFlat) {
      const isAfter = `${key}/` > after;
      if (isAfter && (await holdsObject(file))) yield { kind: 'folder', key: `${key}/`, file };
    } else if (`${key}/` > after || after.startsWith(`${key}/`)) {
      yield* walk(file, { base: `${key}/`, begin: '', after, isFlat });
    }
  }
}

async function holdsObject(folder: string): Promise<boolean> {
  const first = await walk(folder, { base: '', begin: '', after: '', isFlat: false }).next();
  return !first.done;
}

async function entriesOf(folder: string, begin: string) {
  let entries: Dirent[];
  try {
    entries = await readdir(folder, { withFileTypes: true });
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errorCode(error))) return [];
    throw error;
  }
  return (
    entries
      .filter((entry) => entry.name.startsWith(begin) && isSegment(entry.name))
      .filter((entry) => entry.isFile() || entry.isDirectory())
      .map((entry) => ({ name: entry.name, isFolder: entry.isDirectory() }))
      // `a.b` comes before the content of the folder `a`, because '.' is less than '/'.
      .sort((a, b) => compareKeys(sortName(a), sortName(b)))
  );
}

function sortName({ name, isFolder }: { name: string; isFolder: boolean }): string {
  return isFolder ? `${name}/` : name;
}

/** Lists `folder` and its parents up to `root`, without `root`. */
export function foldersBelow(root: string, folder: string): string[] {
  const names = path.relative(root, folder).split(path.sep).filter(Boolean);
  return names.map((_, last) => path.join(root, ...names.slice(0, last + 1))).reverse();
}

/** Removes `folder` and its parents up to `root` as long as they are empty. A writer creates them again. */
export async function removeEmpty(root: string, folder: string): Promise<void> {
  for (const one of foldersBelow(root, folder)) {
    try {
      await rmdir(one);
    } catch {
      return;
    }
  }
}

/** Removes the files of a folder that are older than `ageMs`. */
export async function removeOlder(folder: string, ageMs: number): Promise<void> {
  for (const name of await readdir(folder)) {
    const file = path.join(folder, name);
    const stats = await lstatIfAny(file);
    if (stats && Date.now() - Number(stats.mtimeMs) > ageMs) await rm(file, { force: true });
  }
}

/** Describes a file without following links; undefined if there is none. */
export async function lstatIfAny(file: string) {
  try {
    return await lstat(file, { bigint: true });
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errorCode(error))) return;
    throw error;
  }
}

// Converts failures of the local disk to `StoreError`.

/** Other codes (such as a full disk or too many open files) are `unavailable`. */
const KIND_OF_CODE: Readonly<Record<string, StoreErrorKind>> = {
  ENOENT: 'invalid',
  ENOTDIR: 'invalid',
  EISDIR: 'invalid',
  EEXIST: 'invalid',
  ENAMETOOLONG: 'invalid',
  ELOOP: 'invalid',
  EACCES: 'denied',
  EPERM: 'denied',
  EROFS: 'denied',
};

/** Runs work on the disk. Rejects with `StoreError`, the signal's reason or an assertion. */
export async function onDisk<T>(
  what: string,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof StoreError || cause instanceof AssertionError) throw cause;
    signal?.throwIfAborted();
    const { code: given, syscall, path: folder } = cause as NodeJS.ErrnoException;
    const isUnmade = given === 'ENOENT' && syscall === 'mkdir' && folder !== undefined;
    const code = (isUnmade && whyUnwritable(folder)) || errorCode(cause);
    const kind = KIND_OF_CODE[code] ?? 'unavailable';
    throw new StoreError(kind, `${what}: ${code}`, { cause });
  }
}

/** Reads the bytes to put. */
export function readSource(source: PutSource, signal?: AbortSignal): Promise<Uint8Array> {
  if (source instanceof Uint8Array) return Promise.resolve(source);
  return onDisk(source.file, signal, () => readFile(source.file, { signal }));
}

/** Returns an error's code, such as `ENOENT`. */
export function errorCode(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}
