// The contract of an object store: whole objects under string keys, conditional writes, lists by prefix. Its drivers (memory,
// folder, S3) pass one conformance suite. Keys and contents are opaque here.
import { toPrintable } from '../../src/common/errors.ts';

/** Identifies an object's state. Compare it for equality only. */
export type Etag = string;

/** An object without its content. */
export interface ObjectInfo {
  readonly key: string;
  readonly byteSize: number;
  readonly etag: Etag;
  /** Last write, in Unix milliseconds by the store's clock. */
  readonly modifiedMs: number;
}

/** An object that was just written. Only a later read returns its time. */
export type WrittenObject = Omit<ObjectInfo, 'modifiedMs'>;

/** An object and its content. */
export interface StoredObject extends ObjectInfo {
  /**
   * Can be read once. Rejects with `StoreError`. Leaving the loop early frees the connection or file, so a caller that
   * does not need the body must start the loop and leave it.
   */
  readonly body: AsyncIterable<Uint8Array>;
}

/** The condition of a write, at most one of them. */
export interface PutCondition {
  /** Writes only if the key has no object. */
  readonly ifAbsent?: true;
  /** Writes only if the object is still in this state. */
  readonly ifMatch?: Etag;
}

/** The options of every call. */
export interface StoreCall {
  /** Ends the call, which rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** The options of a write. */
export interface PutOptions extends PutCondition, StoreCall {
  /** Called with the bytes sent so far, if the source is sent in several parts. */
  readonly onProgress?: (sentBytes: number) => void;
}

/** Bytes in memory, or a local file that nobody changes during the write. */
export type PutSource = Uint8Array | { readonly file: string };

/** Groups a list, or continues one. */
export interface ListOptions extends StoreCall {
  /** Groups keys that contain this separator after the prefix: they are listed as one `folder`. */
  readonly delimiter?: '/';
  /** Lists only keys after this one. Pass the last key of a list to continue it. */
  readonly after?: string;
}

/** An object, or a folder of objects. */
export type ListEntry =
  | ({ readonly kind: 'object' } & ObjectInfo)
  /** A common prefix, including its delimiter. */
  | { readonly kind: 'folder'; readonly key: string };

/**
 * An object store. Calls reject with `StoreError` or with the signal's reason. A write is visible to the next call. Keys are
 * segments of `[A-Za-z0-9._-]` joined by `/`. A segment is not `.` or `..` and has at most 255 characters; a key has at
 * most 1024. A key must not be the folder of another key: file systems refuse that as `invalid`.
 */
export interface ObjectStore {
  /** A human-readable name: `memory`, a folder, `s3://bucket/prefix`. Never contains a credential. */
  readonly label: string;
  /** Opens an object; undefined if there is none. */
  get(key: string, call?: StoreCall): Promise<StoredObject | undefined>;
  /** Describes an object; undefined if there is none. */
  head(key: string, call?: StoreCall): Promise<ObjectInfo | undefined>;
  /** Writes an object whole or not at all. Rejects with kind `conflict` if the condition does not hold. */
  put(key: string, source: PutSource, options?: PutOptions): Promise<WrittenObject>;
  /** Deletes an object, if it exists. */
  delete(key: string, call?: StoreCall): Promise<void>;
  /** Lists all keys with this prefix, ordered by their bytes. */
  list(prefix: string, options?: ListOptions): AsyncIterable<ListEntry>;
}

/** Why a call failed. */
export type StoreErrorKind =
  /**
   * The condition of a `put` does not hold (412), or another writer is active (409). Read again. The existing object may be the
   * caller's own: a driver repeats a write if the response was lost.
   */
  | 'conflict'
  /** The store refuses the credentials. Trying again does not help. */
  | 'denied'
  /** The network, the disk or the service failed. It may work later. */
  | 'unavailable'
  /** The object is not a document that lorikeet writes under its key. */
  | 'damaged'
  /** The bucket or folder does not exist, a key is malformed, or the service cannot do it: a wrong setting or our bug. */
  | 'invalid';

/** A store's failure. */
export class StoreError extends Error {
  override name = 'StoreError';
  readonly kind: StoreErrorKind;

  constructor(kind: StoreErrorKind, message: string, options?: { cause?: unknown }) {
    super(toPrintable(message), options);
    this.kind = kind;
  }
}

/** Whether the store contains an object that is not what was written. */
export function isDamage({ cause }: { readonly cause?: unknown }): boolean {
  return cause instanceof StoreError && cause.kind === 'damaged';
}

/** Whether the condition of a write did not hold. */
export function isConflict(error: unknown): boolean {
  return error instanceof StoreError && error.kind === 'conflict';
}

/** Lists the names of the folders directly below a prefix, as far as they match the pattern. */
export async function listFolders(
  store: ObjectStore,
  prefix: string,
  pattern: RegExp,
  call?: StoreCall,
): Promise<string[]> {
  const names: string[] = [];
  for await (const { kind, key } of store.list(prefix, { ...call, delimiter: '/' })) {
    const name = key.slice(prefix.length, -1);
    if (kind === 'folder' && pattern.test(name)) names.push(name);
  }
  return names;
}

const SEGMENT = /^[A-Za-z0-9._-]+$/;
/** S3's limit. */
const MAX_KEY_BYTES = 1024;
/** File systems' limit for a file's name. */
const MAX_SEGMENT_BYTES = 255;

/** Throws `StoreError` of kind `invalid` if the key is malformed. */
export function checkKey(key: string): void {
  if (!key.split('/').every(isSegment)) throw malformed('key', key);
  if (key.length > MAX_KEY_BYTES) throw malformed('key', key);
}

/** Throws `StoreError` of kind `invalid` if no key can start like this. */
export function checkPrefix(prefix: string): void {
  const segments = prefix.split('/');
  const begun = segments.pop()!;
  const isBegun = begun === '' || (SEGMENT.test(begun) && begun.length <= MAX_SEGMENT_BYTES);
  if (!isBegun || !segments.every(isSegment)) throw malformed('prefix', prefix);
  if (prefix.length > MAX_KEY_BYTES) throw malformed('prefix', prefix);
}

/** Whether a text is valid between two slashes of a key. */
export function isSegment(text: string): boolean {
  const isDots = text === '.' || text === '..';
  return SEGMENT.test(text) && !isDots && text.length <= MAX_SEGMENT_BYTES;
}

/** Compares keys by their bytes. They are ASCII, so code units are bytes. */
export function compareKeys(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

/** Quotes only the start of the key, which may contain anything. */
function malformed(what: string, text: string): StoreError {
  return new StoreError('invalid', `malformed ${what}: ${JSON.stringify(text.slice(0, 80))}`);
}
