// Conversations that the server keeps: their items, which responses and clients add to.

import { randomUUID } from 'node:crypto';
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
  createdMs: z.int(),
  metadata: z.record(z.string(), z.string()),
  items: z.array(z.object({ id: z.string(), item: conversationItemSchema })),
});

/** A conversation, oldest item first. */
export type Conversation = Omit<z.infer<typeof recordSchema>, 'schema' | 'expiresMs'>;

/** An item of a conversation with its id. */
export type StoredItem = Conversation['items'][number];

/** More text than fits any context that is served. Each response reads it whole. */
const MAX_RECORD_BYTES = 8 * 2 ** 20;

const KIND = {
  schema: recordSchema,
  maxBytes: MAX_RECORD_BYTES,
  folder: '.conversations',
  id: /^conv_[0-9a-f]{32}$/,
  damaged:
    'The conversation is damaged in the store. It can only be deleted: DELETE /v1/conversations/ID.',
};

/** The conversations of all tenants. Methods throw the guarded store's errors, and `ServeError` (400) if one gets too large. */
export class Conversations {
  readonly #records: TenantRecords<z.infer<typeof recordSchema>>;
  readonly #now: () => number;

  constructor(options: KeepOptions) {
    this.#records = new TenantRecords(KIND, options);
    this.#now = options.now;
  }

  /** Creates a conversation. Returns it with its id. */
  async create(
    tenant: string,
    given: Pick<Conversation, 'metadata' | 'items'>,
  ): Promise<Conversation & { readonly id: string }> {
    const id = `conv_${randomUUID().replaceAll('-', '')}`;
    const conversation = { createdMs: this.#now(), ...given };
    await this.#records.create(tenant, id, conversation).catch(refuseLarge);
    return { id, ...conversation };
  }

  /** Returns a conversation, as `TenantRecords.find` does. */
  find(
    tenant: string,
    id: string,
    call?: StoreCall & { readonly param?: string },
  ): Promise<Conversation | undefined> {
    return this.#records.find(tenant, id, call);
  }

  /** Changes a conversation, as `TenantRecords.change` does. */
  change(
    tenant: string,
    id: string,
    change: (now: Conversation) => Conversation | undefined,
    call?: StoreCall & { readonly param?: string },
  ): Promise<Conversation | undefined> {
    return this.#records.change(tenant, id, change, call).catch(refuseLarge);
  }

  /** Removes a conversation, even a damaged one. Returns whether there was one. */
  remove(tenant: string, id: string): Promise<boolean> {
    return this.#records.remove(tenant, id);
  }

  /** Deletes the expired conversations of all tenants, and the oldest ones beyond a tenant's limits. */
  sweep(call?: StoreCall): Promise<void> {
    return this.#records.sweep(call);
  }
}

function refuseLarge(cause: Error): never {
  if (!(cause instanceof RangeError)) throw cause;
  const message = `The conversation would take more than ${formatFileSize(MAX_RECORD_BYTES)}. Start a new one.`;
  throw new ServeError('invalid_request', message, { param: 'conversation', cause });
}
