// Assembles a server's batches: their records, client actions, and the worker that answers their lines.
import { guardStore } from '../../adapters/store/guarded-store.ts';
import { systemClock } from '../common/waiting.ts';
import {
  interruptionText,
  LEASE_TIMING,
  LeaseWorker,
  retryMs,
  type WorkKind,
} from '../jobs/lease-worker.ts';
import { createIds } from '../jobs/names.ts';
import { type BatchRecord, hasBatchEnded, interruptBatch } from './batch.ts';
import { BatchRun } from './batch-run.ts';
import { BatchService } from './batch-service.ts';
import { BatchStore } from './batch-store.ts';
import type { BatchesContext, BatchesOptions } from './context.ts';

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
