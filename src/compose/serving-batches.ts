// Wires a server's batches: their records and files in its store, and its routes, which answer the lines.
import { randomUUID } from 'node:crypto';
import path from 'node:path';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { type Batches, type BatchesOptions, createBatches } from '../batches/create-batches.ts';
import { isOwnerGone } from '../common/file-lock.ts';
import type { Logger } from '../common/log.ts';
import { openProcessFolder } from '../common/process-folder.ts';
import { createOwner } from '../common/process-id.ts';
import type { EngineClient } from '../scheduler/client.ts';
import type { Config } from '../settings/config.ts';

/** The parts of a server that its batches need. */
interface ServingBatchesOptions
  extends Pick<BatchesOptions, 'files' | 'base' | 'answer' | 'tenantOf'> {
  readonly store: ObjectStore;
  readonly client: Pick<EngineClient, 'model'>;
  readonly log: Logger;
}

/** Lines in flight for each slot: while one runs, the next is ready for the slot. */
const LINES_PER_SLOT = 2;

/** Opens the batches of the store. The worker takes none until it is started. */
export async function openServingBatches(
  { home, batches: maxRunning, maxBatches: maxActive, maxBatchRequests: maxLines }: Config,
  { client, ...options }: ServingBatchesOptions,
): Promise<Batches> {
  const owner = createOwner(randomUUID());
  const folder = path.join(home, 'cache', 'batches');
  const processOptions = { owner, isGone: isOwnerGone, log: options.log };
  return createBatches({
    ...options,
    root: await openProcessFolder(folder, processOptions),
    maxActive,
    maxLines,
    maxRunning,
    maxInFlight: () => LINES_PER_SLOT * (client.model?.slotCount ?? 1),
    owner: { name: owner, isGone: isOwnerGone },
  });
}
