// A store in a folder, safe for several processes. An object is a file whose path is its key, so other programs see a published
// version as a plain folder. A file is written elsewhere first, synced, and then renamed or linked into place.

import { createHash, randomUUID } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { constants, createReadStream } from 'node:fs';
import { type FileHandle, link, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { assert } from '../../src/common/assert.ts';
import { acquireLock, removeDeadLocks } from '../../src/common/file-lock.ts';
import { syncFolder } from '../../src/common/folders.ts';
import { lazy } from '../../src/common/lazy.ts';
import { retry } from '../../src/common/waiting.ts';
import {
  errorCode,
  foldersBelow,
  lstatIfAny,
  onDisk,
  removeEmpty,
  removeOlder,
  walk,
} from './fs-folders.ts';
import {
  checkKey,
  checkPrefix,
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

/** Bytes per read: large enough for a disk, small enough for many readers. */
const CHUNK_BYTES = 256 * 2 ** 10;
/** Holds locks and files that are being written. Keys contain no `~`, so it is never listed or read. */
const OWN_FOLDER = '~lorikeet';
/** No write takes this long. Older files belong to a process that died. */
const LEFTOVER_MS = 24 * 3_600_000;
/** A delete may remove a folder between its creation and the write into it. */
const FOLDER_RETRIES = { maxTries: 8, firstMs: 1, longestMs: 16 };

/**
 * A key is locked for a check and a rename, never while bytes are copied: about as long as a garbage collection. A holder on
 * another machine or in another container counts as dead at the age `staleMs`. If a wait exceeds `waitMs`, the disk hangs.
 */
const KEY_LOCK = { waitMs: 60_000, pollMs: 4, staleMs: 30_000 };
/** A holder that was suspended for longer gives up, well before others consider it dead. */
const MAX_HELD_MS = 10_000;

/** Opens a store in an existing folder. A missing folder is not created, because it may be an unmounted disk. */
export function createFsStore(folder: string): ObjectStore {
  return new FsStore(path.resolve(folder));
}

class FsStore implements ObjectStore {
  readonly label: string;
  readonly #root: string;
  /** The folder of the files being written. */
  readonly #newFolder: string;
  readonly #lockFolder: string;
  readonly #removeLeftovers = lazy(async () => {
    await removeOlder(this.#newFolder, LEFTOVER_MS);
    await removeDeadLocks(this.#lockFolder, KEY_LOCK);
  });

  constructor(root: string) {
    this.label = root;
    this.#root = root;
    this.#newFolder = path.join(root, OWN_FOLDER, 'new');
    this.#lockFolder = path.join(root, OWN_FOLDER, 'locks');
  }

  get(key: string, { signal }: StoreCall = {}): Promise<StoredObject | undefined> {
    return onDisk(key, signal, async () => {
      const { file, stats } = await this.#find(key);
      if (!stats?.isFile()) return;
      const handle = await openIfAny(file);
      if (!handle) return;
      const opened = await handle.stat({ bigint: true });
      const info = infoOf(key, opened);
      return { ...info, body: bodyOf(handle, info, signal) };
    });
  }

  head(key: string, { signal }: StoreCall = {}): Promise<ObjectInfo | undefined> {
    return onDisk(key, signal, async () => {
      const { stats } = await this.#find(key);
      return stats?.isFile() ? infoOf(key, stats) : undefined;
    });
  }

  put(
    key: string,
    source: PutSource,
    { signal, ...condition }: PutCondition & StoreCall = {},
  ): Promise<WrittenObject> {
    assert(!condition.ifAbsent || condition.ifMatch === undefined, 'a put has one condition');
    return onDisk(key, signal, async () => {
      const { file, stats } = await this.#find(key);
      if (stats?.isDirectory()) throw new StoreError('invalid', `${key} is a folder`);
      const written = await this.#newFile();
      try {
        const info = infoOf(key, await writeSynced(written, source, signal));
        signal?.throwIfAborted();
        await this.#moveToKey(key, { written, file }, { signal, ...condition });
        return { key, byteSize: info.byteSize, etag: info.etag };
      } finally {
        await rm(written, { force: true });
      }
    });
  }

  delete(key: string, { signal }: StoreCall = {}): Promise<void> {
    return onDisk(key, signal, async () => {
      const { file, stats } = await this.#find(key);
      if (!stats?.isFile()) return;
      await withKeyLock(this.#lockFile(key), signal, async (assertHeld) => {
        assertHeld();
        await rm(file, { force: true });
      });
      await syncFolder(path.dirname(file)).catch(ignoreAbsence);
      await removeEmpty(this.#root, path.dirname(file));
    });
  }

  async *list(
    prefix: string,
    { signal, delimiter, after = '' }: ListOptions = {},
  ): AsyncIterable<ListEntry> {
    checkPrefix(prefix);
    const base = prefix.slice(0, prefix.lastIndexOf('/') + 1);
    const begin = prefix.slice(base.length);
    const { file: folder } = await onDisk(prefix, signal, () => this.#locate(base));
    const found = walk(folder, { base, begin, after, isFlat: delimiter !== undefined });
    for (;;) {
      const { value, done } = await onDisk(prefix, signal, () => found.next());
      if (done) return;
      if (value.kind === 'folder') yield { kind: 'folder', key: value.key };
      else {
        const stats = await onDisk(prefix, signal, () => lstatIfAny(value.file));
        if (stats?.isFile()) yield { kind: 'object', ...infoOf(value.key, stats) };
      }
    }
  }

  /** Moves a written file to its key if the condition holds at that moment. */
  async #moveToKey(
    key: string,
    { written, file }: { readonly written: string; readonly file: string },
    { signal, ifAbsent, ifMatch }: PutCondition & { readonly signal: AbortSignal | undefined },
  ): Promise<void> {
    const conflict = new StoreError('conflict', `${key} was changed by another writer`);
    const step = ifAbsent
      ? () =>
          link(written, file).catch((error: unknown) => {
            throw errorCode(error) === 'EEXIST' ? conflict : error;
          })
      : () =>
          withKeyLock(this.#lockFile(key), signal, async (assertHeld) => {
            const current = ifMatch === undefined ? undefined : await lstatIfAny(file);
            if (ifMatch !== undefined && (!current || etagOf(current) !== ifMatch)) throw conflict;
            assertHeld();
            await rename(written, file);
          });
    const folder = path.dirname(file);
    const created = await inFolder(folder, step);
    const toSync = created ? [...foldersBelow(this.#root, folder), this.#root] : [folder];
    for (const one of toSync) await syncFolder(one).catch(ignoreAbsence);
  }

  async #find(key: string): Promise<{ file: string; stats: BigIntStats | undefined }> {
    checkKey(key);
    return this.#locate(key);
  }

  /** Returns the path of a key or folder. Throws if a link is on the way. */
  async #locate(key: string): Promise<{ file: string; stats: BigIntStats | undefined }> {
    let file = this.#root;
    let stats: BigIntStats | undefined;
    for (const segment of key.split('/').filter(Boolean)) {
      file = path.join(file, segment);
      stats = await lstatIfAny(file);
      if (stats?.isSymbolicLink()) throw new StoreError('invalid', `${key} is behind a link`);
      if (!stats) break;
    }
    if (!stats) await this.#assertRoot();
    return { file: path.join(this.#root, ...key.split('/')), stats };
  }

  async #assertRoot(): Promise<void> {
    const stats = await stat(this.#root).catch(ignoreAbsence);
    if (!stats?.isDirectory()) {
      throw new StoreError('invalid', `the store's folder ${this.#root} does not exist`);
    }
  }

  async #newFile(): Promise<string> {
    await mkdir(this.#newFolder, { recursive: true });
    // Leftovers only take disk space, so they never make a write fail. The next write tries again.
    await this.#removeLeftovers.get().catch(() => {});
    return path.join(this.#newFolder, randomUUID());
  }

  #lockFile(key: string): string {
    // A key may be longer than a file name.
    const name = createHash('sha256').update(key).digest('hex');
    return path.join(this.#lockFolder, name);
  }
}

/**
 * Runs `work` under the lock of a key. `work` must call `assertHeld` right before the step that needs the lock. `assertHeld`
 * throws if the lock has been held for too long.
 */
export async function withKeyLock<T>(
  file: string,
  signal: AbortSignal | undefined,
  work: (assertHeld: () => void) => Promise<T>,
): Promise<T> {
  await acquireLock(file, { ...KEY_LOCK, signal });
  const sinceMs = Date.now();
  const isHeld = (): boolean => Math.abs(Date.now() - sinceMs) < MAX_HELD_MS;
  try {
    return await work(() => {
      if (!isHeld()) throw new Error('the process was suspended for too long while it wrote');
    });
  } finally {
    // After that time the lock may belong to another process.
    if (isHeld()) await rm(file, { force: true });
  }
}

/** Creates the folder and runs the step that needs it. Resolves with the first folder that had to be created, if any. */
function inFolder(folder: string, step: () => Promise<void>): Promise<string | undefined> {
  return retry(
    async () => {
      const created = await mkdir(folder, { recursive: true });
      await step();
      return created;
    },
    { ...FOLDER_RETRIES, isRetryable: (error) => errorCode(error) === 'ENOENT' },
  );
}

async function writeSynced(
  file: string,
  source: PutSource,
  signal: AbortSignal | undefined,
): Promise<BigIntStats> {
  const handle = await open(file, 'wx');
  try {
    for await (const chunk of chunksOf(source, signal)) await handle.writeFile(chunk);
    // File system timestamps have steps of 4 ms, too coarse to tell an object from the next one under its key.
    const seconds = (performance.timeOrigin + performance.now()) / 1000;
    await handle.utimes(seconds, seconds);
    await handle.sync();
    return await handle.stat({ bigint: true });
  } finally {
    await handle.close();
  }
}

async function* chunksOf(
  source: PutSource,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  if (source instanceof Uint8Array) yield source;
  else yield* createReadStream(source.file, { highWaterMark: CHUNK_BYTES, signal });
}

async function openIfAny(file: string): Promise<FileHandle | undefined> {
  try {
    return await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    return ignoreAbsence(error);
  }
}

async function* bodyOf(
  handle: FileHandle,
  { key, byteSize }: ObjectInfo,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  try {
    let position = 0;
    for (;;) {
      const buffer = new Uint8Array(Math.min(CHUNK_BYTES, byteSize - position + 1));
      const { bytesRead } = await onDisk(key, signal, () =>
        handle.read(buffer, 0, buffer.byteLength, position),
      );
      position += bytesRead;
      // This driver never changes a file in place.
      const isWhole = position === byteSize;
      if (position > byteSize || (bytesRead === 0 && !isWhole)) {
        throw new StoreError('unavailable', `${key} changed while it was read`);
      }
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await handle.close();
  }
}

function infoOf(key: string, stats: BigIntStats): ObjectInfo {
  const byteSize = Number(stats.size);
  return { key, byteSize, etag: etagOf(stats), modifiedMs: Number(stats.mtimeMs) };
}

/** A new object is a new file. If it reuses the inode of a removed one, its time still differs. */
function etagOf({ ino, mtimeNs, size }: BigIntStats): string {
  return [ino, mtimeNs, size].map((number) => number.toString(36)).join('-');
}

function ignoreAbsence(error: unknown): undefined {
  if (!['ENOENT', 'ENOTDIR'].includes(errorCode(error))) throw error;
}
