// Responses that the server keeps so that a later request can continue or read them: one object each, under the tenant's
// prefix. An expired response counts as unknown, and the next sweep deletes its object.

import { z } from 'zod';
import { Records } from '../../adapters/store/documents.ts';
import type { GuardedStore } from '../../adapters/store/guarded-store.ts';
import { isDamage, type ObjectInfo, type StoreCall } from '../../adapters/store/store.ts';
import { ServeError } from '../common/errors.ts';
import { formatFileSize } from '../common/format-bytes.ts';
import { conversationItemSchema } from '../contracts/responses.ts';

const recordSchema = z.object({
  schema: z.literal(1),
  /** Unix milliseconds. */
  expiresMs: z.int(),
  /** The items that it answered: first the items of earlier responses, then its own input. Without instructions. */
  input: z.array(conversationItemSchema),
  /** The items that the response produced, in the order of its output. */
  output: z.array(conversationItemSchema),
  /** The response as JSON text, because its schemas may be nested deeper than stored documents are read. */
  response: z.string(),
});

/** The part of a response that later requests need. */
const answerSchema = z.object({ output: z.array(z.object({ id: z.string() })) });

function faultOf({ response, output }: z.infer<typeof recordSchema>): string | undefined {
  try {
    const answer = answerSchema.parse(JSON.parse(response));
    return answer.output.length < output.length ? 'response: lacks items' : undefined;
  } catch {
    return 'response: is not an answer';
  }
}

/** A response and the items before it. */
export type KeptResponse = Omit<z.infer<typeof recordSchema>, 'schema' | 'expiresMs'>;

/** The retention and the limits of kept responses. */
export interface KeptResponsesOptions {
  readonly store: GuardedStore;
  /** How long a response is kept. */
  readonly keepMs: number;
  /** Returns Unix milliseconds. */
  readonly now: () => number;
  /** The most bytes of one tenant's responses. Beyond it, a sweep deletes the oldest ones. */
  readonly maxBytes: number;
  /** The most responses of one tenant, with the same effect. */
  readonly maxPerTenant?: number;
}

/** Ids are parts of keys. */
const RESPONSE_ID = /^resp_[0-9a-f]{32}$/;
/** A body of 1 MiB, escaped, and a response of 2048 tokens with 20 alternatives each. */
const MAX_RECORD_BYTES = 8 * 2 ** 20;
/** Keeps a tenant from filling the store: 10,000 short conversations take about 50 MB. */
const MAX_PER_TENANT = 10_000;
/** Between two sweeps, a server adds at most this part of a tenant's limits, or `MAX_RECORD_BYTES`. */
const SWEEP_AFTER = 0.1;

const prefixOf = (tenant: string) => `${tenant}/.responses/`;

/** The kept responses of all tenants. Methods throw the guarded store's errors. */
export class KeptResponses {
  readonly #options: KeptResponsesOptions;
  readonly #records: Records<z.infer<typeof recordSchema>>;
  /** The responses that this server has kept since the tenant's last sweep. */
  readonly #sinceSweep = new Map<string, { count: number; bytes: number }>();

  constructor(options: KeptResponsesOptions) {
    this.#options = options;
    const kind = { schema: recordSchema, maxBytes: MAX_RECORD_BYTES, faultOf };
    this.#records = new Records(options.store, kind);
  }

  /** Keeps a response. Throws `ServeError` (400) if it is too large. */
  async keep(tenant: string, id: string, kept: KeptResponse, call?: StoreCall): Promise<void> {
    const { now, keepMs, maxBytes, maxPerTenant = MAX_PER_TENANT } = this.#options;
    const record = { schema: 1 as const, expiresMs: now() + keepMs, ...kept };
    try {
      await this.#records.create(`${prefixOf(tenant)}${id}`, record, call);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      const message = `The response takes more than ${formatFileSize(MAX_RECORD_BYTES)}, so it is too large to be kept. Send "store": false.`;
      throw new ServeError('invalid_request', message, { param: 'store', cause: error });
    }
    const since = this.#sinceSweep.get(tenant) ?? { count: 0, bytes: 0 };
    since.count++;
    since.bytes += Buffer.byteLength(JSON.stringify(kept));
    this.#sinceSweep.set(tenant, since);
    const isDue =
      since.count >= SWEEP_AFTER * maxPerTenant ||
      since.bytes >= Math.max(SWEEP_AFTER * maxBytes, MAX_RECORD_BYTES);
    if (isDue) await this.#sweepTenant(tenant, call);
  }

  /**
   * Returns a response, or undefined if it is unknown, expired or another tenant's. If it is damaged, throws a `ServeError`
   * (`object_damaged`) that names the request's field `param`.
   */
  async find(
    tenant: string,
    id: string,
    { param = 'id', ...call }: StoreCall & { readonly param?: string } = {},
  ): Promise<KeptResponse | undefined> {
    if (!RESPONSE_ID.test(id)) return undefined;
    const reading = this.#records.read(`${prefixOf(tenant)}${id}`, call);
    const record = await reading.catch((cause: unknown) => {
      if (!isDamage(cause as Error)) throw cause;
      const message =
        'The kept response is damaged in the store. It can only be deleted: DELETE /v1/responses/ID. Send the earlier items in input instead.';
      throw new ServeError('object_damaged', message, { param, cause });
    });
    if (!record || record.expiresMs <= this.#options.now()) return undefined;
    const { input, output, response } = record;
    return { input, output, response };
  }

  /** Removes a response, even a damaged one. Returns whether there was one. */
  async remove(tenant: string, id: string): Promise<boolean> {
    const lookup = this.find(tenant, id).catch((error: unknown) => {
      if (error instanceof ServeError && error.code === 'object_damaged') return 'damaged';
      throw error;
    });
    if (!(await lookup)) return false;
    await this.#options.store.delete(`${prefixOf(tenant)}${id}`);
    return true;
  }

  /** Deletes the expired responses of all tenants, and the oldest ones beyond a tenant's limits. */
  async sweep(call?: StoreCall): Promise<void> {
    for await (const entry of this.#options.store.list('', { ...call, delimiter: '/' })) {
      if (entry.kind === 'folder') await this.#sweepTenant(entry.key.slice(0, -1), call);
    }
  }

  async #sweepTenant(tenant: string, call?: StoreCall): Promise<void> {
    const { store, keepMs, now, maxBytes, maxPerTenant = MAX_PER_TENANT } = this.#options;
    this.#sinceSweep.delete(tenant);
    const objects: ObjectInfo[] = [];
    for await (const entry of store.list(prefixOf(tenant), call)) {
      if (entry.kind === 'object') objects.push(entry);
    }
    objects.sort((a, b) => b.modifiedMs - a.modifiedMs);
    const oldestMs = now() - keepMs;
    let bytes = 0;
    const isOver = ({ modifiedMs, byteSize }: ObjectInfo, i: number) => {
      bytes += byteSize;
      return i >= maxPerTenant || bytes > maxBytes || modifiedMs <= oldestMs;
    };
    for (const { key } of objects.filter(isOver)) await store.delete(key, call);
  }
}
