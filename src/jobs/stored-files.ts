// Stores local files as objects: hashes them, and restores them byte for byte or not at all.

import { createHash } from 'node:crypto';
import { open, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import type { GuardedStore } from '../../adapters/store/guarded-store.ts';
import type { StoreCall } from '../../adapters/store/store.ts';
import { makeFolder } from '../common/folders.ts';
import { mapBounded } from '../common/map-bounded.ts';
import { hashFile } from '../common/regular-file.ts';

/** Allows two levels of folders, and no path that leads out of them. */
const FILE_NAME = /^(?:[\w-][\w.-]*\/){0,2}[\w-][\w.-]*$/;

/** A file's name, hash and size. */
export const storedFileSchema = z.object({
  /** The path within its folder. */
  name: z.string().regex(FILE_NAME),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  byteSize: z.int().min(0),
});

/** A file together with its object. */
export type StoredFile = z.infer<typeof storedFileSchema>;

/** Describes one file, or all files of a folder. */
export async function describePath(local: string): Promise<{ root: string; files: StoredFile[] }> {
  if ((await stat(local)).isDirectory()) return { root: local, files: await describeFiles(local) };
  const { dir, base } = path.parse(local);
  return { root: dir, files: [{ name: base, ...(await hashFile(local)) }] };
}

/** Describes all files of a folder. */
export async function describeFiles(dir: string): Promise<StoredFile[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(dir, path.join(entry.parentPath, entry.name)));
  return mapBounded(files, async (name) => ({ name, ...(await hashFile(path.join(dir, name))) }));
}

/** Writes the object to a file. Returns false if the object is missing or differs from what was stored. */
export async function fetchFile(
  store: GuardedStore,
  key: string,
  { file, target, call }: { file: StoredFile; target: string; call: StoreCall },
): Promise<boolean> {
  const object = await store.get(key, call);
  if (!object) return false;
  if (object.byteSize !== file.byteSize) {
    for await (const _ of object.body) break; // frees the connection
    return false;
  }
  await makeFolder(path.dirname(target));
  const output = await open(target, 'w');
  const hash = createHash('sha256');
  try {
    for await (const chunk of object.body) {
      hash.update(chunk);
      await output.writeFile(chunk);
    }
    await output.sync();
  } finally {
    await output.close();
  }
  return hash.digest('hex') === file.sha256;
}
