// Assembles a server's training: files, jobs, client actions, and the worker.
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import { type GuardedStore, guardStore } from '../../adapters/store/guarded-store.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import type { Logger } from '../common/log.ts';
import { type Clock, systemClock } from '../common/waiting.ts';
import { Files } from './files.ts';
import type { JobRecord } from './job.ts';
import { JobService } from './job-service.ts';
import { JobStore } from './job-store.ts';
import { LEASE_TIMING, type LeaseTiming } from './lease-worker.ts';
import { type CreateId, createIds } from './names.ts';
import { DryRuns } from './plan-job.ts';
import type { JobRunner } from './runner.ts';
import type { RunObserver } from './training-run.ts';
import { createJobWorker, type JobWorker } from './worker.ts';

/** Settings of `createJobs`. */
export interface JobsOptions {
  readonly store: ObjectStore;
  readonly repository: AdapterRepository;
  readonly runner: JobRunner;
  readonly base: JobRecord['base'] & { readonly dir: string };
  /** The parent of the job folders on this machine. */
  readonly root: string;
  /** The parent of this process's dry-run folders. */
  readonly dryRunRoot: string;
  readonly limits: JobLimits;
  readonly log: Logger;
  readonly owner: LeaseOwner;
  /** Called when the store may contain a new version of a name. */
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

/** A server's limits, most of them per tenant. */
interface JobLimits {
  /** The most files of one tenant. */
  readonly maxFiles: number;
  /** The most bytes in one tenant's files. */
  readonly maxFilesBytes: number;
  /** The most unfinished jobs of one tenant. */
  readonly maxActive: number;
  /** The most jobs that this server trains concurrently. With 0, it leaves training to other servers. */
  readonly maxTraining: number;
}

/** The owner of this server's leases. */
export interface LeaseOwner {
  readonly name: string;
  /** Whether the owner of a lease is known to be gone for good. */
  readonly isGone: (owner: string) => boolean;
}

/** Intervals in milliseconds. */
interface JobTiming extends LeaseTiming {
  /** Between a trainer's report and writing it. */
  readonly flushMs: number;
  /** Between attempts at a job that did not fit on the disk. */
  readonly diskRetryMs: number;
}

const TIMING: JobTiming = { ...LEASE_TIMING, flushMs: 500, diskRetryMs: 30_000 };

/** Everything that the parts of a server's training share. */
export interface JobsContext
  extends Omit<JobsOptions, 'store' | 'timing' | 'now' | 'clock'>,
    Required<Pick<JobsOptions, 'now' | 'clock'>> {
  readonly store: GuardedStore;
  readonly jobs: JobStore;
  readonly files: Files;
  readonly createId: CreateId;
  readonly timing: JobTiming;
}

/** The training side of a server. */
export interface Jobs {
  readonly files: Files;
  readonly service: JobService;
  readonly dryRuns: DryRuns;
  readonly worker: JobWorker;
}

/** Creates the training side of a server. The caller starts the worker. */
export function createJobs(options: JobsOptions): Jobs {
  const { now = Date.now, clock = systemClock, limits } = options;
  const store = guardStore(options.store, options.log);
  const createId = createIds(now);
  const files = new Files({ store, createId, now, clock, limits });
  const jobs = new JobStore(store, clock);
  const timing = { ...TIMING, ...options.timing };
  const context = { ...options, now, clock, store, createId, files, jobs, timing };
  const worker = createJobWorker(context);
  const service = new JobService(context, (jobId) => worker.wake(jobId));
  return { files, worker, service, dryRuns: new DryRuns(context) };
}
