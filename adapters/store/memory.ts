// A store in this process's memory, for tests and for trying things out. It is the plain twin of the other drivers.
import { assert } from '../../src/common/assert.ts';
import { readSource } from './fs-folders.ts';
import {
  checkKey,
  checkPrefix,
  compareKeys,
  type ListEntry,
  type ListOptions,
  type ObjectInfo,
  type ObjectStore,
  type PutCondition,
  type PutSource,
  type StoreCall,
  type StoredObject,
  StoreError,
  type WrittenObject,
} from './store.ts';

/** Small enough that readers of large objects alternate. */
const CHUNK_BYTES = 64 * 2 ** 10;

interface MemoryObject {
  readonly info: ObjectInfo;
  readonly bytes: Uint8Array;
}

/** Creates an empty store, which ends with the process. @param now Unix milliseconds */
export function createMemoryStore({ now = Date.now }: { now?: () => number } = {}): ObjectStore {
  return new MemoryStore(now);
}

class MemoryStore implements ObjectStore {
  readonly label = 'memory';
  readonly #objects = new Map<string, MemoryObject>();
  readonly #now: () => number;
  #puts = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  async get(key: string, { signal }: StoreCall = {}): Promise<StoredObject | undefined> {
    const held = this.#find(key, signal);
    return held && { ...held.info, body: chunksOf(held.bytes, signal) };
  }

  async head(key: string, { signal }: StoreCall = {}): Promise<ObjectInfo | undefined> {
    return this.#find(key, signal)?.info;
  }

  async put(
    key: string,
    source: PutSource,
    { signal, ifAbsent, ifMatch }: PutCondition & StoreCall = {},
  ): Promise<WrittenObject> {
    assert(!ifAbsent || ifMatch === undefined, 'a put has one condition');
    checkKey(key);
    signal?.throwIfAborted();
    const bytes = (await readSource(source, signal)).slice();
    // Nothing awaits from here on, so the condition still holds when the object is replaced.
    const current = this.#objects.get(key)?.info.etag;
    const holds = ifAbsent ? current === undefined : ifMatch === undefined || ifMatch === current;
    if (!holds) throw new StoreError('conflict', `${key} was changed by another writer`);
    this.#puts += 1;
    const written = { key, byteSize: bytes.byteLength, etag: String(this.#puts) };
    this.#objects.set(key, { info: { ...written, modifiedMs: this.#now() }, bytes });
    return written;
  }

  async delete(key: string, { signal }: StoreCall = {}): Promise<void> {
    checkKey(key);
    signal?.throwIfAborted();
    this.#objects.delete(key);
  }

  async *list(
    prefix: string,
    { signal, delimiter, after = '' }: ListOptions = {},
  ): AsyncIterable<ListEntry> {
    checkPrefix(prefix);
    const keys = [...this.#objects.keys()].filter((key) => key.startsWith(prefix));
    let lastFolder: string | undefined;
    for (const key of keys.sort(compareKeys)) {
      signal?.throwIfAborted();
      const end = delimiter ? key.indexOf(delimiter, prefix.length) : -1;
      const folder = end < 0 ? undefined : key.slice(0, end + 1);
      const info = this.#objects.get(key)?.info;
      if (folder === undefined) {
        if (info && key > after) yield { kind: 'object', ...info };
      } else if (folder !== lastFolder && folder > after) {
        lastFolder = folder;
        yield { kind: 'folder', key: folder };
      }
    }
  }

  #find(key: string, signal: AbortSignal | undefined): MemoryObject | undefined {
    checkKey(key);
    signal?.throwIfAborted();
    return this.#objects.get(key);
  }
}

async function* chunksOf(
  bytes: Uint8Array,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.byteLength; start += CHUNK_BYTES) {
    signal?.throwIfAborted();
    yield bytes.slice(start, start + CHUNK_BYTES);
  }
}
