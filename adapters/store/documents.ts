// Small JSON objects in a store: read within bounds and against a schema, and changed by compare-and-swap. A damaged object is
// refused and raises an alert.

import { randomUUID } from 'node:crypto';
import type { z } from 'zod';
import { isDiskFull, ServeError } from '../../src/common/errors.ts';
import { formatFileSize } from '../../src/common/format-bytes.ts';
import { parseShallowJson } from '../../src/common/json-scan.ts';
import { type Backoff, backoffMs, type Clock, sleep } from '../../src/common/waiting.ts';
import { type GuardedStore, logStoreFault, type StoreLog } from './guarded-store.ts';
import { type Etag, isConflict, isDamage, type StoreCall, StoreError } from './store.ts';

/** The format of the documents under some keys. */
export interface DocumentKind<T> {
  readonly schema: z.ZodType<T>;
  /** Larger objects count as damaged. */
  readonly maxBytes: number;
  /** Returns why a value does not belong under its key although it fits the schema. */
  readonly faultOf?: (value: T) => string | undefined;
}

/** A document and the state of its object. */
interface StoredDocument<T> {
  readonly value: T;
  readonly etag: Etag;
}

/** A store of documents, and the log that damaged ones go to. */
export interface DocumentStore {
  readonly store: GuardedStore;
  readonly log?: StoreLog | undefined;
  /** Times the tries of a change. Default: the machine's. */
  readonly clock?: Clock | undefined;
}

/** Ten writers in lockstep need ten tries. */
const MAX_TRIES = 40;
/** Unanswered writes in one change: a store that fails three times is down. */
const MAX_UNANSWERED = 3;
const BACKOFF: Backoff = { firstMs: 10, longestMs: 640 };

/** Reads a document; undefined if there is none. Rejects with the store's error. A damaged document is also logged here. */
export async function readDocument<T>(
  documents: DocumentStore,
  key: string,
  kind: DocumentKind<T>,
  call?: StoreCall,
): Promise<StoredDocument<T> | undefined> {
  return load(documents, key, kind, call);
}

/**
 * Writes a document unless its key has one. Resolves with the document that exists afterwards, which is `value` itself if this
 * call wrote it. Rejects as `updateDocument`.
 */
export async function createDocument<T>(
  documents: DocumentStore,
  key: string,
  kind: DocumentKind<T>,
  value: T,
  call?: StoreCall,
): Promise<T> {
  return swap<T, T>({ documents, key, kind, call, isNew: true }, (now) => now ?? value);
}

/**
 * Changes a document by compare-and-swap. `change` gets the current value (undefined if there is none) and returns the next
 * one; if it returns its argument, nothing is written. It is called again after each conflict, and may then get a value that
 * already includes its effect. If the store does not answer a write, a read tells whether it succeeded. Resolves with the value
 * after the change. Rejects with the error of `change`, with the store's error, or with `ServeError` (`overloaded`) if other
 * writers always come first.
 */
export async function updateDocument<T, Next extends T | undefined>(
  documents: DocumentStore,
  key: string,
  kind: DocumentKind<T>,
  change: (now: T | undefined) => Next | Promise<Next>,
  call?: StoreCall,
): Promise<Next> {
  return swap({ documents, key, kind, call, isNew: false }, change);
}

interface Swap<T> {
  readonly documents: DocumentStore;
  readonly key: string;
  readonly kind: DocumentKind<T>;
  readonly call: StoreCall | undefined;
  /** The document probably does not exist, so the first try does not read. */
  readonly isNew: boolean;
}

async function swap<T, Next extends T | undefined>(
  { documents, key, kind, call, isNew }: Swap<T>,
  change: (now: T | undefined) => Next | Promise<Next>,
): Promise<Next> {
  let last: { readonly value: Next; readonly bytes: Uint8Array } | undefined;
  let unanswered = 0;
  for (let attempt = 1; attempt <= MAX_TRIES; attempt++) {
    if (attempt > 1) await waitForTurn(attempt, documents, call);
    const document = isNew && !last ? undefined : await load(documents, key, kind, call);
    if (document && last && Buffer.compare(document.bytes, last.bytes) === 0) return last.value;
    const value = await change(document?.value);
    if (value === document?.value) return value;
    const bytes = serializeDocument(value);
    if (bytes.length > kind.maxBytes) throw new RangeError(`${key} is too large to be read again`);
    last = { value, bytes };
    const condition = document ? { ifMatch: document.etag } : { ifAbsent: true as const };
    try {
      await documents.store.put(key, bytes, { ...condition, ...call });
      return value;
    } catch (error) {
      const isRetryable =
        isConflict(error) || (isUnanswered(error) && ++unanswered < MAX_UNANSWERED);
      if (!isRetryable) throw error;
    }
  }
  throw new ServeError(
    'overloaded',
    'Others are changing the same object at the same time. Try again.',
  );
}

