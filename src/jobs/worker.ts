// The work on fine-tuning jobs: validates and trains them, retries after interruptions, and cleans up after jobs that are over.
import path from 'node:path';
import { isDiskFull } from '../common/errors.ts';
import { DISK_FULL_FAULT } from '../contracts/training-messages.ts';
import type { JobsContext } from './context.ts';
import { isWaitingForDisk, withInterruption } from './interrupted-job.ts';
import { hasEnded, type JobRecord } from './job.ts';
import { JobFolder, sweepJobFolders } from './job-folder.ts';
import { interruptionText, LeaseWorker, retryMs, type WorkKind } from './lease-worker.ts';
import { ValidationRun } from './plan-job.ts';
import { archiveOf } from './run-archive.ts';
import { TrainingRun } from './training-run.ts';

/** A validation occupies a core and, briefly, the memory of a model. */
const MAX_VALIDATING = 1;

/** A garbage collection lists every version in the store. */
const GARBAGE_INTERVAL_MS = 3_600_000;
/** A server that has read a manifest fetches its files within a minute, so this is generous. */
const GARBAGE_GRACE_MS = 24 * 3_600_000;

type Lane = 'validate' | 'train';

/** Claims and runs the jobs of one server. */
export type JobWorker = LeaseWorker<JobRecord, Lane>;

/** Creates the worker of a server's jobs. The caller starts it. */
export function createJobWorker(context: JobsContext): JobWorker {
  const { jobs, base, limits, timing, now } = context;
  const kind: WorkKind<JobRecord, Lane> = {
    noun: 'job',
    records: jobs,
    room: { validate: Math.min(MAX_VALIDATING, limits.maxTraining), train: limits.maxTraining },
    hasEnded: (status) => hasEnded({ status }),
    laneOf,
    isOurs: (job) => job.base.digest === base.digest,
    begin: (lease, lane) =>
      lane === 'train' ? new TrainingRun(lease, context) : new ValidationRun(lease, context),
    restMs: (job) => (isWaitingForDisk(job) ? timing.diskRetryMs : 0),
    /** Counts an interruption, unless the store is unavailable, which is not the job's fault. */
    interrupted(job, error) {
      const isFull = isDiskFull(error);
      const message = interruptionText(error);
      const fault = isFull ? DISK_FULL_FAULT : { code: 'internal_error', message, param: null };
      return {
        waitMs: isFull ? timing.diskRetryMs : retryMs(job.retries),
        change: (state) => withInterruption(state, fault, now()),
      };
    },
    async cleanUp(job) {
      await archiveOf(job, context).remove();
      await new JobFolder(job, context).remove();
    },
    sweep: createSweep(context),
  };
  return new LeaseWorker(kind, context);
}

/** Removes the folders of jobs that are over and, at most once an hour, the store's garbage. */
function createSweep({ root, jobs, repository, collectsGarbage, now }: JobsContext) {
  let collectedMs = Number.NEGATIVE_INFINITY;
  return async () => {
    await sweepJobFolders(path.resolve(root), jobs);
    if (!collectsGarbage || now() - collectedMs < GARBAGE_INTERVAL_MS) return;
    collectedMs = now();
    await repository.collectGarbage({ now: collectedMs, graceMs: GARBAGE_GRACE_MS });
  };
}

/** Returns the kind of work that a job needs, or undefined if it needs none now. */
function laneOf(status: JobRecord['status']): Lane | undefined {
  if (status === 'validating_files') return 'validate';
  return status === 'queued' || status === 'running' ? 'train' : undefined;
}
