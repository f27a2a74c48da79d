// Puts a server's training together: files, jobs, the actions of clients, and the worker.
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import { type GuardedStore, guardStore } from '../../adapters/store/guarded-store.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import type { Logger } from '../common/log.ts';
import { type Clock, systemClock } from '../common/waiting.ts';
import { Files } from './files.ts';
import type { JobRecord } from './job.ts';
import { JobService } from './job-service.ts';
import { JobStore } from './job-store.ts';
import { LEASE_MS } from './lease.ts';
import { type CreateId, createIds } from './names.ts';
import { DryRuns } from './plan-job.ts';
import type { JobRunner } from './runner.ts';
import type { RunObserver } from './training-run.ts';
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

/** Creates the training side of a server. The worker has to be started. */
export function createJobs(options: JobsOptions): Jobs {
  const { now = Date.now, clock = systemClock, limits } = options;
  const store = guardStore(options.store, options.log);
  const createId = createIds(now);
  const files = new Files({ store, createId, now, clock, limits });
  const jobs = new JobStore(store, clock);
  const timing = { ...TIMING, ...options.timing };
  const context = { ...options, now, clock, store, createId, files, jobs, timing };
  const worker = new JobWorker(context);
  const service = new JobService(context, (jobId) => worker.wake(jobId));
  return { files, worker, service, dryRuns: new DryRuns(context) };
}