/** Waits before a further try. */
function waitForTurn(attempt: number, { clock }: DocumentStore, call: StoreCall = {}) {
  const delayMs = backoffMs(attempt - 1, BACKOFF, clock?.random);
  return sleep(delayMs, { ...call, ...(clock && { clock }) });
}

/** Whether a failed write may have succeeded after all. A full disk has written nothing. */
function isUnanswered(error: unknown): boolean {
  const { cause } = error as Error;
  return cause instanceof StoreError && cause.kind === 'unavailable' && !isDiskFull(cause);
}

async function load<T>(
  { store, log }: DocumentStore,
  key: string,
  { schema, maxBytes, faultOf }: DocumentKind<T>,
  call: StoreCall | undefined,
): Promise<(StoredDocument<T> & { readonly bytes: Uint8Array }) | undefined> {
  const object = await store.get(key, call);
  if (!object) return undefined;
  const bytes = await readBody(object.body, maxBytes);
  const parsed = bytes
    ? parse(bytes, schema)
    : { fault: `is larger than ${formatFileSize(maxBytes)}` };
  const fault = 'fault' in parsed ? parsed.fault : faultOf?.(parsed.value);
  if (bytes && 'value' in parsed && fault === undefined) {
    return { value: parsed.value, etag: object.etag, bytes };
  }
  logStoreFault(log, 'damaged', { store: store.label, key, reason: fault }, 'damaged object');
  throw store.refuse(new StoreError('damaged', `${key}: ${fault}`));
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

/** Resolves with undefined if the document or record is damaged, for callers that can do without it. */
export async function ifSound<T>(document: Promise<T | undefined>): Promise<T | undefined> {
  try {
    return await document;
  } catch (error) {
    if (isDamage(error as Error)) return undefined;
    throw error;
  }
}

/** Returns the bytes of a document: indented JSON, readable with other tools. */
export function serializeDocument(value: unknown): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);
}

/** Reads a whole body; undefined if it is longer than `maxBytes`. The rest is not read then. */
export async function readBody(
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

// Records in a guarded store: JSON objects that change by compare-and-swap, with errors that clients may see.

/** Records of one kind. Methods throw the store's errors, and an error for a damaged record. */
export class Records<T extends object> {
  readonly #documents: DocumentStore;
  readonly #kind: DocumentKind<T>;

  /** @param clock default: the machine's */
  constructor(store: GuardedStore, kind: DocumentKind<T>, clock?: Clock) {
    this.#documents = { store, clock };
    this.#kind = kind;
  }

  /** Returns undefined if there is no record. */
  async read(key: string, call?: StoreCall): Promise<T | undefined> {
    return (await readDocument(this.#documents, key, this.#kind, call))?.value;
  }

  /** Creates a record. Returns the record under this key afterwards: the new one, or an earlier one. */
  async create(
    key: string,
    value: T,
    call?: StoreCall,
  ): Promise<{ readonly value: T; readonly isNew: boolean }> {
    const record = marked(value);
    const after = await createDocument(this.#documents, key, this.#kind, record, call);
    const isNew = after === record;
    return { value: isNew ? value : after, isNew };
  }

  /**
   * Applies a change to the newest state, again after each conflict. A change that returns undefined leaves the record as
   * it is. Returns the state afterwards, or undefined if there is no record. Throws what the change throws.
   */
  async change(
    key: string,
    change: (now: T) => T | undefined | Promise<T | undefined>,
    call?: StoreCall,
  ): Promise<T | undefined> {
    let after: T | undefined;
    const next = async (now: T | undefined) => {
      const changed = now && (await change(now));
      after = changed ?? now;
      return changed ? marked(changed) : now;
    };
    await updateDocument(this.#documents, key, this.#kind, next, call);
    return after;
  }
}

/** Adds a unique mark, which tells a write whose response was lost from an equal one by another writer. */
function marked<T extends object>(value: T): T {
  return { ...value, mark: randomUUID() };
}
