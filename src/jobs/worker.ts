// Finds jobs that nobody works on, claims them and works on them, and cleans up after jobs that are over. Any number of servers
// may do this on one store.
import path from 'node:path';
import { isDiskFull, ServeError } from '../common/errors.ts';
import { DISK_FULL_FAULT } from '../contracts/training-messages.ts';
import type { JobsContext } from './create-jobs.ts';
import { hasEnded, isWaitingForDisk, type JobRecord, withInterruption } from './job.ts';
import { JobFolder, sweepJobFolders } from './job-folder.ts';
import type { JobName, OpenJobMark } from './job-store.ts';
import { JobLease, type JobLeaseOptions, LeaseWatch } from './lease.ts';
import { MarkWatch } from './mark-watch.ts';
import { ValidationRun } from './plan-job.ts';
import { archiveOf } from './run-archive.ts';
import { TrainingRun } from './training-run.ts';

/** This server's work on a claimed job. */
export interface JobTask {
  /** Resolves when this server is done with the job. Throws the store's error. */
  run(): Promise<void>;
  /** Rereads the job's record and acts on it. Does not throw. */
  refresh(): Promise<void>;
  /** Stops the work, with a checkpoint if needed, so that the next server can continue it. */
  stop(): void;
  /** Stops the work without waiting for a checkpoint. */
  kill(): void;
}

/** A validation occupies a core and, briefly, the memory of a model. */
const MAX_VALIDATING = 1;
/** Limits the reads of a worker that finds many jobs. */
const READS_PER_SECOND = 10;
/** The wait after the first interruption. Each consecutive one waits four times as long. */
const RETRY_MS = 5_000;

/** A garbage collection lists every version in the store. */
const GARBAGE_INTERVAL_MS = 3_600_000;
/** A server that has read a manifest fetches its files within a minute, so this is generous. */
const GARBAGE_GRACE_MS = 24 * 3_600_000;

type Lane = 'validate' | 'train';

/** The unfinished jobs that a scan has found, and the records that it has read. */
interface ScanCount {
  readonly jobCount: number;
  readonly readCount: number;
}

/** Claims and runs the jobs of one server. */
export class JobWorker {
  readonly #context: JobsContext;
  readonly #leases: JobLeaseOptions;
  readonly #watch: LeaseWatch;
  readonly #marks: MarkWatch;
  /** Ids of unfinished jobs for other bases. */
  readonly #otherBases = new Set<string>();
  #collectedMs = Number.NEGATIVE_INFINITY;
  readonly #active = new Map<string, { lane: Lane; task: JobTask; ended: Promise<void> }>();
  /** Job → the monotonic time after which it may be retried. */
  readonly #retryAt = new Map<string, number>();
  /** Tenant → the monotonic time at which this server last took one of its jobs. */
  readonly #lastTurn = new Map<string, number>();
  /** Ids of the jobs that the last scan found damaged. */
  #damaged: ReadonlySet<string> = new Set();
  #isOpen = false;
  #scan: Promise<void> | undefined;
  #isScanDue = false;
  #cancelScan = () => {};

  constructor(context: JobsContext) {
    const { jobs, timing, clock, owner } = context;
    const { leaseMs } = timing;
    this.#context = context;
    this.#leases = { jobs, leaseMs, clock: clock.now };
    this.#marks = new MarkWatch(clock.now);
    this.#watch = new LeaseWatch({ now: clock.now, leaseMs, isGone: owner.isGone });
  }

  /** Starts looking for work. */
  start(): void {
    this.#isOpen = true;
    this.#scanNow();
  }

  /** Tells the worker that a client has changed this job. */
  wake(jobId: string): void {
    void this.#active.get(jobId)?.task.refresh();
    this.#scanNow();
  }

  /** How many jobs this server works on. */
  get activeCount(): number {
    return this.#active.size;
  }

  /** Claims no more jobs and stops all tasks. Kills the tasks that have not stopped by the deadline. */
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

  #scanLater({ jobCount, readCount }: ScanCount): void {
    if (!this.#isOpen) return;
    const { pollMs, idlePollMs } = this.#context.timing;
    const leastMs = jobCount > 0 ? pollMs : idlePollMs;
    const delayMs = Math.max(leastMs, (readCount / READS_PER_SECOND) * 1000);
    this.#cancelScan = this.#context.clock.schedule(delayMs, () => this.#scanNow());
  }

  /** Offers each unfinished job to this worker. Does not throw. */
  async #scanAll(): Promise<ScanCount> {
    this.#isScanDue = false;
    const { jobs, log } = this.#context;
    const count = { jobCount: 0, readCount: 0 };
    const damaged = new Map<string, unknown>();
    const read = async (marks: readonly OpenJobMark[]) => {
      count.readCount += marks.length;
      return jobs.readMarked(marks, (job, error) => damaged.set(job.id, error));
    };
    try {
      const marks = await jobs.marks();
      count.jobCount = marks.length;
      const verdicts = this.#marks.judge(marks);
      for (const id of this.#otherBases) if (!verdicts.has(id)) this.#otherBases.delete(id);
      this.#watch.keep(new Set(marks.map(({ id }) => id)));
      const others = marks.filter(({ id }) => !this.#active.has(id));
      const found = await read(others.filter(({ id }) => verdicts.get(id) === 'read'));
      for (const job of found) {
        // If a server still works on an ended job, it has not noticed the end yet.
        if (hasEnded(job) && this.#isFree(job)) await this.#cleanUp(job);
      }
      const known = new Map(found.map((job) => [job.id, job]));
      for (const mark of this.#byTurn(others)) {
        const isFree = verdicts.get(mark.id) === 'free' && this.#mayClaim(mark);
        const job = known.get(mark.id) ?? (isFree ? (await read([mark]))[0] : undefined);
        if (job) await this.#offer(job);
      }
      this.#reportDamaged(damaged);
      await this.#sweep();
    } catch (error) {
      log.warn({ err: error }, 'cannot look for jobs');
    }
    return count;
  }

  #isFree(job: JobRecord): boolean {
    return this.#watch.isFree(job, this.#marks.quietMs(job.id));
  }

  /** Whether a job without a lease is worth a read. */
  #mayClaim(mark: OpenJobMark): boolean {
    const lane = mark.state && laneOf(mark.state);
    const isOurs = !this.#otherBases.has(mark.id);
    return !!lane && isOurs && this.#hasRoom(lane) && !this.#isBackingOff(mark);
  }

