// `Idempotency-Key`: a request that is repeated within a day returns the job that the first one created. A failed request
// leaves its key free.

import { createHash } from 'node:crypto';
import { z } from 'zod';
import { Records } from '../../adapters/store/documents.ts';
import { ServeError } from '../common/errors.ts';
import type { JobsContext } from './create-jobs.ts';

/** A request with an `Idempotency-Key`. */
export interface RepeatedRequest {
  /** The client's choice. */
  readonly key: string;
  /** Equal for equal requests. */
  readonly body: string;
}

const useSchema = z.object({
  mark: z.string(),
  jobId: z.string(),
  body: z.string(),
  /** Unix milliseconds. */
  usedMs: z.int(),
});

type KeyUse = z.infer<typeof useSchema>;

const DAY_MS = 24 * 3600 * 1000;
/** The longest time between taking a key and creating its job. An older key without a job is left over from a failure. */
const MAX_CREATION_MS = 60_000;
const MAX_USE_BYTES = 4096;
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

type KeyContext = Pick<JobsContext, 'store' | 'jobs' | 'now' | 'clock'>;

/** Remembers which job each key of a tenant created. */
export class KeyUses {
  readonly #context: KeyContext;
  readonly #uses: Records<KeyUse>;

  constructor(context: KeyContext) {
    this.#context = context;
    const kind = { schema: useSchema, maxBytes: MAX_USE_BYTES };
    this.#uses = new Records(context.store, kind, context.clock);
  }

  /**
   * Returns the id of the job that this request created before, or undefined. Throws `ServeError` (422) if the key
   * created a job from another request.
   */
  async find(tenant: string, { key, body }: RepeatedRequest): Promise<string | undefined> {
    const use = await this.#uses.read(keyOf(tenant, key));
    if (!use || this.#isOver(use) || !(await this.#hasJob(tenant, use.jobId))) return;
    if (use.body !== sha256(body)) throw isReused();
    return use.jobId;
  }

  /**
   * Takes the key for a new job and returns the job's id. Concurrent equal requests get the same id. Throws `ServeError`:
   * 422 like `find`, or 503 while another request with this key is in progress.
   */
  async take(tenant: string, { key, body }: RepeatedRequest, jobId: string): Promise<string> {
    const { now } = this.#context;
    await this.#sweep(tenant).catch(() => {}); // not worth refusing a job; the store has logged it
    const recordKey = keyOf(tenant, key);
    const mine = { jobId, body: sha256(body), usedMs: now() };
    const { value, isNew } = await this.#uses.create(recordKey, mine);
    if (isNew) return jobId;
    const use = await this.#uses.change(recordKey, async (use) => {
      if (this.#isOver(use)) return mine;
      if (use.body === mine.body) return undefined;
      if (await this.#hasJob(tenant, use.jobId)) throw isReused();
      if (now() - use.usedMs < MAX_CREATION_MS) throw isBusy();
      return mine;
    });
    return (use ?? value).jobId;
  }

  /** Removes the tenant's expired keys. */
  async #sweep(tenant: string): Promise<void> {
    const { store, now } = this.#context;
    for await (const entry of store.list(folderOf(tenant))) {
      if (entry.kind !== 'object' || now() - entry.modifiedMs <= DAY_MS) continue;
      await store.delete(entry.key);
    }
  }

  async #hasJob(tenant: string, id: string): Promise<boolean> {
    return (await this.#context.jobs.find({ tenant, id })) !== undefined;
  }

  #isOver({ usedMs }: KeyUse): boolean {
    return this.#context.now() - usedMs > DAY_MS;
  }
}

const folderOf = (tenant: string) => `${tenant}/.idempotency/`;
const keyOf = (tenant: string, key: string) => `${folderOf(tenant)}${sha256(key)}`;

function isReused(): ServeError {
  const message = 'This Idempotency-Key was used for a different request. Use a new key.';
  return new ServeError('idempotency_key_reused', message);
}

function isBusy(): ServeError {
  const message = 'Another request with this Idempotency-Key is in progress. Try again.';
  return new ServeError('overloaded', message);
}
