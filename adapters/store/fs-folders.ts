// Folders as a store's keys: names in the order of keys, folders synced, empty ones removed. It knows no conditions.
import type { Dirent } from 'node:fs';
import { lstat, open, readdir, rm, rmdir } from 'node:fs/promises';
import path from 'node:path';
import { codeOf } from './disk-error.ts';
import { compareKeys, isSegment } from './keys.ts';

export interface Found {
  readonly key: string;
  readonly file: string;
  readonly kind: 'object' | 'folder';
}

export interface WalkOptions {
  /** With its final `/`, or empty. */
  readonly base: string;
  /** What names directly below the folder begin with. */
  readonly begin: string;
  readonly after: string;
  /** Gives folders that hold an object instead of what is in them. */
  readonly isFlat: boolean;
}

/** Files below a folder in the order of keys. Links, and names that no key has, are not among them. */
export async function* walk(
  folder: string,
  { base, begin, after, isFlat }: WalkOptions,
): AsyncGenerator<Found> {
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
    if (['ENOENT', 'ENOTDIR'].includes(codeOf(error))) return [];
    throw error;
  }
  return (
    entries
      .filter((entry) => entry.name.startsWith(begin) && isSegment(entry.name))
      .filter((entry) => entry.isFile() || entry.isDirectory())
      .map((entry) => ({ name: entry.name, isFolder: entry.isDirectory() }))
      // `a.b` is before what is in the folder `a`: '.' is less than '/'.
      .sort((a, b) => compareKeys(sortName(a), sortName(b)))
  );
}

function sortName({ name, isFolder }: { name: string; isFolder: boolean }): string {
  return isFolder ? `${name}/` : name;
}

/** After it the names in a folder survive a crash of the machine. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** `folder` and those above it up to `root`, `root` not among them. */
export function foldersBelow(root: string, folder: string): string[] {
  const names = path.relative(root, folder).split(path.sep).filter(Boolean);
  return names.map((_, last) => path.join(root, ...names.slice(0, last + 1))).reverse();
}

/** Removes what a deleted object's folders are left empty; a writer who needs one makes it again. */
export async function removeEmpty(root: string, folder: string): Promise<void> {
  for (const one of foldersBelow(root, folder)) {
    try {
      await rmdir(one);
    } catch {
      return;
    }
  }
}

/** Removes files that were last written that long ago. */
export async function removeOlder(folder: string, ageMs: number): Promise<void> {
  for (const name of await readdir(folder)) {
    const file = path.join(folder, name);
    const stats = await lstatIfAny(file);
    if (stats && Date.now() - Number(stats.mtimeMs) > ageMs) await rm(file, { force: true });
  }
}

export async function lstatIfAny(file: string) {
  try {
    return await lstat(file, { bigint: true });
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(codeOf(error))) return;
    throw error;
  }
}
