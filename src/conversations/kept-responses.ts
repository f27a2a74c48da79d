// Responses that the server keeps so that a later request can continue or read them.

import { z } from 'zod';
import type { StoreCall } from '../../adapters/store/store.ts';
import { ServeError } from '../common/errors.ts';
import { formatFileSize } from '../common/format-bytes.ts';
import { conversationItemSchema } from '../contracts/responses.ts';
import { type KeepOptions, TenantRecords } from './tenant-records.ts';

const recordSchema = z.object({
  schema: z.literal(1),
  /** Unix milliseconds. */
  expiresMs: z.int(),
  /** The items that it answered: first the items of earlier responses, then its own input. Without instructions. */
  input: z.array(conversationItemSchema),
  /** The items that the response produced, in the order of its output. */
  output: z.array(conversationItemSchema),
  /** Unix milliseconds. From then on a response that is generated in the background has failed. Absent: it has ended. */
  endsMs: z.int().optional(),
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

/** A body of 1 MiB, escaped, and a response of 2048 tokens with 20 alternatives each. */
const MAX_RECORD_BYTES = 8 * 2 ** 20;

const KIND = {
  schema: recordSchema,
  maxBytes: MAX_RECORD_BYTES,
  faultOf,
  folder: '.responses',
  id: /^resp_[0-9a-f]{32}$/,
  damaged:
    'The kept response is damaged in the store. It can only be deleted: DELETE /v1/responses/ID. Send the earlier items in input instead.',
};

/** The kept responses of all tenants. Methods throw the guarded store's errors. */
export class KeptResponses {
  readonly #records: TenantRecords<z.infer<typeof recordSchema>>;

  readonly #now: () => number;
  /** The generations in the background of this server, by tenant and id. */
  readonly #running = new Map<string, AbortController>();

  constructor(options: KeepOptions) {
    this.#records = new TenantRecords(KIND, options);
    this.#now = options.now;
  }

  /** Keeps a response. Throws `ServeError` (400) if it is too large. */
  async keep(tenant: string, id: string, kept: KeptResponse, call?: StoreCall): Promise<void> {
    await this.#records.create(tenant, id, kept, call).catch(refuseLarge);
  }

  /** Keeps a response that is generated in the background. `cancel` aborts `cancellation`. */
  async open(
    tenant: string,
    id: string,
    kept: KeptResponse & { readonly endsMs: number },
    cancellation: AbortController,
  ): Promise<void> {
    await this.keep(tenant, id, kept);
    this.#running.set(`${tenant}/${id}`, cancellation);
  }

  /** Replaces a response that was generated in the background, unless it was cancelled. Throws like `keep`. */
  async end(tenant: string, id: string, kept: KeptResponse): Promise<void> {
    this.#running.delete(`${tenant}/${id}`);
    await this.#replaceOpen(tenant, id, () => kept);
  }

  /**
   * Cancels a response in the background, if it has not ended. Returns it, or undefined if `find` would. Throws `ServeError`
   * (400) if it is not in the background. If another server generates it, that server drops it when it ends.
   */
  async cancel(tenant: string, id: string): Promise<KeptResponse | undefined> {
    const kept = await this.find(tenant, id);
    if (!kept) return undefined;
    if (!JSON.parse(kept.response).background) {
      const message = 'Only a response in the background can be cancelled.';
      throw new ServeError('invalid_request', message, { param: 'id' });
    }
    await this.#replaceOpen(tenant, id, ({ input, response }) => {
      return { input, output: [], response: withMembers(response, { status: 'cancelled' }) };
    });
    this.#stop(tenant, id);
    return this.find(tenant, id);
  }

  /** Ends a generation in the background. */
  #stop(tenant: string, id: string): void {
    this.#running.get(`${tenant}/${id}`)?.abort();
    this.#running.delete(`${tenant}/${id}`);
  }

  async #replaceOpen(
    tenant: string,
    id: string,
    toEnded: (now: KeptResponse) => KeptResponse,
  ): Promise<void> {
    const change = (now: KeptResponse) => (now.endsMs === undefined ? undefined : toEnded(now));
    await this.#records.change(tenant, id, change).catch(refuseLarge);
  }

  /** Returns a response, as `TenantRecords.find` does. */
  async find(
    tenant: string,
    id: string,
    call?: StoreCall & { readonly param?: string },
  ): Promise<KeptResponse | undefined> {
    const record = await this.#records.find(tenant, id, call);
    if (!record) return undefined;
    const { input, output, response, endsMs } = record;
    if (endsMs === undefined) return { input, output, response };
    if (endsMs > this.#now()) return { input, output, response, endsMs };
    return { input, output, response: withMembers(response, { status: 'failed', error: LOST }) };
  }

  /** Removes a response, even a damaged one, and ends its generation. Returns whether there was one. */
  async remove(tenant: string, id: string): Promise<boolean> {
    const isRemoved = await this.#records.remove(tenant, id);
    this.#stop(tenant, id);
    return isRemoved;
  }

  /** Deletes the expired responses of all tenants, and the oldest ones beyond a tenant's limits. */
  sweep(call?: StoreCall): Promise<void> {
    return this.#records.sweep(call);
  }
}

/** The error of a response whose server died while it generated it. */
const LOST = {
  code: 'server_error',
  message: 'The server stopped before the response was complete. Send the request again.',
};

function withMembers(response: string, members: object): string {
  return JSON.stringify({ ...JSON.parse(response), ...members });
}

function refuseLarge(cause: Error): never {
  if (!(cause instanceof RangeError)) throw cause;
  const message = `The response takes more than ${formatFileSize(MAX_RECORD_BYTES)}, so it is too large to be kept. Send "store": false.`;
  throw new ServeError('invalid_request', message, { param: 'store', cause });
}
