// Assembles a server's training: files, jobs, client actions, and the worker.
import { guardStore } from '../../adapters/store/guarded-store.ts';
import { systemClock } from '../common/waiting.ts';
import type { JobsOptions, JobTiming } from './context.ts';
import { Files } from './files.ts';
import { JobService } from './job-service.ts';
import { JobStore } from './job-store.ts';
import { LEASE_TIMING } from './lease-worker.ts';
import { createIds } from './names.ts';
import { DryRuns } from './plan-job.ts';
import { createJobWorker, type JobWorker } from './worker.ts';

const TIMING: JobTiming = { ...LEASE_TIMING, flushMs: 500, diskRetryMs: 30_000 };

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
