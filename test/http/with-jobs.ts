// A served app with files and jobs over a store, in memory unless a test has its own. Its worker does nothing until it is
// started; its trainer is whatever program a test names.
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after } from 'node:test';
import { createAdapterRepository } from '../../adapters/repository/repository.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import type { JobsSide } from '../../src/http/deps.ts';
import { createChildRunner } from '../../src/jobs/child-runner.ts';
import { createJobs, type JobsOptions } from '../../src/jobs/jobs.ts';
import type { JobWorker } from '../../src/jobs/worker.ts';
import { createLog } from '../../src/log.ts';

export interface FilesSideOptions {
  store?: ObjectStore;
  now?: () => number;
  maxFileBytes?: number;
  maxFiles?: number;
  idleTimeoutMs?: number;
}

export function filesSide(options: FilesSideOptions = {}): JobsSide {
  return jobsSide(options).side;
}

export interface JobsSideOptions extends FilesSideOptions {
  /** The trainer's program; default: the real one. */
  entry?: URL;
  maxActive?: number;
  base?: JobsOptions['base'];
  timing?: NonNullable<JobsOptions['timing']>;
  owner?: JobsOptions['owner'];
  onPublished?: JobsOptions['onPublished'];
}

const BASE = { name: 'toy', digest: 'b'.repeat(64), dir: path.resolve('models/toy') };
const log = createLog('silent');

export function jobsSide({
  store = createMemoryStore(),
  now = Date.now,
  maxFileBytes = 2 ** 20,
  maxFiles = 100,
  idleTimeoutMs = 10_000,
  entry,
  maxActive = 10,
  base = BASE,
  owner = { name: 'test', isGone: () => false },
  ...rest
}: JobsSideOptions = {}): { side: JobsSide; worker: JobWorker } {
  const { files, service, dryRuns, worker } = createJobs({
    store,
    repository: createAdapterRepository(store),
    runner: createChildRunner({ log, ...(entry && { entry }) }),
    isRunElsewhere: false,
    base,
    root: temporaryFolder('jobs'),
    limits: { maxFiles, maxActive, maxTraining: 1 },
    log,
    owner,
    onPublished: () => {},
    now,
    ...rest,
  });
  after(() => worker.close(0));
  const uploads = { directory: temporaryFolder('uploads'), maxFileBytes, idleTimeoutMs };
  return { side: { files, uploads, service, dryRuns, method: 'qlora' }, worker };
}

function temporaryFolder(what: string): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), `lorikeet-${what}-`));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
