// A lock between processes: a symbolic link whose target names the holder. One system call creates it, so every lock names
// its holder. It is held for a check and a rename, never while bytes are copied.
import { randomUUID } from 'node:crypto';
import { readlinkSync } from 'node:fs';
import { lstat, readdir, readlink, rm, symlink } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { makeFolder } from '../../src/common/folders.ts';
import { sleep } from '../../src/common/waiting.ts';
import { errorCode } from './fs-folders.ts';
import { StoreError } from './store.ts';

/** A holder in another machine or container counts as dead at this age. */
const STALE_MS = 30_000;
/** A holder that was suspended for longer gives up, well before others take it for dead. */
const MAX_HELD_MS = 10_000;
/** A longer wait means that the disk hangs. */
const MAX_WAIT_MS = 60_000;
/** The pause between two tries: about as long as a lock is held on a local disk. */
const POLL_MS = 4;

/** The end of the name of the lock that guards the removal of another one. */
const GUARD = '.dead';

/** A process id is unique only within one machine and one process namespace. */
const HOST = `${os.hostname()}/${processNamespace()}`;

/**
 * Runs `work` under the lock. `work` must call `assertHeld` right before the step that needs the lock; it throws if the lock
 * was held for too long.
 */
export async function withKeyLock<T>(
  file: string,
  signal: AbortSignal | undefined,
  work: (assertHeld: () => void) => Promise<T>,
): Promise<T> {
  await acquire(file, signal);
  const sinceMs = Date.now();
  const isHeld = (): boolean => Math.abs(Date.now() - sinceMs) < MAX_HELD_MS;
  try {
    return await work(() => {
      if (!isHeld())
        throw new StoreError(
          'unavailable',
          'the process was suspended for too long while it wrote',
        );
    });
  } finally {
    // After that time the lock may belong to another process.
    if (isHeld()) await rm(file, { force: true });
  }
}

/** Removes the locks in a folder whose holders are dead. Nobody may ever ask for their keys again. */
export async function removeDeadLocks(folder: string): Promise<void> {
  for (const name of await namesIn(folder)) {
    const file = path.join(folder, name);
    if (!name.endsWith(GUARD)) await removeDead(file);
    else if (await isDead(file, () => false)) await rm(file, { force: true });
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    throw error;
  }
}

async function acquire(file: string, signal: AbortSignal | undefined): Promise<void> {
  const giveUpAtMs = Date.now() + MAX_WAIT_MS;
  await makeFolder(path.dirname(file));
  while (!(await tryAcquire(file))) {
    if (await removeDead(file)) continue;
    if (Date.now() > giveUpAtMs) throw new StoreError('unavailable', 'another writer hangs');
    await sleep(POLL_MS * (0.5 + Math.random()), { signal });
  }
}

async function tryAcquire(file: string): Promise<boolean> {
  try {
    await symlink(`${process.pid}@${HOST}@${randomUUID()}`, file);
    return true;
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return false;
    throw error;
  }
}

/**
 * Removes the lock of a dead holder. A second lock guards the removal: otherwise two processes could both find the holder
 * dead, and the slower one would remove the lock that the faster one has taken since.
 */
async function removeDead(file: string): Promise<boolean> {
  if (!(await isDead(file, isGone))) return false;
  const guard = `${file}${GUARD}`;
  if (!(await tryAcquire(guard))) {
    if (await isDead(guard, () => false)) await rm(guard, { force: true });
    return false;
  }
  try {
    const isStillDead = await isDead(file, isGone);
    if (isStillDead) await rm(file, { force: true });
    return isStillDead;
  } finally {
    await rm(guard, { force: true });
  }
}

async function isDead(file: string, isHolderGone: (holder: string) => boolean): Promise<boolean> {
  try {
    const [holder, { mtimeMs }] = await Promise.all([readlink(file), lstat(file)]);
    return isHolderGone(holder) || Date.now() - mtimeMs > STALE_MS;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false;
    throw error;
  }
}

/** Whether the holder was a process of this machine that has ended. */
function isGone(holder: string): boolean {
  const [pid, host] = holder.split('@');
  if (host !== HOST) return false;
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return errorCode(error) === 'ESRCH';
  }
}

/** Returns Linux's process namespace; empty elsewhere. */
function processNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return '';
  }
}
