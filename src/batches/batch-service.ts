// Client actions on batches: create, list and cancel. Changes the store and wakes the worker.
import { fieldError, ServeError } from '../common/errors.ts';
import type { Page, PageQuery } from '../common/page.ts';
import { type BatchRecord, cancelBatch, type NewBatch, newBatch } from './batch.ts';
import type { BatchesContext } from './create-batches.ts';

/** A batch takes minutes, so retrying sooner is useless. */
const RETRY_S = 60;

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
    const { batches, base, createId, now } = this.#context;
    await this.#checkCount(tenant);
    await this.#checkFile(tenant, request.inputFile);
    const name = { tenant, id: createId('batch'), base };
    const batch = await batches.create(newBatch(name, request, now()));
    this.#wake(batch.id);
    return batch;
  }

  /** Concurrent requests may each see room for one more. */
  async #checkCount(tenant: string): Promise<void> {
    const { batches, maxActive } = this.#context;
    if ((await batches.countActive(tenant)) < maxActive) return;
    const message = `You have ${maxActive} unfinished batches, which is the limit. Wait for one to finish, or cancel one.`;
    throw new ServeError('rate_limit_exceeded', message, { retryAfterS: RETRY_S });
  }

  async #checkFile(tenant: string, id: string): Promise<void> {
    const param = 'input_file_id';
    const meta = await this.#context.files.get(tenant, id).catch((error) => {
      const isMissing = error instanceof ServeError && error.code === 'not_found';
      throw isMissing ? new ServeError('not_found', error.message, { param }) : error;
    });
    if (meta.purpose === 'batch') return;
    const fault = `the file has the purpose ${meta.purpose}. Upload it again with the purpose batch.`;
    throw fieldError(param, fault);
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
