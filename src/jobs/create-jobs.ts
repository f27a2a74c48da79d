// Puts a server's training together: files, jobs, the actions of clients, and the worker.
import path from 'node:path';
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import { guardStore } from '../../adapters/store/guarded-store.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import type { Logger } from '../common/log.ts';
import { type Clock, systemClock } from '../common/waiting.ts';
import { RowChecks } from './check-rows.ts';
import { Files } from './files.ts';
import type { JobRecord } from './job.ts';
import { JobFolder, sweepJobFolders } from './job-folder.ts';
import { JobService } from './job-service.ts';
import { JobStore, runPrefix } from './job-store.ts';
import { type JobLease, LEASE_MS, LeaseWatch } from './lease.ts';
import { createIds } from './names.ts';
import { DryRuns, ValidationRun } from './plan-job.ts';
import { RunArchive } from './run-archive.ts';
import { Publication } from './run-results.ts';
import type { JobRunner } from './runner.ts';
import { type RunObserver, TrainingRun } from './training-run.ts';
import { JobWorker } from './worker.ts';

/** Settings of `createJobs`. */
export interface JobsOptions {
  readonly store: ObjectStore;
  readonly repository: AdapterRepository;
  readonly runner: JobRunner;
  readonly base: JobRecord['base'] & { readonly dir: string };
  /** The parent of the job folders on this machine. */
  readonly root: string;
  /** The parent of the folders of dry runs, which no other process uses. */
  readonly dryRunRoot: string;
  readonly limits: JobLimits;
  readonly log: Logger;
  readonly owner: LeaseOwner;
  /** Called when a name may have a new version in the store. */
  readonly onPublished: (tenant: string, name: string) => void;
  /** Whether this server collects the store's garbage, such as the files of dropped checkpoints. */
  readonly collectsGarbage?: boolean;
  /** Returns the observer of a run, or undefined. */
  readonly observe?: (job: JobRecord) => RunObserver | undefined;
  readonly timing?: Partial<JobTiming>;
  /** Unix milliseconds. */
  readonly now?: () => number;
  readonly clock?: Clock;
}

/** Limits per tenant and server. */
export interface JobLimits {
  /** Files of one tenant. */
  readonly maxFiles: number;
  /** Bytes of one tenant's files. */
  readonly maxFilesBytes: number;
  /** Jobs of one tenant that are not over. */
  readonly maxActive: number;
  /** Jobs that train at once on this server. With 0, other servers train. */
  readonly maxTraining: number;
}

/** The owner of this server's leases. */
export interface LeaseOwner {
  readonly name: string;
  /** Whether the owner of a lease is known not to come back. */
  readonly isGone: (owner: string) => boolean;
}

/** Intervals in milliseconds. */
export interface JobTiming {
  /** A lease that is not renewed for this long has expired. */
  readonly leaseMs: number;
  /** Between renewals of a lease. Also the longest delay of a client's action that another server accepted. */
  readonly renewMs: number;
  /** Between scans for jobs that other servers created. */
  readonly pollMs: number;
  /** Between a trainer's report and its write. */
  readonly flushMs: number;
  /** Between attempts at a job for which the disk has no room. */
  readonly diskRetryMs: number;
}

const TIMING: JobTiming = {
  leaseMs: LEASE_MS,
  renewMs: 3_000,
  pollMs: 3_000,
  flushMs: 500,
  diskRetryMs: 30_000,
};

/** A collection lists every version of the store. */
const GARBAGE_INTERVAL_MS = 3_600_000;
/** A server that has read a manifest fetches its files within a minute. */
const GARBAGE_GRACE_MS = 24 * 3_600_000;

/** The training side of a server. */
export interface Jobs {
  readonly files: Files;
  readonly service: JobService;
  readonly dryRuns: DryRuns;
  readonly worker: JobWorker;
}

/** Creates the training side of a server. The worker has to be started. */
export function createJobs(options: JobsOptions): Jobs {
  const { repository, runner, base, root, dryRunRoot, limits, log, owner, onPublished } = options;
  const { now = Date.now, clock = systemClock } = options;
  const { leaseMs, renewMs, pollMs, flushMs, diskRetryMs } = { ...TIMING, ...options.timing };
  const { maxFiles, maxFilesBytes: maxBytes, maxActive, maxTraining } = limits;
  const store = guardStore(options.store, log);
  const createId = createIds(now);
  const files = new Files({ store, createId, now, clock, maxFiles, maxBytes });
  const jobs = new JobStore(store, clock);
  const publication = new Publication({ repository, baseDigest: base.digest, onPublished });
  const folders = { root, baseDir: base.dir, files, repository };
  const folderOf = (job: JobRecord) => new JobFolder(job, folders);
  const archiveOf = (job: JobRecord) => new RunArchive(store, runPrefix(job), clock);
  const taskOf = ({ job }: JobLease) => ({
    runner,
    log,
    now,
    clock,
    renewMs,
    folder: folderOf(job),
  });
  const collectGarbage = createCollector(options, now);
  const worker = new JobWorker({
    owner: owner.name,
    leases: { jobs, leaseMs, clock: clock.now },
    watch: new LeaseWatch({ now: clock.now, leaseMs, isGone: owner.isGone }),
    baseDigest: base.digest,
    maxTraining,
    pollMs,
    diskRetryMs,
    log,
    now,
    clock,
    validate: (lease) => new ValidationRun(lease, taskOf(lease)),
    train: (lease) =>
      new TrainingRun(lease, {
        ...taskOf(lease),
        files,
        publication,
        archive: archiveOf(lease.job),
        flushMs,
        observer: options.observe?.(lease.job),
      }),
    async removeLeftovers(job) {
      await archiveOf(job).remove();
      await folderOf(job).remove();
      await jobs.removeMark(job);
    },
    async sweep() {
      await sweepJobFolders(path.resolve(root), () => jobs.activeIds());
      await collectGarbage();
    },
  });
  const service = new JobService({
    store,
    jobs,
    files,
    rowChecks: new RowChecks({ files, clock }),
    base: { name: base.name, digest: base.digest },
    maxActive,
    createId,
    now,
    clock,
    wake: (jobId) => worker.wake(jobId),
  });
  return { files, worker, service, dryRuns: new DryRuns(runner, { ...folders, root: dryRunRoot }) };
}

/** Returns a function that collects the store's garbage, at most once an hour. */
function createCollector(
  { repository, collectsGarbage }: JobsOptions,
  now: () => number,
): () => Promise<void> {
  let lastMs = Number.NEGATIVE_INFINITY;
  return async () => {
    if (!collectsGarbage || now() - lastMs < GARBAGE_INTERVAL_MS) return;
    lastMs = now();
    await repository.collectGarbage({ now: lastMs, graceMs: GARBAGE_GRACE_MS });
  };
}
