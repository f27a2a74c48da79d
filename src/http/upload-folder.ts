// Where uploads lie while they come: a folder for each server process, so that a start can remove what a killed server
// has left without touching the uploads of one that runs beside it. Knows no HTTP.
import { readdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Logger } from '../common/log.ts';

export interface UploadFolderOptions {
  /** A name for this process that no other has. */
  readonly owner: string;
  /** Whether a process of that name is known to have ended. */
  readonly isGone: (owner: string) => boolean;
  readonly log: Pick<Logger, 'warn'>;
}

/** A process on another machine cannot be asked for. No upload takes this long. */
const FOREIGN_AGE_MS = 86_400_000;

/** Returns this process's folder below `root`, not yet made, and removes those of processes that have ended. */
export async function openUploadFolder(
  root: string,
  { owner, isGone, log }: UploadFolderOptions,
): Promise<string> {
  const own = encodeURIComponent(owner);
  try {
    for (const name of await namesIn(root)) {
      const entry = path.join(root, name);
      if (name === own || !(isGone(decodeURIComponent(name)) || (await isOld(entry)))) continue;
      await rm(entry, { recursive: true, force: true });
    }
  } catch (error) {
    log.warn({ err: error }, 'leftovers of uploads could not be removed'); // they take space and do no harm
  }
  return path.join(root, own);
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

async function isOld(entry: string): Promise<boolean> {
  const { mtimeMs } = await stat(entry);
  return Date.now() - mtimeMs > FOREIGN_AGE_MS;
}
