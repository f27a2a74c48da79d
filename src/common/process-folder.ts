// Keeps files that only one server process needs, such as uploads while they arrive, in a folder per process. On start, a
// server can then remove what a killed one left, without touching the files of a server that is still running.
import { readdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { isAbandoned, makeFolder } from './folders.ts';
import type { Logger } from './log.ts';

/** The process that owns the folder, and how to tell that others have ended. */
interface ProcessFolderOptions {
  /** A unique name of this process. */
  readonly owner: string;
  /** Whether the process of that name has certainly ended. */
  readonly isGone: (owner: string) => boolean;
  readonly log: Pick<Logger, 'warn'>;
  /** A folder's name: its entries in the folders of processes that have ended on this machine move to this process's folder. */
  readonly inherits?: string;
}

/** Returns the path of this process's folder below `root`, and removes the folders of processes that have ended. */
export async function openProcessFolder(
  root: string,
  { owner, isGone, log, inherits }: ProcessFolderOptions,
): Promise<string> {
  const ownName = encodeURIComponent(owner);
  const own = path.join(root, ownName);
  for (const name of await namesIn(root)) {
    if (name === ownName) continue;
    const entry = path.join(root, name);
    try {
      const hasEnded = isGone(decodeURIComponent(name));
      if (!hasEnded && !(await isAbandoned(entry))) continue;
      if (inherits && hasEnded) {
        await moveEntries(path.join(entry, inherits), path.join(own, inherits));
      }
      await rm(entry, { recursive: true, force: true });
    } catch (error) {
      log.warn({ err: error }, 'the files of an ended server could not be removed'); // they only take space
    }
  }
  return own;
}

async function moveEntries(from: string, to: string): Promise<void> {
  for (const name of await namesIn(from)) {
    await makeFolder(to);
    // Another process may inherit it first.
    await rename(path.join(from, name), path.join(to, name)).catch(ignoreMissing);
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    ignoreMissing(error);
    return [];
  }
}

function ignoreMissing(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}
