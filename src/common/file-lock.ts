// Locks between processes. A lock is a symbolic link whose target names its holder. One system call creates it, so no lock
// exists without its holder's name.
import { randomUUID } from 'node:crypto';
import { lstat, readdir, readlink, rm, symlink } from 'node:fs/promises';
import path from 'node:path';
import { makeFolder } from './folders.ts';
import { createOwner, hasProcessEnded, MACHINE } from './process-id.ts';
import { sleep } from './waiting.ts';

/** The holder of this process's locks. */
const HOLDER = createOwner(randomUUID());

/**
 * Whether the owner was a process on this machine that has ended. An owner with this process's own id has ended as well,
 * because this process knows what it owns.
 * @param machine the machine's name; pass the owner's to check only the process id
 */
export function isOwnerGone(owner: string, machine = MACHINE): boolean {
  const [itsMachine, pid] = owner.split('#');
  if (owner === HOLDER || itsMachine !== machine) return false;
  return !(Number(pid) > 0) || Number(pid) === process.pid || hasProcessEnded(Number(pid));
}

/** How to wait for a lock, and when its holder counts as dead. */
interface LockOptions {
  readonly waitMs: number;
  /** The approximate pause between two tries. */
  readonly pollMs: number;
  /** A lock of this age was left behind, no matter who holds it. Default: none was. */
  readonly staleMs?: number;
  /** Whether holders in other containers are looked up by their process ids in this one. Default: they count as alive. */
  readonly isPidEnough?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** The lock did not become free in time. */
export class LockHeld extends Error {}

/** A guard is held only for a few system calls. */
const GUARD_LIMITS = { staleMs: 30_000, isGuard: true };
/** The suffix of the lock that guards the removal of another lock. */
const GUARD = '.dead';

/**
 * Takes a lock, which the caller removes. Rejects with `LockHeld`, whose message names the process that holds it, or with the
 * signal's reason.
 */
export async function acquireLock(file: string, options: LockOptions): Promise<void> {
  const { waitMs, pollMs, signal } = options;
  const giveUpAtMs = Date.now() + waitMs;
  await makeFolder(path.dirname(file));
  while (!(await tryAcquire(file))) {
    if (await removeDead(file, options)) continue;
    if (Date.now() > giveUpAtMs) {
      const [, pid = 'unknown'] = (await readlink(file).catch(() => '')).split('#');
      throw new LockHeld(`process ${pid}`);
    }
    await sleep(pollMs * (0.5 + Math.random()), { signal });
  }
}

/** Removes a folder's locks whose holders are dead, because nobody may ever ask for them again. */
export async function removeDeadLocks(folder: string, limits: DeathLimits): Promise<void> {
  for (const name of await readdir(folder).catch((error) => ifMissing(error, []))) {
    const file = path.join(folder, name);
    if (!name.endsWith(GUARD)) await removeDead(file, limits);
    else if (await isDead(file, GUARD_LIMITS)) await rm(file, { force: true });
  }
}

async function tryAcquire(file: string): Promise<boolean> {
  try {
    await symlink(HOLDER, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

type DeathLimits = Pick<LockOptions, 'staleMs' | 'isPidEnough'> & { readonly isGuard?: boolean };

/**
 * Removes a dead holder's lock. A second lock guards the removal: otherwise two processes could both find the holder dead, and
 * the slower one would remove the lock that the faster one has taken since.
 */
async function removeDead(file: string, limits: DeathLimits): Promise<boolean> {
  if (!(await isDead(file, limits))) return false;
  const guard = `${file}${GUARD}`;
  if (!(await tryAcquire(guard))) {
    if (await isDead(guard, GUARD_LIMITS)) await rm(guard, { force: true });
    return false;
  }
  try {
    const isStillDead = await isDead(file, limits);
    if (isStillDead) await rm(file, { force: true });
    return isStillDead;
  } finally {
    await rm(guard, { force: true });
  }
}

/** Only its age shows that a guard was left behind. Older versions locked with plain files, which name nobody. */
async function isDead(
  file: string,
  { staleMs = Number.POSITIVE_INFINITY, isPidEnough, isGuard }: DeathLimits,
): Promise<boolean> {
  try {
    const [holder, { mtimeMs }] = await Promise.all([readlink(file).catch(() => ''), lstat(file)]);
    const machine = isPidEnough ? holder.split('#')[0] : MACHINE;
    return (!isGuard && isOwnerGone(holder, machine)) || Date.now() - mtimeMs > staleMs;
  } catch (error) {
    return ifMissing(error, false);
  }
}

function ifMissing<T>(error: unknown, otherwise: T): T {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return otherwise;
  throw error;
}
