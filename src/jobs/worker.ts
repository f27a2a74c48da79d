// Finds jobs that nobody works on, claims them and sees them through; one that is over is retired. Any number of servers
// may do so over one store. How a job is validated and trained are arguments; it knows no trainer and no HTTP.
import { isDiskFull, ServeError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import { DISK_FULL_FAULT } from '../contracts/training.ts';
import { HeldJob, type HeldJobOptions } from './held-job.ts';
import { hasEnded, type JobRecord } from './job.ts';
import type { LeaseWatch } from './lease.ts';
import { isWaitingForDisk, withSetback } from './setback.ts';

/** A claimed job under work. */
export interface JobWork {
  /** Resolves when this server has no part in the job any more. Rejects as the store does. */
  work(): Promise<void>;
  /** Somebody may have changed the job's record. Does not reject. */
  look(): Promise<void>;
  /** Ends with all that whoever goes on with it can use. */
  putBack(): void;
  /** Ends at once. */
  abandon(): void;
}

export interface JobWorkerOptions {
  /** Of this process, which had no other name before. */
  readonly owner: string;
  readonly held: HeldJobOptions;
  readonly watch: LeaseWatch;
  /** Jobs of other bases are other servers'. */
  readonly baseDigest: string;
  /** Jobs that train at once. */
  readonly maxTraining: number;
  /** Between two looks into the store. */
  readonly pollMs: number;
  /** Between two tries of a job for which the disk has no room. */
  readonly diskRetryMs: number;
  readonly log: Pick<Logger, 'warn' | 'error'>;
  /** Unix milliseconds. */
  readonly now: () => number;
  validate(held: HeldJob): JobWork;
  train(held: HeldJob): JobWork;
  /** Removes what nobody needs of a job that is over. */
  retire(job: JobRecord): Promise<void>;
  /** Removes what jobs that are over, wherever they ended, have left on this machine. */
  sweep(): Promise<void>;
}

/** Files that are read at once: it takes a core and, for a moment, the memory of a model. */
const MAX_VALIDATING = 1;
/** Reads of the store in a second, by looks that find many jobs. */
const READS_PER_SECOND = 10;
/** A job whose work was cut off is not claimed again before, and each time four times that. */
const BACKOFF_MS = 5_000;

type Lane = 'validate' | 'train';

export class JobWorker {
  readonly #options: JobWorkerOptions;
  readonly #working = new Map<string, { lane: Lane; work: JobWork; ended: Promise<void> }>();
  /** Job → the time before which it is left alone. */
  readonly #backoff = new Map<string, number>();
  /** Tenant → when it last had a turn here. */
  readonly #turns = new Map<string, number>();
  #isOpen = false;
  #scan: Promise<void> | undefined;
  #isScanDue = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: JobWorkerOptions) {
    this.#options = options;
  }

  /** From now on it looks for work. */
  start(): void {
    this.#isOpen = true;
    this.#scanNow();
  }

  /** A client has changed this job. */
  wake(jobId: string): void {
    void this.#working.get(jobId)?.work.look();
    this.#scanNow();
  }

  get workingCount(): number {
    return this.#working.size;
  }

  /** Claims nothing more and puts back what it works on; what is not back by the deadline is abandoned. */
  async close(deadlineMs: number): Promise<void> {
    this.#isOpen = false;
    clearTimeout(this.#timer);
    await this.#scan;
    const works = [...this.#working.values()];
    for (const { work } of works) work.putBack();
    const deadline = setTimeout(() => {
      for (const { work } of works) work.abandon();
    }, deadlineMs);
    await Promise.all(works.map(({ ended }) => ended));
    clearTimeout(deadline);
  }

  /** One look at a time; one that was asked for during another follows it. */
  #scanNow(): void {
    if (!this.#isOpen) return;
    this.#isScanDue = true;
    if (this.#scan) return;
    clearTimeout(this.#timer);
    this.#scan = this.#scanAll().then((count) => {
      this.#scan = undefined;
      if (this.#isScanDue) return this.#scanNow();
      this.#scanLater(count);
    });
  }

  #scanLater(jobCount: number): void {
    if (!this.#isOpen) return;
    const delayMs = Math.max(this.#options.pollMs, (jobCount / READS_PER_SECOND) * 1000);
    this.#timer = setTimeout(() => this.#scanNow(), delayMs);
  }

  /** Resolves with how many jobs there are. Does not reject. */
  async #scanAll(): Promise<number> {
    this.#isScanDue = false;
    try {
      const all = await this.#options.held.jobs.active();
      const jobs = all.filter(({ id }) => !this.#working.has(id));
      this.#options.watch.keep(new Set(all.map(({ id }) => id)));
      for (const job of jobs) {
        // Whoever works on it still has not noticed yet.
        if (hasEnded(job) && this.#options.watch.isFree(job)) await this.#options.retire(job);
      }
      for (const job of this.#inTurn(jobs)) await this.#offer(job);
      await this.#options.sweep();
      return all.length;
    } catch (error) {
      this.#options.log.warn({ err: error }, 'jobs cannot be looked for');
      return 0;
    }
  }

  /** The tenant that has waited for the longest first, and its oldest job. */
  #inTurn(jobs: readonly JobRecord[]): JobRecord[] {
    const lastMs = ({ tenant }: JobRecord) => this.#turns.get(tenant) ?? Number.NEGATIVE_INFINITY;
    return jobs.toSorted((a, b) => Math.sign(lastMs(a) - lastMs(b)) || (a.id < b.id ? -1 : 1));
  }

  async #offer(job: JobRecord): Promise<void> {
    const { watch, held: heldOptions, owner, baseDigest } = this.#options;
    const lane = laneOf(job);
    if (!lane || job.base.digest !== baseDigest) return;
    // Asked of each, so that the watch sees every lease as long as it is there.
    const isFree = watch.isFree(job);
    if (!isFree || !this.#isOpen || !this.#hasRoom(lane) || this.#isBackingOff(job)) return;
    const held = await HeldJob.claim(job, owner, heldOptions);
    if (held) this.#begin(held, lane);
  }

  #hasRoom(lane: Lane): boolean {
    const count = [...this.#working.values()].filter((one) => one.lane === lane).length;
    const { maxTraining } = this.#options;
    return count < (lane === 'train' ? maxTraining : Math.min(MAX_VALIDATING, maxTraining));
  }

  #isBackingOff({ id }: JobRecord): boolean {
    return this.#options.held.clock() < (this.#backoff.get(id) ?? Number.NEGATIVE_INFINITY);
  }

  #backOff(id: string, waitMs: number): void {
    this.#backoff.set(id, this.#options.held.clock() + waitMs);
  }

  #begin(held: HeldJob, lane: Lane): void {
    const { id, tenant } = held.job;
    this.#turns.set(tenant, this.#options.held.clock());
    const work = lane === 'train' ? this.#options.train(held) : this.#options.validate(held);
    const ended = this.#see(work, held);
    this.#working.set(id, { lane, work, ended });
  }

  async #see(work: JobWork, held: HeldJob): Promise<void> {
    const { id } = held.job;
    try {
      await work.work();
      if (isWaitingForDisk(held.job)) this.#backOff(id, this.#options.diskRetryMs);
      else this.#backoff.delete(id);
    } catch (error) {
      this.#options.log.error({ err: error, job: id }, 'work on a job was cut off');
      await this.#noteSetback(held, error);
    } finally {
      this.#working.delete(id);
      this.#scanNow();
    }
  }

  /** Where the store takes it. A store that is away is no fault of the job's: nothing is counted then. */
  async #noteSetback(held: HeldJob, error: unknown): Promise<void> {
    const { now, log } = this.#options;
    const isFull = isDiskFull(error);
    const waitMs = isFull ? this.#options.diskRetryMs : BACKOFF_MS * 4 ** held.job.setbacks;
    this.#backOff(held.job.id, waitMs);
    const message =
      error instanceof ServeError ? error.message : 'This server failed; its log says why.';
    const fault = isFull ? DISK_FULL_FAULT : { code: 'internal_error', message, param: null };
    try {
      await held.release((state) => withSetback(state, fault, now()));
    } catch (cause) {
      log.warn({ err: cause, job: held.job.id }, 'the lease of a job was not given back');
    }
  }
}

/** Undefined: there is nothing to do now. */
function laneOf({ status }: JobRecord): Lane | undefined {
  if (status === 'validating_files') return 'validate';
  return status === 'queued' || status === 'running' ? 'train' : undefined;
}
