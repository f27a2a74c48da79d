// Keeps files that only one server process needs, such as uploads while they arrive, in a folder per process. On start, a
// server can then remove what a killed one left, without touching the files of a server that is still running.
import { readdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Logger } from './log.ts';

/** The process that owns the folder, and how to tell that others have ended. */
interface ProcessFolderOptions {
  /** A unique name of this process. */
  readonly owner: string;
  /** Whether the process of that name has certainly ended. */
  readonly isGone: (owner: string) => boolean;
  readonly log: Pick<Logger, 'warn'>;
}

/** Whether processes on other machines have ended is unknown, but nothing that is kept here takes this long. */
const FOREIGN_AGE_MS = 86_400_000;

/** Returns the path of this process's folder below `root`, and removes the folders of processes that have ended. */
export async function openProcessFolder(
  root: string,
  { owner, isGone, log }: ProcessFolderOptions,
): Promise<string> {
  const ownName = encodeURIComponent(owner);
  try {
    for (const name of await namesIn(root)) {
      const entry = path.join(root, name);
      if (name === ownName || !(isGone(decodeURIComponent(name)) || (await isOld(entry)))) continue;
      await rm(entry, { recursive: true, force: true });
    }
  } catch (error) {
    log.warn({ err: error }, 'the files of ended servers could not be removed'); // it only takes space
  }
  return path.join(root, ownName);
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
