// Client actions on batches: create, list and cancel. Changes the store and wakes the worker.
import type { Page, PageQuery } from '../common/page.ts';
import { type BatchRecord, cancelBatch, type NewBatch, newBatch } from './batch.ts';
import type { BatchesContext } from './context.ts';

type ServiceContext = Pick<
  BatchesContext,
  'batches' | 'files' | 'base' | 'createId' | 'now' | 'maxActive'
>;

/** The batches of all tenants, for clients. */
export class BatchService {
  readonly #context: ServiceContext;
  readonly #wake: (id: string) => void;

  /** @param wake tells the worker that this batch has changed */
  constructor(context: ServiceContext, wake: (id: string) => void) {
    this.#context = context;
    this.#wake = wake;
  }

  /** Creates a batch. Throws `ServeError` if its file cannot be used, or if the tenant has too many batches. */
  async create(tenant: string, request: NewBatch): Promise<BatchRecord> {
    const { batches, files, base, createId, now, maxActive } = this.#context;
    await files.getUpload(tenant, request.inputFile, { param: 'input_file_id', purpose: 'batch' });
    const name = { tenant, id: createId('batch'), base };
    const batch = await batches.createBelow(maxActive, newBatch(name, request, now()));
    this.#wake(batch.id);
    return batch;
  }

  /** Throws `ServeError` (404) if the batch is unknown. */
  get(tenant: string, id: string): Promise<BatchRecord> {
    return this.#context.batches.get({ tenant, id });
  }

  /** Lists batches, newest first. Leaves out damaged ones. */
  list(tenant: string, query: PageQuery): Promise<Page<BatchRecord>> {
    return this.#context.batches.page(tenant, query);
  }

  /** Cancels a batch. Lines that are answered stay in its output. Throws `ServeError` if the batch has ended. */
  async cancel(tenant: string, id: string): Promise<BatchRecord> {
    const { batches, now } = this.#context;
    const batch = await batches.change({ tenant, id }, (state) => cancelBatch(state, now()));
    this.#wake(id);
    return batch;
  }
}
