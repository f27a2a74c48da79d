// Small JSON objects in a store, read within bounds and against a schema: what is not as it was written is refused,
// never half believed. It knows no names and no versions.
import type { z } from 'zod';
import { ServeError } from '../../src/common/errors.ts';
import type { Logger } from '../../src/common/log.ts';
import { parseShallowJson } from '../../src/common/shallow-json.ts';
import { type Etag, type ObjectStore, StoreError } from '../store/store.ts';

export interface DocumentKind<T> {
  readonly schema: z.ZodType<T>;
  readonly maxBytes: number;
}

export interface Document<T> {
  readonly value: T;
  readonly etag: Etag;
}

export interface DocumentStore {
  readonly store: ObjectStore;
  readonly log: Pick<Logger, 'warn' | 'error'> | undefined;
}

/**
 * Undefined where there is none. `faultOf` says what is wrong with one that fits the schema.
 * Rejects with `StoreError`, or with `ServeError` (503) and a line in the log where the object is not what it must be.
 */
export async function readDocument<T>(
  { store, log }: DocumentStore,
  key: string,
  options: DocumentKind<T> & {
    readonly faultOf?: (value: T) => string | undefined;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<Document<T> | undefined> {
  const { schema, maxBytes, faultOf, signal } = options;
  const object = await store.get(key, signal ? { signal } : {});
  if (!object) return undefined;
  const bytes = await collect(object.body, maxBytes);
  const found = bytes ? parse(bytes, schema) : { fault: `is longer than ${maxBytes} bytes` };
  const fault = 'fault' in found ? found.fault : faultOf?.(found.value);
  if (fault === undefined && 'value' in found) return { value: found.value, etag: object.etag };
  log?.error({ alert: 'store_damaged', store: store.label, key, reason: fault }, 'damaged object');
  throw new ServeError('adapter_unavailable', 'What the store holds of the adapter is damaged.', {
    cause: new StoreError('invalid', `${key}: ${fault}`),
  });
}

/** Undefined also where the object is damaged, which is in the log: for those who have others beside it. */
export async function ifSound<T>(document: Promise<T | undefined>): Promise<T | undefined> {
  try {
    return await document;
  } catch (error) {
    if (error instanceof ServeError) return undefined;
    throw error;
  }
}

/** As it is put into a store: one line of JSON, for those who look with other tools. */
export function serializeDocument(value: unknown): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);
}

/** Undefined where there are more bytes; no more are read then. */
export async function collect(
  body: AsyncIterable<Uint8Array>,
  maxBytes: number,
): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = [];
  let byteSize = 0;
  for await (const chunk of body) {
    byteSize += chunk.length;
    if (byteSize > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function parse<T>(bytes: Uint8Array, schema: z.ZodType<T>): { value: T } | { fault: string } {
  let json: unknown;
  try {
    json = parseShallowJson(bytes);
  } catch (error) {
    return { fault: bytes.length === 0 ? 'is empty' : `is not JSON (${(error as Error).message})` };
  }
  const result = schema.safeParse(json);
  if (result.success) return { value: result.data };
  const { path, message } = result.error.issues[0]!;
  return { fault: `${path.join('.') || 'object'}: ${message}` };
}
