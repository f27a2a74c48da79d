// Wires a server's batches: their records and files in its store, and its routes, which answer the lines.
import type { ObjectStore } from '../../adapters/store/store.ts';
import type { BatchesOptions } from '../batches/context.ts';
import { createBatches } from '../batches/create-batches.ts';
import type { Logger } from '../common/log.ts';
import type { EngineClient } from '../engine-client/client.ts';
import type { Config } from '../settings/config.ts';
import { toPart } from './opened-parts.ts';
import type { OwnProcess } from './own-process.ts';

/** The parts of a server that its batches need. */
interface ServingBatchesOptions
  extends Pick<BatchesOptions, 'files' | 'base' | 'answer' | 'tenantOf'> {
  readonly store: ObjectStore;
  readonly client: Pick<EngineClient, 'model'>;
  readonly own: OwnProcess;
  readonly log: Logger;
}

/** Lines in flight for each slot: while one runs, the next is ready for the slot. */
const LINES_PER_SLOT = 2;

/** Opens the batches of the store. The worker takes none until it is started. */
export async function openServingBatches(
  { batches, maxBatches: maxActive, maxBatchRequests: maxLines }: Config,
  { client, own, ...options }: ServingBatchesOptions,
) {
  const { service, worker } = createBatches({
    ...options,
    root: await own.openFolder('batches'),
    maxActive,
    maxLines,
    maxRunning: own.unwritable.includes('batches') ? 0 : batches, // others work on them
    maxInFlight: () => LINES_PER_SLOT * (client.model?.slotCount ?? 1),
    owner: own.owner,
  });
  return { service, ...toPart(worker) };
}
