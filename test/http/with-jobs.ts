// A served app with files and jobs over a store (in memory by default) and the adapters that jobs publish there. Its worker
// does nothing until it is started.
import path from 'node:path';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { createJobCheck } from '../../src/compose/serving-jobs.ts';
import type { AppOptions, JobsSide } from '../../src/http/deps.ts';
import type { Jobs } from '../../src/jobs/create-jobs.ts';
import { watchStore } from '../adapters/published.ts';
import { temporaryFolder } from '../fixtures.ts';
import { openServer, type Server, type ServerOptions } from '../jobs/simulated.ts';
import { type ServedPublished, servePublished } from './published.ts';
import type { ServedOptions } from './served.ts';

export interface FilesSideOptions {
  store?: ObjectStore;
  now?: () => number;
  maxFileBytes?: number;
  maxFiles?: number;
  maxFilesBytes?: number;
  idleTimeoutMs?: number;
}

export function filesSide({
  store,
  now,
  maxFiles = 100,
  maxFilesBytes = 2 ** 30,
  ...bounds
}: FilesSideOptions = {}) {
  const limits = { maxFiles, maxFilesBytes };
  const jobs = openServer(store, { limits, ...(now && { now }) });
  return toSide(jobs, bounds);
}

export function toSide(
  { files, service, dryRuns }: Jobs,
  { maxFileBytes = 2 ** 20, idleTimeoutMs = 10_000 }: FilesSideOptions = {},
  training: TrainingSettings = {},
): JobsSide {
  const uploads = { directory: temporaryFolder(), maxFileBytes, idleTimeoutMs };
  const checkSettings = createJobCheck(path.resolve('models/toy'), {
    pythonGraders: undefined,
    trainRunner: 'process',
    ...training,
  });
  const trainerCpuMs = () => undefined;
  return {
    ...{ files, uploads, service, dryRuns, method: 'qlora', maxRank: 64, checkSettings },
    trainerCpuMs,
  };
}

export interface ServedJobs extends ServedPublished {
  jobs: Server;
}

/** The settings that decide where jobs train, and whether a grader may be in Python. */
type TrainingSettings = Partial<Parameters<typeof createJobCheck>[1]>;

export interface ServedJobsOptions extends ServedOptions {
  training?: TrainingSettings;
  store?: ObjectStore;
  server?: ServerOptions;
  authenticate?: NonNullable<AppOptions['authenticate']>;
}

export function serveJobs({
  store = createMemoryStore(),
  server = {},
  training,
  ...options
}: ServedJobsOptions = {}): ServedJobs {
  const jobs = openServer(store, {
    onPublished: (tenant, name) => served.forget(tenant, name),
    ...server,
  });
  const served = servePublished(watchStore(store), {
    jobs: toSide(jobs, {}, training),
    ...options,
  });
  return { ...served, jobs };
}
