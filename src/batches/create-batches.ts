// Assembles a server's batches: their records, client actions, and the worker that answers their lines.
import { guardStore } from '../../adapters/store/guarded-store.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { systemClock } from '../common/waiting.ts';
import type { BatchEndpoint } from '../contracts/batch-status.ts';
import type { Tenant } from '../contracts/tenant.ts';
import type { JobsOptions } from '../jobs/create-jobs.ts';
import type { Files } from '../jobs/files.ts';
import {
  interruptionText,
  LEASE_TIMING,
  type LeaseTiming,
  LeaseWorker,
  retryMs,
  type WorkKind,
} from '../jobs/lease-worker.ts';
import { type CreateId, createIds } from '../jobs/names.ts';
import { type BatchRecord, hasBatchEnded, interruptBatch } from './batch.ts';
import type { LineResponse } from './batch-results.ts';
import { BatchRun } from './batch-run.ts';
import { BatchService } from './batch-service.ts';
import { BatchStore } from './batch-store.ts';

/** One line for the route that answers it. */
export interface LineRequest {
  readonly tenant: Tenant;
  readonly url: BatchEndpoint;
  readonly body: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** Settings of `createBatches`. */
export interface BatchesOptions extends Pick<JobsOptions, 'owner' | 'log' | 'now' | 'clock'> {
  readonly store: ObjectStore;
  readonly files: Files;
  /** The digest of the served base. */
  readonly base: string;
  /** The parent of the batches' temporary folders. */
  readonly root: string;
  /** The most unfinished batches of one tenant. */
  readonly maxActive: number;
  /** The most lines of one batch. */
  readonly maxLines: number;
  /** The most batches that this server works on. With 0, it leaves them to other servers. */
  readonly maxRunning: number;
  /** Returns the most lines of one batch that are answered at the same time. */
  readonly maxInFlight: () => number;
  /** Answers a line as the route answers a single request. Called only while the worker works. Does not reject. */
  readonly answer: (line: LineRequest) => Promise<LineResponse>;
  /** Returns a tenant. Undefined if it has no key any more. */
  readonly tenantOf: (id: string) => Tenant | undefined;
  readonly timing?: Partial<LeaseTiming>;
}

/** Everything that the parts of a server's batches share. */
export interface BatchesContext
  extends Omit<BatchesOptions, 'store' | 'timing' | 'now' | 'clock'>,
    Required<Pick<BatchesOptions, 'now' | 'clock'>> {
  readonly batches: BatchStore;
  readonly createId: CreateId;
  readonly timing: LeaseTiming;
}

/** A server's batches. */
export interface Batches {
  readonly service: BatchService;
  readonly worker: LeaseWorker<BatchRecord, 'batch'>;
}

/** Creates a server's batches. The caller starts the worker. */
export function createBatches(options: BatchesOptions): Batches {
  const { now = Date.now, clock = systemClock } = options;
  const store = guardStore(options.store, options.log);
  const batches = new BatchStore(store, clock);
  const timing = { ...LEASE_TIMING, ...options.timing };
  const context = { ...options, now, clock, batches, createId: createIds(now), timing };
  const worker = new LeaseWorker(workOf(context), context);
  return { worker, service: new BatchService(context, (id) => worker.wake(id)) };
}

function workOf(context: BatchesContext): WorkKind<BatchRecord, 'batch'> {
  const { batches, base, maxRunning, now } = context;
  return {
    noun: 'batch',
    records: batches,
    room: { batch: maxRunning },
    hasEnded: (status) => hasBatchEnded({ status }),
    laneOf: (status) => (hasBatchEnded({ status }) ? undefined : 'batch'),
    isOurs: (batch) => batch.base === base,
    begin: (lease) => new BatchRun(lease, context),
    restMs: () => 0,
    interrupted: ({ retries }, error) => ({
      waitMs: retryMs(retries),
      change: (state) => interruptBatch(state, interruptionText(error), now()),
    }),
    cleanUp: (batch) => batches.removeParts(batch),
    sweep: async () => {},
  };
}
