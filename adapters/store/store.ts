// An object store as publication needs it: whole objects under string keys, written on a condition, listed by prefix.
// Drivers: memory, fs, s3; one conformance suite holds them to this file. It knows no adapters and no tenants.

/** Changes whenever the object does; compare for equality only. */
export type Etag = string;

export interface ObjectInfo {
  readonly key: string;
  readonly byteSize: number;
  readonly etag: Etag;
  /** Unix milliseconds, by the store's clock. */
  readonly modifiedMs: number;
}

/** What a put knows of the object: when the store dates it, only a read tells. */
export type WrittenObject = Omit<ObjectInfo, 'modifiedMs'>;

export interface StoredObject extends ObjectInfo {
  /**
   * Once; rejects with `StoreError`. Ending the iteration early frees the connection or file; whoever has no use for
   * the body leaves a loop over it at once.
   */
  readonly body: AsyncIterable<Uint8Array>;
}

/** At most one of them. */
export interface PutCondition {
  /** Only where there is no object of this key. */
  readonly ifAbsent?: true;
  /** Only where the object is still this one. */
  readonly ifMatch?: Etag;
}

export interface StoreCall {
  /** Ends the call; it rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

export interface PutOptions extends PutCondition, StoreCall {
  /** Bytes that arrived so far, of a source that goes in several parts. */
  readonly onProgress?: (sentBytes: number) => void;
}

/** What is put: bytes in memory, or a local file that nobody changes meanwhile. */
export type PutSource = Uint8Array | { readonly file: string };

export interface ListOptions extends StoreCall {
  /** Stops at this separator after the prefix: what is beyond it is given as a `folder`. */
  readonly delimiter?: '/';
  /** Entries whose key is after this one only: the key of the last entry of a list continues it. */
  readonly after?: string;
}

export type ListEntry =
  | ({ readonly kind: 'object' } & ObjectInfo)
  /** A common prefix, its delimiter included. */
  | { readonly kind: 'folder'; readonly key: string };

/**
 * Every call rejects with `StoreError` and nothing else but a signal's reason. What was put is read by the next call.
 * Keys are segments of `[A-Za-z0-9._-]` joined by `/`; no segment is `.` or `..` or longer than 255, no key longer than
 * 1024. A key is not also the folder of another one: stores on a file system refuse that as `invalid`.
 */
export interface ObjectStore {
  /** For people: `memory`, a folder, `s3://bucket/prefix`. Never a credential. */
  readonly label: string;
  /** Undefined where there is no such object. */
  get(key: string, call?: StoreCall): Promise<StoredObject | undefined>;
  head(key: string, call?: StoreCall): Promise<ObjectInfo | undefined>;
  /** Whole or not at all. Rejects with kind `conflict` where the condition does not hold. */
  put(key: string, source: PutSource, options?: PutOptions): Promise<WrittenObject>;
  /** Without effect where there is no such object. */
  delete(key: string, call?: StoreCall): Promise<void>;
  /** In the order of keys by UTF-8 bytes, all pages. */
  list(prefix: string, options?: ListOptions): AsyncIterable<ListEntry>;
}

export type StoreErrorKind =
  /**
   * The condition of a `put` does not hold (412), or somebody else writes at this moment (409): read again. What is
   * found may be one's own: a driver sends again where an answer was lost.
   */
  | 'conflict'
  /** The credentials are refused: trying again cannot help until somebody acts. */
  | 'denied'
  /** The network, the disk or the service failed; it may work later. */
  | 'unavailable'
  /** The object is there, and it is not what this program writes under its key. */
  | 'damaged'
  /** The bucket or folder is not there, a key is malformed, or the service cannot do it: a mistake of ours or a setting. */
  | 'invalid';

export class StoreError extends Error {
  override name = 'StoreError';
  readonly kind: StoreErrorKind;

  constructor(kind: StoreErrorKind, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.kind = kind;
  }
}
