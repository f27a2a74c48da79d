// Finds records that nobody works on, claims them and works on them, and cleans up after those that are over. Any number of
// servers may do this on one store. The kind of work is an argument.
import { ServeError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import type { Clock } from '../common/waiting.ts';
import {
  LEASE_MS,
  type LeaseOptionsOf,
  type LeaseOwner,
  LeaseWatch,
  type RecordChange,
  RecordLease,
} from './lease.ts';
import { MarkWatch } from './mark-watch.ts';
import type { LeasedRecord, OpenMark, RecordName, RecordStore } from './record-store.ts';

/** This server's work on a claimed record. */
export interface Task {
  /** Resolves when this server is done with the record. Throws the store's error. */
  run(): Promise<void>;
  /** Rereads the record and acts on it. Does not throw. */
  refresh(): Promise<void>;
  /** Stops the work, with a checkpoint if needed, so that the next server can continue it. */
  stop(): void;
  /** Stops the work without waiting for a checkpoint. */
  kill(): void;
}

/** One kind of work. Records are in lanes, which have separate limits. */
export interface WorkKind<R extends LeasedRecord, Lane extends string> {
  /** The name of a record in log lines. */
  readonly noun: string;
  readonly records: RecordStore<R>;
  /** The most tasks that this server runs in each lane. */
  readonly room: Readonly<Record<Lane, number>>;
  hasEnded(status: R['status']): boolean;
  /** Returns the kind of work that a record of this status needs, or undefined if it needs none now. */
  laneOf(status: R['status']): Lane | undefined;
  /** Whether the record is for this server's base. */
  isOurs(record: R): boolean;
  begin(lease: RecordLease<R>, lane: Lane): Task;
  /** How long this server waits before it works on the record again, in ms. */
  restMs(record: R): number;
  /** Records that the work was interrupted. Returns also how long to wait, in ms, before it is tried again. */
  interrupted(record: R, error: unknown): { readonly waitMs: number; change: RecordChange<R> };
  /** Removes what an ended record left behind, except its mark. */
  cleanUp(record: R): Promise<void>;
  /** Called after each scan. */
  sweep(): Promise<void>;
}

/** Intervals in milliseconds. */
export interface LeaseTiming {
  /** A lease that is not renewed for this long has expired. */
  readonly leaseMs: number;
  /** Between renewals of a lease. Also the longest delay of a client action that another server accepted. */
  readonly renewMs: number;
  /** Between scans for records that other servers created, and between scans while there is none. */
  readonly pollMs: number;
  readonly idlePollMs: number;
}

export const LEASE_TIMING: LeaseTiming = {
  leaseMs: LEASE_MS,
  renewMs: 3_000,
  pollMs: 3_000,
  idlePollMs: 20_000,
};

/** The wait after the first interruption. Each consecutive one waits four times as long. */
const RETRY_MS = 5_000;

/** Returns how long a record rests after these earlier interruptions and one more, in ms. */
export function retryMs(retries: number): number {
  return RETRY_MS * 4 ** retries;
}

/** Says to the owner of a record why the work on it was interrupted. */
export function interruptionText(error: unknown): string {
  return error instanceof ServeError
    ? error.message
    : 'The server failed. Its log gives the reason.';
}

/** The part of a server's context that workers use. */
interface WorkerContext {
  readonly clock: Clock;
  readonly owner: LeaseOwner;
  readonly log: Logger;
  readonly timing: LeaseTiming;
}

/** Limits the reads of a worker that finds many records. */
const READS_PER_SECOND = 10;

/** The unfinished records that a scan has found, and those that it has read. */
interface ScanCount {
  readonly found: number;
  readonly read: number;
}

interface ActiveTask<Lane> {
  readonly lane: Lane;
  readonly task: Task;
  readonly ended: Promise<void>;
}

/** Claims and runs one server's work of one kind. */
export class LeaseWorker<R extends LeasedRecord, Lane extends string = string> {
  readonly #kind: WorkKind<R, Lane>;
  readonly #context: WorkerContext;
  readonly #leases: LeaseOptionsOf<R>;
  readonly #watch: LeaseWatch;
  readonly #marks: MarkWatch;
  /** Ids of unfinished records for other bases. */
  readonly #otherBases = new Set<string>();
  readonly #active = new Map<string, ActiveTask<Lane>>();
  /** Record → the monotonic time after which it may be retried. */
  readonly #retryAt = new Map<string, number>();
  /** Tenant → the monotonic time at which this server last took one of its records. */
  readonly #lastTurn = new Map<string, number>();
  /** Ids of the records that the last scan found damaged. */
  #damaged: ReadonlySet<string> = new Set();
  #isOpen = false;
  #scan: Promise<void> | undefined;
  #isScanDue = false;
  #cancelScan = () => {};

  constructor(kind: WorkKind<R, Lane>, context: WorkerContext) {
    const { clock, owner, timing } = context;
    const { leaseMs } = timing;
    this.#kind = kind;
    this.#context = context;
    this.#leases = { records: kind.records, leaseMs, clock: clock.now };
    this.#marks = new MarkWatch(clock.now, (status) => kind.hasEnded(status));
    this.#watch = new LeaseWatch({ now: clock.now, leaseMs, isGone: owner.isGone });
  }

  /** Starts looking for work. */
  start(): void {
    this.#isOpen = true;
    this.#scanNow();
  }

  /** Tells the worker that a client has changed this record. */
  wake(id: string): void {
    void this.#active.get(id)?.task.refresh();
    this.#scanNow();
  }

  /** How many records this server works on. */
  get activeCount(): number {
    return this.#active.size;
  }

  /** Claims no more records and stops all tasks. Kills the tasks that have not stopped by the deadline. */
  async close(deadlineMs: number): Promise<void> {
    this.#isOpen = false;
    this.#cancelScan();
    await this.#scan;
    const active = [...this.#active.values()];
    for (const { task } of active) task.stop();
    const cancelDeadline = this.#context.clock.schedule(deadlineMs, () => {
      for (const { task } of active) task.kill();
    });
    await Promise.all(active.map(({ ended }) => ended));
    cancelDeadline();
  }

  /** Starts a scan, or schedules another one if a scan is running. */
  #scanNow(): void {
    if (!this.#isOpen) return;
    this.#isScanDue = true;
    if (this.#scan) return;
    this.#cancelScan();
    this.#scan = this.#scanAll().then((count) => {
      this.#scan = undefined;
      if (this.#isScanDue) return this.#scanNow();
      this.#scanLater(count);
    });
  }

  #scanLater({ found, read }: ScanCount): void {
    if (!this.#isOpen) return;
    const { pollMs, idlePollMs } = this.#context.timing;
    const delayMs = Math.max(found > 0 ? pollMs : idlePollMs, (read / READS_PER_SECOND) * 1000);
    this.#cancelScan = this.#context.clock.schedule(delayMs, () => this.#scanNow());
  }

  /** Offers each unfinished record to this worker. Does not throw. */
  async #scanAll(): Promise<ScanCount> {
    this.#isScanDue = false;
    const { records, noun } = this.#kind;
    const count = { found: 0, read: 0 };
    const damaged = new Map<string, unknown>();
    const read = async (marks: readonly OpenMark[]) => {
      count.read += marks.length;
      return records.readMarked(marks, ({ id }, error) => damaged.set(id, error));
    };
    try {
      const marks = await records.marks();
      count.found = marks.length;
      const verdicts = this.#marks.judge(marks);
      for (const id of this.#otherBases) if (!verdicts.has(id)) this.#otherBases.delete(id);
      this.#watch.keep(new Set(marks.map(({ id }) => id)));
      const others = marks.filter(({ id }) => !this.#active.has(id));
      const found = await read(others.filter(({ id }) => verdicts.get(id) === 'read'));
      for (const record of found) {
        // If a server still works on an ended record, it has not noticed the end yet.
        if (this.#kind.hasEnded(record.status) && this.#isFree(record)) await this.#cleanUp(record);
      }
      const known = new Map(found.map((record) => [record.id, record]));
      for (const mark of this.#byTurn(others)) {
        const isFree = verdicts.get(mark.id) === 'free' && this.#mayClaim(mark);
        const record = known.get(mark.id) ?? (isFree ? (await read([mark]))[0] : undefined);
        if (record) await this.#offer(record);
      }
      this.#reportDamaged(damaged);
      await this.#kind.sweep();
    } catch (error) {
      this.#context.log.warn({ err: error }, `cannot look for ${noun} records`);
    }
    return count;
  }

  #isFree(record: R): boolean {
    return this.#watch.isFree(record, this.#marks.quietMs(record.id));
  }

  /** Whether a record without a lease is worth a read. */
  #mayClaim(mark: OpenMark): boolean {
    const lane = mark.state && this.#kind.laneOf(mark.state.status);
    const isOurs = !this.#otherBases.has(mark.id);
    return lane !== undefined && isOurs && this.#hasRoom(lane) && !this.#isBackingOff(mark);
  }

  /** Logs each damaged record once instead of after every scan. */
  #reportDamaged(damaged: ReadonlyMap<string, unknown>): void {
    const { noun } = this.#kind;
    for (const [id, err] of damaged) {
      if (this.#damaged.has(id)) continue;
      this.#context.log.error({ err, [noun]: id }, `skipping a ${noun}: its record is damaged`);
    }
    this.#damaged = new Set(damaged.keys());
  }

  /** Removes what the record left behind. A failure does not end the scan; the next scan tries again. */
  async #cleanUp(record: R): Promise<void> {
    const { noun, records } = this.#kind;
    try {
      await this.#kind.cleanUp(record);
      await records.removeMark(record);
    } catch (error) {
      const facts = { err: error, [noun]: record.id };
      this.#context.log.warn(facts, `the remains of a ${noun} could not be removed`);
    }
  }

  /** Sorts records by tenant, the one that has waited longest first, then by age. */
  #byTurn(marks: readonly OpenMark[]): OpenMark[] {
    const lastMs = ({ tenant }: OpenMark) => this.#lastTurn.get(tenant) ?? Number.NEGATIVE_INFINITY;
    return marks.toSorted((a, b) => Math.sign(lastMs(a) - lastMs(b)) || (a.id < b.id ? -1 : 1));
  }

  async #offer(record: R): Promise<void> {
    const lane = this.#kind.laneOf(record.status);
    const isOurs = this.#kind.isOurs(record);
    if (!isOurs) this.#otherBases.add(record.id);
    if (lane === undefined || !isOurs) return;
    const isFree = this.#isFree(record); // comes first, because the watch must see every lease early
    if (!isFree || !this.#isOpen || !this.#hasRoom(lane) || this.#isBackingOff(record)) return;
    const lease = await RecordLease.claim(record, this.#context.owner.name, this.#leases);
    if (lease) this.#begin(lease, lane);
  }

  #hasRoom(lane: Lane): boolean {
    const count = [...this.#active.values()].filter((one) => one.lane === lane).length;
    return count < this.#kind.room[lane];
  }

  #isBackingOff({ id }: RecordName): boolean {
    return this.#leases.clock() < (this.#retryAt.get(id) ?? Number.NEGATIVE_INFINITY);
  }

  #backOff({ id }: R, waitMs: number): void {
    if (waitMs > 0) this.#retryAt.set(id, this.#leases.clock() + waitMs);
    else this.#retryAt.delete(id);
  }

  #begin(lease: RecordLease<R>, lane: Lane): void {
    const { id, tenant } = lease.record;
    this.#lastTurn.set(tenant, this.#leases.clock());
    const task = this.#kind.begin(lease, lane);
    this.#active.set(id, { lane, task, ended: this.#work(task, lease) });
  }

  async #work(task: Task, lease: RecordLease<R>): Promise<void> {
    const { id } = lease.record;
    const { noun } = this.#kind;
    try {
      await task.run();
      this.#backOff(lease.record, this.#kind.restMs(lease.record));
    } catch (error) {
      const text = `work on a ${noun} was interrupted`;
      this.#context.log.error({ err: error, [noun]: id }, text);
      await this.#recordInterruption(lease, error);
    } finally {
      this.#active.delete(id);
      this.#scanNow();
    }
  }

  async #recordInterruption(lease: RecordLease<R>, error: unknown): Promise<void> {
    const { noun } = this.#kind;
    const { waitMs, change } = this.#kind.interrupted(lease.record, error);
    this.#backOff(lease.record, waitMs);
    try {
      await lease.release(change);
    } catch (cause) {
      const facts = { err: cause, [noun]: lease.record.id };
      this.#context.log.warn(facts, `the lease of a ${noun} was not released`);
    }
  }
}
