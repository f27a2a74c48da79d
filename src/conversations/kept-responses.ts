// Responses that the server keeps, so a later request can continue or read them: one object each, under the tenant's
// prefix. An expired one is unknown at once, and its object is deleted by the next sweep. Knows no HTTP.

import { z } from 'zod';
import { type Marked, Records } from '../../adapters/store/documents.ts';
import type { GuardedStore } from '../../adapters/store/guarded-store.ts';
import type { StoreCall } from '../../adapters/store/store.ts';
import { ServeError } from '../common/errors.ts';
import { conversationItemSchema } from '../contracts/responses.ts';

const recordSchema = z.object({
  schema: z.literal(1),
  mark: z.string(),
  /** Unix milliseconds. */
  expiresMs: z.int(),
  /** The items that it answered: those of earlier responses, then its own. Without instructions. */
  input: z.array(conversationItemSchema),
  /** The response's own items, in the order of its output. */
  output: z.array(conversationItemSchema),
  /** The answer as JSON text. Schemas in it may be nested deeper than documents are read. */
  response: z.string(),
});

/** A response and the items before it. */
export type KeptResponse = Omit<z.infer<typeof recordSchema>, 'schema' | 'mark' | 'expiresMs'>;

/** Settings of `KeptResponses`. */
export interface KeptResponsesOptions {
  readonly store: GuardedStore;
  /** How long a response is kept. */
  readonly keepMs: number;
  /** Returns Unix milliseconds. */
  readonly now: () => number;
  /** Responses of one tenant; a sweep deletes older ones. */
  readonly maxPerTenant?: number;
}

/** Ids are parts of keys. */
const RESPONSE_ID = /^resp_[0-9a-f]{32}$/;
/** A body of 1 MiB, escaped, and an answer of 2048 tokens with 20 alternatives each. */
const MAX_RECORD_BYTES = 8 * 2 ** 20;
/** A tenant must not fill the store: 10,000 short conversations are some 50 MB. */
const MAX_PER_TENANT = 10_000;
/** Between two sweeps a server adds at most this many responses to a tenant's limit. */
const SWEEP_AFTER = 1000;

const prefixOf = (tenant: string) => `${tenant}/.responses/`;

/** The kept responses of all tenants. Methods throw the guarded store's errors. */
export class KeptResponses {
  readonly #options: KeptResponsesOptions;
  readonly #records: Records<z.infer<typeof recordSchema> & Marked>;
  /** Responses that this server kept since the tenant's last sweep. */
  readonly #sinceSweep = new Map<string, number>();

  constructor(options: KeptResponsesOptions) {
    this.#options = options;
    const kind = { schema: recordSchema, maxBytes: MAX_RECORD_BYTES };
    this.#records = new Records(options.store, kind);
  }

  /** Keeps a response. Throws `ServeError` (400) if it is too large. */
  async keep(tenant: string, id: string, kept: KeptResponse, call?: StoreCall): Promise<void> {
    const { now, keepMs } = this.#options;
    const record = { schema: 1 as const, expiresMs: now() + keepMs, ...kept };
    try {
      await this.#records.create(`${prefixOf(tenant)}${id}`, record, call);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      const message = 'The response is too large to be kept. Send "store": false.';
      throw new ServeError('invalid_request', message, { param: 'store', cause: error });
    }
    const count = (this.#sinceSweep.get(tenant) ?? 0) + 1;
    this.#sinceSweep.set(tenant, count);
    if (count >= SWEEP_AFTER) await this.#sweepTenant(tenant, call);
  }

  /** Returns undefined if the response is unknown, expired or another tenant's. */
  async find(tenant: string, id: string, call?: StoreCall): Promise<KeptResponse | undefined> {
    if (!RESPONSE_ID.test(id)) return undefined;
    const record = await this.#records.read(`${prefixOf(tenant)}${id}`, call);
    if (!record || record.expiresMs <= this.#options.now()) return undefined;
    const { input, output, response } = record;
    return { input, output, response };
  }

  /** Removes a response. Returns whether there was one. */
  async remove(tenant: string, id: string): Promise<boolean> {
    if (!(await this.find(tenant, id))) return false;
    await this.#options.store.delete(`${prefixOf(tenant)}${id}`);
    return true;
  }

  /** Deletes the expired responses of all tenants, and the oldest ones beyond a tenant's limit. */
  async sweep(call?: StoreCall): Promise<void> {
    for await (const entry of this.#options.store.list('', { ...call, delimiter: '/' })) {
      if (entry.kind === 'folder') await this.#sweepTenant(entry.key.slice(0, -1), call);
    }
  }

  async #sweepTenant(tenant: string, call?: StoreCall): Promise<void> {
    const { store, keepMs, now, maxPerTenant = MAX_PER_TENANT } = this.#options;
    this.#sinceSweep.delete(tenant);
    const kept: { key: string; modifiedMs: number }[] = [];
    for await (const entry of store.list(prefixOf(tenant), call)) {
      if (entry.kind === 'object') kept.push(entry);
    }
    kept.sort((a, b) => b.modifiedMs - a.modifiedMs);
    const oldestMs = now() - keepMs;
    const isOver = ({ modifiedMs }: { modifiedMs: number }, i: number) =>
      i >= maxPerTenant || modifiedMs <= oldestMs;
    for (const { key } of kept.filter(isOver)) await store.delete(key, call);
  }
}
