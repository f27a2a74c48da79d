// Training on a server, put together: files, jobs, what clients may do with them, and the worker that sees them through.
import path from 'node:path';
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import type { Logger } from '../common/log.ts';
import { RowChecks } from './check-rows.ts';
import { DryRuns } from './dry-runs.ts';
import { Files } from './files.ts';
import { guardStore } from './guarded-store.ts';
import { createIds } from './ids.ts';
import type { JobRecord } from './job.ts';
import { JobService } from './job-service.ts';
import { JobStore, runPrefix } from './job-store.ts';
import { LEASE_MS, LeaseWatch } from './lease.ts';
import { Publication } from './publication.ts';
import type { JobRunner } from './runner.ts';
import { createRunArchive } from './sync-run.ts';
import { type RunObserver, TrainingRun } from './training-run.ts';
import { ValidationRun } from './validation-run.ts';
import { JobWorker } from './worker.ts';
import { sweepWorkspaces, Workspace } from './workspace.ts';

export interface JobsOptions {
  readonly store: ObjectStore;
  readonly repository: AdapterRepository;
  readonly runner: JobRunner;
  readonly base: JobRecord['base'] & { readonly dir: string };
  /** Folders of jobs on this machine. */
  readonly root: string;
  readonly limits: JobLimits;
  readonly log: Logger;
  readonly owner: LeaseOwner;
  /** A version of this name is new in the store. */
  readonly onPublished: (tenant: string, name: string) => void;
  /** Whether this server collects the store's garbage, such as the files of dropped checkpoints. */
  readonly collectsGarbage?: boolean;
  /** Asked for each run; undefined: nobody is told. */
  readonly observe?: (job: JobRecord) => RunObserver | undefined;
  readonly timing?: Partial<JobTiming>;
  /** Unix milliseconds. */
  readonly now?: () => number;
  /** Monotonic milliseconds. */
  readonly clock?: () => number;
}

export interface JobLimits {
  /** Files of one tenant. */
  readonly maxFiles: number;
  /** Bytes of one tenant's files. */
  readonly maxFilesBytes: number;
  /** Jobs of one tenant that are not over. */
  readonly maxActive: number;
  /** Jobs that train at once on this server; 0: others train. */
  readonly maxTraining: number;
}

export interface LeaseOwner {
  readonly name: string;
  /** Whether a lease's owner is known not to come back. */
  readonly isGone: (owner: string) => boolean;
}

/** Milliseconds. */
export interface JobTiming {
  /** How long a lease that does not beat is believed. */
  readonly leaseMs: number;
  /** Between two renewals: also how long a wish that another server took may take to be seen. */
  readonly renewMs: number;
  /** Between two looks for jobs that other servers took. */
  readonly pollMs: number;
  /** Between two writings of what a trainer says. */
  readonly flushMs: number;
  /** Between two tries of a job for which the disk has no room. */
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
/** A server that has just read a manifest fetches its files within a minute. */
const GARBAGE_GRACE_MS = 24 * 3_600_000;

export interface Jobs {
  readonly files: Files;
  readonly service: JobService;
  readonly dryRuns: DryRuns;
  readonly worker: JobWorker;
}

export function createJobs(options: JobsOptions): Jobs {
  const { now = Date.now, runner, repository, base, root, limits, log } = options;
  const store = guardStore(options.store, log);
  const createId = createIds(now);
  const { maxFiles, maxFilesBytes: maxBytes, maxActive } = limits;
  const files = new Files({ store, createId, now, maxFiles, maxBytes });
  const jobs = new JobStore(store, now);
  const workspaces = { root, baseDir: base.dir, files, repository };
  const parts = { ...options, store, jobs, files, workspaces, now };
  const worker = createWorker(parts);
  return {
    files,
    worker,
    dryRuns: new DryRuns(runner, workspaces),
    service: new JobService({
      store,
      jobs,
      files,
      rowChecks: new RowChecks({ files, clock: options.clock ?? (() => performance.now()) }),
      base: { name: base.name, digest: base.digest },
      maxActive,
      createId,
      now,
      wake: (jobId) => worker.wake(jobId),
    }),
  };
}

interface WorkerParts extends JobsOptions {
  readonly jobs: JobStore;
  readonly files: Files;
  readonly workspaces: ConstructorParameters<typeof Workspace>[1];
  readonly now: () => number;
}

function createWorker(parts: WorkerParts): JobWorker {
  const { store, repository, runner, base, limits, log, owner, jobs, files, now } = parts;
  const { clock = () => performance.now(), onPublished } = parts;
  const { leaseMs, renewMs, pollMs, flushMs, diskRetryMs } = { ...TIMING, ...parts.timing };
  const publication = new Publication({ repository, baseDigest: base.digest, onPublished });
  const archiveOf = (job: JobRecord) => createRunArchive(store, runPrefix(job));
  const workspaceOf = (job: JobRecord) => new Workspace(job, parts.workspaces);
  const common = { runner, log, now, renewMs };
  const collectGarbage = createCollector(parts);
  return new JobWorker({
    owner: owner.name,
    leases: { jobs, leaseMs, clock },
    watch: new LeaseWatch({ now: clock, leaseMs, isGone: owner.isGone }),
    baseDigest: base.digest,
    maxTraining: limits.maxTraining,
    pollMs,
    diskRetryMs,
    log,
    now,
    validate: (lease) => new ValidationRun(lease, { ...common, workspace: workspaceOf(lease.job) }),
    train: (lease) =>
      new TrainingRun(lease, {
        ...common,
        files,
        publication,
        workspace: workspaceOf(lease.job),
        archive: archiveOf(lease.job),
        flushMs,
        observer: parts.observe?.(lease.job),
      }),
    async retire(job) {
      await archiveOf(job).remove();
      await workspaceOf(job).remove();
      await jobs.retire(job);
    },
    async sweep() {
      await sweepWorkspaces(path.resolve(parts.root), () => jobs.activeIds());
      await collectGarbage();
    },
  });
}

/** Collects the store's garbage at the first call, and then once an hour at most. */
function createCollector({ repository, collectsGarbage, now }: WorkerParts): () => Promise<void> {
  let lastMs = Number.NEGATIVE_INFINITY;
  return async () => {
    if (!collectsGarbage || now() - lastMs < GARBAGE_INTERVAL_MS) return;
    lastMs = now();
    await repository.collectGarbage({ now: lastMs, graceMs: GARBAGE_GRACE_MS });
  };
}
