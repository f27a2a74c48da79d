// `Idempotency-Key`: a request that is repeated within a day leads to the job that the first one made. Only a job that
// exists counts: a request that failed leaves its key free.
import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { ServeError } from '../common/errors.ts';
import { Records } from './records.ts';

export interface RepeatedRequest {
  /** As the client has chosen it. */
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

type Use = z.infer<typeof useSchema>;

const DAY_MS = 24 * 3600 * 1000;
/** From taking a key to its job: a key without a job that is older was left by a creation that failed. */
const MAX_CREATION_MS = 60_000;
const MAX_USE_BYTES = 4096;
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

export interface KeyUsesOptions {
  /** Guarded. */
  readonly store: ObjectStore;
  readonly hasJob: (tenant: string, jobId: string) => Promise<boolean>;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** Which job each key of a tenant made. */
export class KeyUses {
  readonly #options: KeyUsesOptions;
  readonly #uses: Records<Use>;

  constructor(options: KeyUsesOptions) {
    this.#options = options;
    this.#uses = new Records(options.store, { schema: useSchema, maxBytes: MAX_USE_BYTES });
  }

  /**
   * Returns the id of the job that this request made before; undefined if there is none. Throws `ServeError` (422) if
   * the key made a job from another request.
   */
  async find(tenant: string, { key, body }: RepeatedRequest): Promise<string | undefined> {
    const use = (await this.#uses.read(keyOf(tenant, key)))?.value;
    if (!use || this.#isOver(use) || !(await this.#options.hasJob(tenant, use.jobId))) return;
    if (use.body !== sha256(body)) throw isReused();
    return use.jobId;
  }

  /**
   * Takes the key for a job that is about to be created. Returns the id to create it under: of requests that are equal
   * and come at the same time, all get the same one. Throws `ServeError`: 422 as `find`, 503 while another request with
   * this key is being answered.
   */
  async take(tenant: string, { key, body }: RepeatedRequest, jobId: string): Promise<string> {
    const { hasJob, now } = this.#options;
    await this.#sweep(tenant).catch(() => {}); // no reason to refuse a job; the store has logged it
    const place = keyOf(tenant, key);
    const mine = { jobId, body: sha256(body), usedMs: now() };
    const { value, isNew } = await this.#uses.create(place, mine);
    if (isNew) return jobId;
    const use = await this.#uses.change(place, async (use) => {
      if (this.#isOver(use)) return mine;
      if (use.body === mine.body) return undefined;
      if (await hasJob(tenant, use.jobId)) throw isReused();
      if (now() - use.usedMs < MAX_CREATION_MS) throw isBusy();
      return mine;
    });
    return (use ?? value).jobId;
  }

  /** Removes the tenant's keys that have expired: each key that is taken pays for those before it. */
  async #sweep(tenant: string): Promise<void> {
    const { store, now } = this.#options;
    for await (const entry of store.list(folderOf(tenant))) {
      if (entry.kind !== 'object' || now() - entry.modifiedMs <= DAY_MS) continue;
      await store.delete(entry.key);
    }
  }

  #isOver({ usedMs }: Use): boolean {
    return this.#options.now() - usedMs > DAY_MS;
  }
}

const folderOf = (tenant: string) => `${tenant}/.idempotency/`;
const keyOf = (tenant: string, key: string) => `${folderOf(tenant)}${sha256(key)}`;

function isReused(): ServeError {
  const message = 'This Idempotency-Key was used for another request.';
  return new ServeError('idempotency_key_reused', message);
}

function isBusy(): ServeError {
  const message = 'Another request with this Idempotency-Key is being answered. Try again.';
  return new ServeError('overloaded', message);
}
