// Who is gone: another server's lease is believed while it beats, by this machine's own monotonic clock, so that clocks
// that differ or jump take no job from anybody. Knows no store.
import { readFileSync, readlinkSync } from 'node:fs';
import os from 'node:os';
import type { JobRecord } from './job.ts';

/** A lease that has not been seen to beat for this long is over. */
export const LEASE_MS = 30_000;

export class LeaseWatch {
  readonly #seen = new Map<string, { token: number; beat: number; sinceMs: number }>();
  readonly #options: { now: () => number; leaseMs: number; isGone: (owner: string) => boolean };

  /** @param options.now monotonic milliseconds */
  constructor(options: {
    now: () => number;
    leaseMs: number;
    /** Known not to come back. */
    isGone: (owner: string) => boolean;
  }) {
    this.#options = options;
  }

  /** Whether nobody works on the job any more. Has to be asked twice about an owner that is not known. */
  isFree({ id, lease }: Pick<JobRecord, 'id' | 'lease'>): boolean {
    const { now, leaseMs, isGone } = this.#options;
    if (!lease || isGone(lease.owner)) return true;
    const seen = this.#seen.get(id);
    if (seen?.token === lease.token && seen.beat === lease.beat) {
      return now() - seen.sinceMs >= leaseMs;
    }
    this.#seen.set(id, { token: lease.token, beat: lease.beat, sinceMs: now() });
    return false;
  }

  /** Others are not watched any more. */
  keep(ids: ReadonlySet<string>): void {
    for (const id of this.#seen.keys()) if (!ids.has(id)) this.#seen.delete(id);
  }
}

const SEPARATOR = '#';

/** A name for this process that none before it had. */
export function createOwner(nonce: string): string {
  return [machine(), process.pid, nonce].join(SEPARATOR);
}

/** For `isGone`: whether the owner was a process beside this one that has ended. */
export function isOwnerGone(owner: string): boolean {
  const [where, pid] = owner.split(SEPARATOR);
  if (where !== machine()) return false;
  if (Number(pid) === process.pid) return true; // this process knows its own leases
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

/** Where process ids mean the same: names of machines are not unique, and containers of one share them. */
function machine(): string {
  const read = (get: () => string) => {
    try {
      return get().trim();
    } catch {
      return ''; // not Linux
    }
  };
  const boot = read(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8'));
  const processes = read(() => readlinkSync('/proc/self/ns/pid'));
  return [os.hostname(), boot, processes].join('/');
}
