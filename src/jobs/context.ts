// Everything that the parts of a server's training share.
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import type { GuardedStore } from '../../adapters/store/guarded-store.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import type { Logger } from '../common/log.ts';
import type { Clock } from '../common/waiting.ts';
import type { FileLimits, Files } from './files.ts';
import type { JobRecord } from './job.ts';
import type { JobStore } from './job-store.ts';
import type { LeaseOwner } from './lease.ts';
import type { LeaseTiming } from './lease-worker.ts';
import type { CreateId } from './names.ts';
import type { JobRunner } from './runner.ts';

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
interface JobLimits extends FileLimits {
  /** The most unfinished jobs of one tenant. */
  readonly maxActive: number;
  /** The most jobs that this server trains concurrently. With 0, it leaves training to other servers. */
  readonly maxTraining: number;
}

/** A part of a run that an observer measures. */
type RunPhase = 'prepare' | 'checkpoint' | 'archive' | 'publish';

/** Observes the progress of a run. */
export interface RunObserver {
  /** The trainer has started, and so has its first epoch. */
  trainingBegan(): void;
  /** The epoch's checkpoint has been published. The next epoch has already begun. */
  epochEnded(step: number): void;
  /** Does the work of a phase, and returns its result. */
  during<T>(phase: RunPhase, act: () => Promise<T>): Promise<T>;
  /** This server is done with the run. `status` is the job's; `error` is the code of the fault that ended the job. */
  ended(status: string, error: string | undefined): void;
}

/** Intervals in milliseconds. */
export interface JobTiming extends LeaseTiming {
  /** Between a trainer's report and writing it. */
  readonly flushMs: number;
  /** Between attempts at a job that did not fit on the disk. */
  readonly diskRetryMs: number;
}

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
