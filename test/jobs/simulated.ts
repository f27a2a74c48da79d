// A server's jobs with a simulated trainer, for tests: create a job whose training file says how it goes, and wait for its
// result.

import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after } from 'node:test';
import { createRepository } from '../../adapters/repository/repository.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { createLog } from '../../src/common/log.ts';
import type { JobStatus } from '../../src/contracts/job-status.ts';
import { LOCAL_TENANT } from '../../src/contracts/tenant.ts';
import type { Fault, JobPlan } from '../../src/contracts/training-messages.ts';
import { createChildRunner } from '../../src/jobs/child-runner.ts';
import type { JobsOptions } from '../../src/jobs/context.ts';
import { createJobs, type Jobs } from '../../src/jobs/create-jobs.ts';
import type { JobRecord, JobRequest } from '../../src/jobs/job.ts';
import { temporaryFolder } from '../fixtures.ts';
import { until } from '../until.ts';

export const ACME = { ...LOCAL_TENANT, id: 'acme' };
export const BASE = { name: 'toy', digest: 'b'.repeat(64), dir: path.resolve('models/toy') };
const SIMULATED = new URL('./simulated-trainer.mjs', import.meta.url);
const log = createLog('silent');
/** None waits: wishes and claims are seen within a few turns of the loop. */
const TIMING = {
  ...{ leaseMs: 30_000, renewMs: 20, pollMs: 20, idlePollMs: 20 },
  ...{ flushMs: 5, diskRetryMs: 50 },
};

/** What the training file tells `simulated-trainer.mjs`. */
export interface Told {
  steps?: number;
  perEpoch?: number;
  rewards?: readonly number[];
  plan?: Partial<JobPlan>;
  samples?: number;
  refusal?: Partial<Fault>;
  fault?: Partial<Fault>;
  card?: Record<string, unknown>;
  gates?: string;
  dieAfter?: readonly number[];
  diesBefore?: number;
  wordless?: true;
  needsRoom?: string;
  /** The run ends without `result.csv`. */
  tableless?: true;
}

export interface Server extends Jobs {
  readonly root: string;
  readonly published: string[];
  create(told?: Told, changes?: Partial<JobRequest>): Promise<JobRecord>;
  get(job: Pick<JobRecord, 'id'>): Promise<JobRecord>;
  /** The job, once it is in this status. Fails where it ends in another, or takes too long. */
  until(job: Pick<JobRecord, 'id'>, status: JobStatus): Promise<JobRecord>;
  /** All events, oldest first. */
  messages(job: Pick<JobRecord, 'id'>): Promise<string[]>;
}

export type ServerOptions = Partial<Omit<JobsOptions, 'limits'>> & {
  limits?: Partial<JobsOptions['limits']>;
};

let serverCount = 0;

export const simulatedRunner = () => createChildRunner({ log, entry: SIMULATED });

export function startServer(store: ObjectStore, options: ServerOptions = {}): Server {
  const server = openServer(store, options);
  server.worker.start();
  return server;
}

export function openServer(
  store: ObjectStore = createMemoryStore(),
  { limits, ...options }: ServerOptions = {},
): Server {
  const published: string[] = [];
  const root = temporaryFolder();
  const jobs = createJobs({
    store,
    repository: createRepository(store),
    runner: simulatedRunner(),
    base: BASE,
    root,
    dryRunRoot: path.join(root, 'dry-runs'),
    limits: { maxFiles: 100, maxFilesBytes: 2 ** 30, maxActive: 50, maxTraining: 1, ...limits },
    log,
    owner: { name: `server-${++serverCount}`, isGone: () => false },
    onPublished: (tenant, name) => void published.push(`${tenant}/${name}`),
    timing: TIMING,
    ...options,
  });
  after(() => jobs.worker.close(0));
  const { service, files } = jobs;
  const get: Server['get'] = ({ id }) => service.get(ACME.id, id);
  return {
    ...jobs,
    root,
    published,
    get,
    async create(told = {}, changes = {}) {
      const trainingFile = await upload(files, told);
      return service.create(ACME, { ...request(trainingFile), ...changes });
    },
    async until(job, status) {
      return until(`${job.id} to be ${status}`, async () => {
        const now = await get(job);
        const isOver = ['succeeded', 'failed', 'cancelled'].includes(now.status);
        if (isOver && now.status !== status) {
          assert.fail(
            `${now.status}, not ${status}: ${JSON.stringify(now.error ?? now.recentEvents)}`,
          );
        }
        return now.status === status ? now : undefined;
      });
    },
    async messages({ id }) {
      const { items } = await service.events(ACME.id, id, { limit: 10_000 });
      return items.map(({ message }) => message).reverse();
    },
  };
}

export function request(trainingFile: string): JobRequest {
  return {
    model: 'toy',
    trainingFile,
    suffix: 'colours',
    seed: 7,
    hyperparameters: { nEpochs: 'auto', batchSize: 'auto', learningRateMultiplier: 'auto' },
    settings: {},
  };
}

/** A training file that tells it. */
export function toldRows(told: Told): Buffer {
  return repeated({ prompt: JSON.stringify(told), completion: 'x' });
}

/** The same of pairs. */
export function toldPairs(told: Told): Buffer {
  const output = (content: string) => [{ role: 'assistant', content }];
  return repeated({
    input: { messages: [{ role: 'user', content: JSON.stringify(told) }] },
    preferred_output: output('x'),
    non_preferred_output: output('y'),
  });
}

/** The same of prompts. */
export function toldPrompts(told: Told): Buffer {
  return repeated({ messages: [{ role: 'user', content: JSON.stringify(told) }], wanted: 'x' });
}

const repeated = (row: object) => Buffer.from(`${JSON.stringify(row)}\n`.repeat(10));

export async function upload(files: Jobs['files'], told: Told, tenant = ACME.id): Promise<string> {
  const source = toldRows(told);
  const facts = { filename: 'told.jsonl', purpose: 'fine-tune' as const };
  return (await files.create(tenant, { source, byteSize: source.length, ...facts })).id;
}

/** A folder of gates, and what opens them. */
export function gates(): { folder: string; open(...steps: number[]): void } {
  const folder = temporaryFolder();
  mkdirSync(folder, { recursive: true });
  const open = (...steps: number[]) => {
    for (const step of steps) writeFileSync(path.join(folder, String(step)), '');
  };
  return { folder, open };
}
