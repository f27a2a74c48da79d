// A lock among processes, as a symbolic link whose text names its holder: made in one system call, so there is no lock
// without a holder's name. It is held for a look and a rename, never while bytes are copied. It knows no store.
import { randomUUID } from 'node:crypto';
import { readlinkSync } from 'node:fs';
import { lstat, mkdir, readlink, rm, symlink } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { codeOf } from './disk-error.ts';
import { StoreError } from './store.ts';

/** A holder that nothing is known of (another machine's, another container's) is taken for dead at this age. */
const STALE_MS = 30_000;
/** A holder that was stopped for longer gives up by itself, well before others take it for dead. */
const MAX_HELD_MS = 10_000;
/** Waiting for longer means a disk that hangs. */
const MAX_WAIT_MS = 60_000;
/** Between two looks; about as long as a lock is held on a local disk. */
const POLL_MS = 4;

/** Process ids mean something within one machine and one namespace of processes only. */
const HOST = `${os.hostname()}/${processNamespace()}`;

/**
 * Runs `work` while no other process runs one under this lock file. `work` calls `assertHeld` right before the step
 * that must not happen without the lock.
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
      if (!isHeld()) throw new StoreError('unavailable', 'stopped for too long while it wrote');
    });
  } finally {
    // Later the lock may be somebody else's.
    if (isHeld()) await rm(file, { force: true });
  }
}

async function acquire(file: string, signal: AbortSignal | undefined): Promise<void> {
  const giveUpAtMs = Date.now() + MAX_WAIT_MS;
  await mkdir(path.dirname(file), { recursive: true });
  while (!(await tryAcquire(file))) {
    signal?.throwIfAborted();
    if (await removeDead(file)) continue;
    if (Date.now() > giveUpAtMs) throw new StoreError('unavailable', 'another writer never ends');
    await delay(POLL_MS * (0.5 + Math.random()));
  }
}

async function tryAcquire(file: string): Promise<boolean> {
  try {
    await symlink(`${process.pid}@${HOST}@${randomUUID()}`, file);
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
}

/**
 * Removes the lock of a dead holder. A second lock admits one at a time: between its look and its removal nobody else
 * can remove the dead one's lock and take his own. Who dies in there holds up others until he is stale too.
 */
async function removeDead(file: string): Promise<boolean> {
  if (!(await isDead(file, isGone))) return false;
  const guard = `${file}.dead`;
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
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
}

/** Whether a process of this machine held it and is there no more. */
function isGone(holder: string): boolean {
  const [pid, host] = holder.split('@');
  if (host !== HOST) return false;
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return codeOf(error) === 'ESRCH';
  }
}

/** Of Linux; elsewhere there is one. */
function processNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return '';
  }
}