  /** Logs each damaged job once instead of after every scan. */
  #reportDamaged(damaged: ReadonlyMap<string, unknown>): void {
    for (const [job, err] of damaged) {
      if (this.#damaged.has(job)) continue;
      this.#context.log.error({ err, job }, 'skipping a job: its record is damaged');
    }
    this.#damaged = new Set(damaged.keys());
  }

  /** Removes what the job left behind. A failure does not end the scan; the next scan tries again. */
  async #cleanUp(job: JobRecord): Promise<void> {
    const { jobs, log } = this.#context;
    try {
      await archiveOf(job, this.#context).remove();
      await new JobFolder(job, this.#context).remove();
      await jobs.removeOpenJobMark(job);
    } catch (error) {
      log.warn({ err: error, job: job.id }, 'the remains of a job could not be removed');
    }
  }

  /** Removes the folders of jobs that are over. At most once an hour, also cleans up the store. */
  async #sweep(): Promise<void> {
    const { root, jobs, repository, collectsGarbage, now } = this.#context;
    await sweepJobFolders(path.resolve(root), () => jobs.activeIds());
    if (!collectsGarbage || now() - this.#collectedMs < GARBAGE_INTERVAL_MS) return;
    this.#collectedMs = now();
    await repository.collectGarbage({ now: this.#collectedMs, graceMs: GARBAGE_GRACE_MS });
  }

  /** Sorts jobs by tenant, the one that has waited longest first, then by age. */
  #byTurn(jobs: readonly OpenJobMark[]): OpenJobMark[] {
    const lastMs = ({ tenant }: JobName) => this.#lastTurn.get(tenant) ?? Number.NEGATIVE_INFINITY;
    return jobs.toSorted((a, b) => Math.sign(lastMs(a) - lastMs(b)) || (a.id < b.id ? -1 : 1));
  }

  async #offer(job: JobRecord): Promise<void> {
    const { owner, base } = this.#context;
    const lane = laneOf(job);
    if (job.base.digest !== base.digest) this.#otherBases.add(job.id);
    if (!lane || job.base.digest !== base.digest) return;
    const isFree = this.#isFree(job); // comes first, because the watch must see every lease early
    if (!isFree || !this.#isOpen || !this.#hasRoom(lane) || this.#isBackingOff(job)) return;
    const lease = await JobLease.claim(job, owner.name, this.#leases);
    if (lease) this.#begin(lease, lane);
  }

  #hasRoom(lane: Lane): boolean {
    const count = [...this.#active.values()].filter((one) => one.lane === lane).length;
    const { maxTraining } = this.#context.limits;
    return count < (lane === 'train' ? maxTraining : Math.min(MAX_VALIDATING, maxTraining));
  }

  #isBackingOff({ id }: JobName): boolean {
    return this.#leases.clock() < (this.#retryAt.get(id) ?? Number.NEGATIVE_INFINITY);
  }

  #backOff(id: string, waitMs: number): void {
    this.#retryAt.set(id, this.#leases.clock() + waitMs);
  }

  #begin(lease: JobLease, lane: Lane): void {
    const { id, tenant } = lease.job;
    this.#lastTurn.set(tenant, this.#leases.clock());
    const Task = lane === 'train' ? TrainingRun : ValidationRun;
    const task = new Task(lease, this.#context);
    this.#active.set(id, { lane, task, ended: this.#work(task, lease) });
  }

  async #work(task: JobTask, lease: JobLease): Promise<void> {
    const { id } = lease.job;
    try {
      await task.run();
      if (isWaitingForDisk(lease.job)) this.#backOff(id, this.#context.timing.diskRetryMs);
      else this.#retryAt.delete(id);
    } catch (error) {
      this.#context.log.error({ err: error, job: id }, 'work on a job was interrupted');
      await this.#recordInterruption(lease, error);
    } finally {
      this.#active.delete(id);
      this.#scanNow();
    }
  }

  /** Counts an interruption, unless the store is unavailable, which is not the job's fault. */
  async #recordInterruption(lease: JobLease, error: unknown): Promise<void> {
    const { now, log, timing } = this.#context;
    const isFull = isDiskFull(error);
    this.#backOff(lease.job.id, isFull ? timing.diskRetryMs : RETRY_MS * 4 ** lease.job.setbacks);
    const message =
      error instanceof ServeError ? error.message : 'The server failed. Its log gives the reason.';
    const fault = isFull ? DISK_FULL_FAULT : { code: 'internal_error', message, param: null };
    try {
      await lease.release((state) => withInterruption(state, fault, now()));
    } catch (cause) {
      log.warn({ err: cause, job: lease.job.id }, 'the lease of a job was not released');
    }
  }
}

/** Returns the kind of work that a job needs, or undefined if it needs none now. */
function laneOf({ status }: Pick<JobRecord, 'status'>): Lane | undefined {
  if (status === 'validating_files') return 'validate';
  return status === 'queued' || status === 'running' ? 'train' : undefined;
}
