// Creates folders, and builds folders that readers see either complete or not at all.
import { hash } from 'node:crypto';
import { existsSync } from 'node:fs';
import {
  lstat,
  mkdir,
  mkdtemp,
  open,
  readdir,
  realpath,
  rename,
  rm,
  rmdir,
  stat,
} from 'node:fs/promises';
import path from 'node:path';
import { isDiskFull } from './errors.ts';
import { hasProcessEnded, MACHINE } from './process-id.ts';

/**
 * Creates a folder and its parents, unless they exist. Rejects with the system's error. Avoids Node's recursive mkdir, which
 * never returns below /proc.
 */
export async function makeFolder(folder: string): Promise<void> {
  const make = () =>
    mkdir(folder).catch(async (error) => {
      if (!(await isFolder(folder))) throw error;
    });
  const parent = path.dirname(path.resolve(folder));
  try {
    await make();
  } catch (error) {
    const isParentMissing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    if (!isParentMissing || parent === folder) throw error;
    await makeFolder(parent);
    await make();
  }
}

/** The system's codes for a folder that this process may not write. */
const NOT_WRITABLE: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'EROFS']);

/**
 * Returns the system's code if this process may not write to a folder, or create it, otherwise undefined. Writes to the nearest
 * existing one to find out: permissions alone say nothing about network file systems.
 */
export async function whyNotWritable(folder: string): Promise<string | undefined> {
  let existing = folder;
  while (!(await isFolder(existing)) && existing !== path.dirname(existing))
    existing = path.dirname(existing);
  try {
    await rmdir(await mkdtemp(path.join(existing, '.writable-')));
    return undefined;
  } catch (error) {
    if (isDiskFull(error)) return undefined; // it may have room later
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined || !NOT_WRITABLE.has(code)) throw error;
    return code;
  }
}

function isFolder(file: string): Promise<boolean> {
  return stat(file).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

/** Makes the names in a folder survive a crash of the machine. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** A process that uses a folder changes something there far more often. */
const ABANDONED_AGE_MS = 86_400_000;

/** Whether nothing in a folder has changed for a day. For folders whose processes may run on other machines. */
export async function isAbandoned(folder: string): Promise<boolean> {
  const isOld = (entry: string) =>
    lstat(entry).then(
      ({ mtimeMs }) => Date.now() - mtimeMs > ABANDONED_AGE_MS,
      () => false, // another process has just removed it
    );
  if (!(await isOld(folder))) return false;
  for (const name of await readdir(folder, { recursive: true })) {
    if (!(await isOld(path.join(folder, name)))) return false;
  }
  return true;
}

/**
 * Creates the folder `dir`, or replaces it: `fill` writes the content to a temporary folder, which is then renamed. On failure
 * an existing folder stays unchanged. A link to a folder stays a link. Removes what a killed process left of an earlier build.
 * @param isUsable whether a folder that another process created meanwhile is just as good. Default: it is not.
 */
export async function buildFolder<T>(
  given: string,
  fill: (temporary: string) => Promise<T>,
  isUsable: (dir: string) => boolean = () => false,
): Promise<T> {
  const dir = await realpath(given).catch(() => path.resolve(given));
  const prefix = `${dir}.tmp-${hash('sha256', MACHINE).slice(0, 8)}-`;
  const temporary = `${prefix}${process.pid}`;
  await removeAbandoned(dir, prefix);
  await makeFolder(temporary);
  try {
    const result = await fill(temporary);
    await replace(dir, temporary).catch((error) => {
      if (!isUsable(dir)) throw error;
    });
    return result;
  } catch (error) {
    if (isDiskFull(error)) (error as NodeJS.ErrnoException).path ??= dir; // a write reports no path
    throw error;
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

/** Processes of other machines may still be building in a shared folder. */
async function removeAbandoned(dir: string, prefix: string): Promise<void> {
  const parent = path.dirname(prefix);
  await makeFolder(parent);
  for (const name of await readdir(parent)) {
    const folder = path.join(parent, name);
    const pid = Number.parseInt(folder.slice(prefix.length), 10);
    if (!folder.startsWith(prefix) || (pid !== process.pid && !hasProcessEnded(pid))) continue;
    // Killed between two renames, a process left the former folder under this name only.
    if (folder.endsWith(FORMER) && !existsSync(dir))
      await rename(folder, dir).catch(() => {}); // another process was first
    else await rm(folder, { recursive: true, force: true });
  }
}

/** The suffix of a folder that is being replaced. */
const FORMER = '-former';

async function replace(dir: string, replacement: string): Promise<void> {
  const former = replacement + FORMER;
  const hadFormer = await rename(dir, former).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false;
      throw error;
    },
  );
  try {
    await rename(replacement, dir);
  } catch (error) {
    // Restores the former folder unless another process put its own there.
    if (hadFormer && !existsSync(dir)) await rename(former, dir);
    throw error;
  } finally {
    if (existsSync(dir)) await rm(former, { recursive: true, force: true });
  }
}
