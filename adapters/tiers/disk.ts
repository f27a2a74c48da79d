// Keeps published adapters on the local disk, each as a PEFT folder by owner and digest. A folder appears and disappears by a
// rename, so it is whole or absent. It is verified when it is written, and again when a process first uses it. The cache is
// bounded in bytes, and several processes may share it. Owners never share a copy, so the duration of a request does not reveal
// whether another tenant has the same adapter.

import { randomUUID } from 'node:crypto';
import * as nodeFiles from 'node:fs/promises';
import path from 'node:path';
import { formatFileSize } from '../../src/common/format-bytes.ts';
import { TENANT_PATTERN } from '../../src/contracts/tenant.ts';
import {
  AdapterHasher,
  CONFIG_FILE,
  digestAdapterFiles,
  isAbsence,
  WEIGHTS_FILE,
} from '../peft/files.ts';
import type { VersionManifest } from '../repository/manifest.ts';

/** An adapter to keep: its owner, digest and sizes. */
export interface DiskItem {
  readonly owner: string;
  readonly digest: string;
  readonly files: VersionManifest['files'];
}

/** Opens one of the two files at its source. */
export type OpenFile = (name: keyof VersionManifest['files']) => AsyncIterable<Uint8Array>;

/** The file system calls of a disk tier. Tests replace them. */
export type DiskFiles = Pick<
  typeof nodeFiles,
  'mkdir' | 'open' | 'readdir' | 'rename' | 'rm' | 'stat' | 'utimes'
>;

/** The folder of a disk tier and its limits. */
interface DiskTierOptions {
  readonly root: string;
  readonly capacityBytes: number;
  /** `close` removes the folder. */
  readonly isTemporary?: boolean;
  /** Returns Unix milliseconds, because the uses of all processes are ordered by them. */
  readonly now?: () => number;
  readonly files?: DiskFiles;
}

/** The bytes do not have the expected digest. */
export class CorruptContent extends Error {
  override name = 'CorruptContent';
}

/** The disk failed or is full. The content may be good. */
export class DiskError extends Error {
  override name = 'DiskError';
}

/** Tries of a rename. Between two tries another process may put its copy there and evict it. */
const MAX_RENAMES = 3;
const INCOMING = '.incoming';
/** No fetch takes this long. Older folders belong to a process that died. */
const STALE_INCOMING_MS = 3_600_000;
/** How often the last use of an adapter is written to the disk. */
const TOUCH_INTERVAL_MS = 60_000;
const DIGEST_PATTERN = /^[0-9a-f]{64}$/;
const FILE_NAMES = [CONFIG_FILE, WEIGHTS_FILE] as const; // the order in which they are hashed

interface Resident {
  readonly key: string;
  readonly byteSize: number;
  readonly usedMs: number;
}

/** A bounded cache of adapters on the disk. The least recently used are evicted first. */
export class DiskTier {
  readonly #options: Required<DiskTierOptions>;
  /** Item → the number of its holds. The item may not exist yet. Held items are not evicted. */
  readonly #holds = new Map<string, number>();
  /** Items that this process has verified, and when their use was last written to the disk. */
  readonly #sound = new Map<string, number>();
  /** Sizes at the last scan, and this process's changes since. */
  readonly #byteSizes = new Map<string, number>();
  #incomingBytes = 0;
  #evictions = 0;
  #hasRemovedLeftovers = false;
  /** Only one call makes room at a time. */
  #lastRoom: Promise<unknown> = Promise.resolve();

  constructor(options: DiskTierOptions) {
    this.#options = { isTemporary: false, now: Date.now, files: nodeFiles, ...options };
  }

  /** Returns an item's folder, which may not exist. */
  directory({ owner, digest }: Pick<DiskItem, 'owner' | 'digest'>): string {
    return path.join(this.#options.root, owner, digest);
  }

  /** Keeps the item from eviction by this process until the returned function is called. */
  hold(item: DiskItem): () => void {
    const key = keyOf(item);
    this.#holds.set(key, (this.#holds.get(key) ?? 0) + 1);
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      const left = this.#holds.get(key)! - 1;
      if (left > 0) this.#holds.set(key, left);
      else this.#holds.delete(key);
    };
  }

  /** Whether the item exists and is sound. A damaged one is removed. */
  async has(item: DiskItem): Promise<boolean> {
    const key = keyOf(item);
    const directory = this.directory(item);
    try {
      await this.#options.files.stat(path.join(directory, WEIGHTS_FILE));
    } catch {
      this.#forget(key);
      return false;
    }
    if (!this.#sound.has(key)) {
      const found = await digestAdapterFiles(directory).catch(() => undefined);
      if (found?.digest !== item.digest) {
        await this.#remove(key);
        return false;
      }
      this.#sound.set(key, 0);
      this.#byteSizes.set(key, byteSizeOf(item));
    }
    await this.#touch(key);
    return true;
  }

  /** Makes the next use of the item verify it again. */
  verifyAgain(item: DiskItem): void {
    this.#sound.delete(keyOf(item));
  }

  /**
   * Writes the item, unless another process was faster. Rejects with `CorruptContent`, `DiskError` or the error of the source's
   * stream, and leaves nothing behind then.
   */
  async write(item: DiskItem, open: OpenFile): Promise<void> {
    const byteSize = byteSizeOf(item);
    await this.#makeRoom(byteSize);
    const incoming = path.join(this.#options.root, INCOMING, randomUUID());
    try {
      await this.#io(({ mkdir }) => mkdir(incoming, { recursive: true, mode: 0o700 }));
      await this.#copy(item, open, incoming);
      await this.#publish(item, incoming);
    } finally {
      this.#incomingBytes -= byteSize;
      await this.#options.files.rm(incoming, { recursive: true, force: true }).catch(() => {});
    }
  }

  /** Removes a temporary folder. */
  async close(): Promise<void> {
    const { isTemporary, root, files } = this.#options;
    if (isTemporary) await files.rm(root, { recursive: true, force: true });
  }

  /** Returns the current figures. */
  stats(): { bytes: number; count: number; evictions: number } {
    let bytes = 0;
    for (const byteSize of this.#byteSizes.values()) bytes += byteSize;
    return { bytes, count: this.#byteSizes.size, evictions: this.#evictions };
  }

  async #copy(item: DiskItem, open: OpenFile, directory: string): Promise<void> {
    const hasher = new AdapterHasher();
    for (const name of FILE_NAMES) {
      const { byteSize } = item.files[name];
      hasher.startPart(byteSize);
      const file = await this.#io((files) => files.open(path.join(directory, name), 'wx', 0o600));
      let left = byteSize;
      try {
        for await (const chunk of open(name)) {
          left -= chunk.length;
          if (left < 0) throw new CorruptContent(`${name} is longer than ${byteSize} bytes`);
          hasher.update(chunk);
          await this.#io(() => writeAll(file, chunk));
        }
      } finally {
        await this.#io(() => file.close());
      }
      if (left > 0) throw new CorruptContent(`${name} ends ${left} bytes early`);
    }
    if (hasher.digest() !== item.digest) throw new CorruptContent('the digest differs');
  }

  async #publish(item: DiskItem, incoming: string): Promise<void> {
    const key = keyOf(item);
    const directory = this.directory(item);
    await this.#io(({ mkdir }) => mkdir(path.dirname(directory), { recursive: true, mode: 0o700 }));
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#options.files.rename(incoming, directory);
        break;
      } catch (cause) {
        // Another process's copy is in the way. It is as good as ours, unless it has just been evicted or is damaged.
        if (await this.has(item)) return;
        if (attempt === MAX_RENAMES) throw new DiskError('the folder cannot be renamed', { cause });
      }
    }
    this.#sound.set(key, this.#options.now());
    this.#byteSizes.set(key, byteSizeOf(item));
  }

  /** Evicts the least recently used items until the bytes fit, then reserves the bytes. */
  async #makeRoom(byteSize: number): Promise<void> {
    const turn = this.#lastRoom.then(() => this.#evictFor(byteSize));
    this.#lastRoom = turn.catch(() => {});
    await turn;
  }

  async #evictFor(byteSize: number): Promise<void> {
    const { capacityBytes } = this.#options;
    if (byteSize > capacityBytes) {
      throw new DiskError(
        `${formatFileSize(byteSize)} do not fit into the cache of ${formatFileSize(capacityBytes)} (--adapter-disk)`,
      );
    }
    const residents = await this.#io(() => this.#scan());
    let used = this.#incomingBytes + byteSize;
    for (const resident of residents) used += resident.byteSize;
    for (const { key, byteSize } of residents) {
      if (used <= capacityBytes) break;
      if (this.#holds.has(key)) continue;
      if (!(await this.#remove(key))) continue;
      this.#evictions++;
      used -= byteSize;
    }
    if (used > capacityBytes)
      throw new DiskError('adapters in use leave no room in the cache (--adapter-disk)');
    this.#incomingBytes += byteSize;
  }

  /** Lists the items on the disk, the least recently used first. */
  async #scan(): Promise<Resident[]> {
    const { root } = this.#options;
    await this.#removeLeftovers();
    const residents: Resident[] = [];
    for (const owner of await this.#list(root, TENANT_PATTERN)) {
      for (const digest of await this.#list(path.join(root, owner), DIGEST_PATTERN)) {
        const resident = await this.#inspect(keyOf({ owner, digest }));
        if (resident) residents.push(resident);
      }
    }
    this.#byteSizes.clear();
    for (const { key, byteSize } of residents) this.#byteSizes.set(key, byteSize);
    return residents.sort((a, b) => a.usedMs - b.usedMs);
  }

  /** Describes an item; undefined if another process has removed it. */
  async #inspect(key: string): Promise<Resident | undefined> {
    const { root, files } = this.#options;
    const directory = path.join(root, key);
    const paths = [directory, ...FILE_NAMES.map((name) => path.join(directory, name))];
    const stats = await Promise.all(
      paths.map((file) => files.stat(file).catch((error) => absent(error))),
    );
    const [folder, ...contents] = stats;
    const byteSize = contents.reduce((sum, file) => sum + (file?.size ?? 0), 0);
    return folder && { key, byteSize, usedMs: folder.mtimeMs };
  }

  /** Removes leftovers of dead processes, once per process. */
  async #removeLeftovers(): Promise<void> {
    if (this.#hasRemovedLeftovers) return;
    this.#hasRemovedLeftovers = true;
    const { root, now, files } = this.#options;
    const incoming = path.join(root, INCOMING);
    for (const name of await this.#list(incoming, /./)) {
      const folder = path.join(incoming, name);
      const stats = await files.stat(folder).catch((error) => absent(error));
      if (stats && now() - stats.mtimeMs > STALE_INCOMING_MS) {
        await files.rm(folder, { recursive: true, force: true });
      }
    }
  }

  async #list(directory: string, pattern: RegExp): Promise<string[]> {
    const names = await this.#options.files
      .readdir(directory)
      .catch((error) => absent(error) ?? []);
    return names.filter((name) => pattern.test(name));
  }

  /** Removes an item by a rename, so nobody sees half of it. Returns whether it is gone, by us or by another process. */
  async #remove(key: string): Promise<boolean> {
    const { root, files } = this.#options;
    const trash = path.join(root, INCOMING, randomUUID());
    this.#forget(key);
    try {
      await files.mkdir(path.dirname(trash), { recursive: true, mode: 0o700 });
      await files.rename(path.join(root, key), trash);
      await files.rm(trash, { recursive: true, force: true });
      return true;
    } catch (error) {
      return isAbsence(error);
    }
  }

  #forget(key: string): void {
    this.#sound.delete(key);
    this.#byteSizes.delete(key);
  }

  async #touch(key: string): Promise<void> {
    const { root, now, files } = this.#options;
    const nowMs = now();
    const touchedMs = this.#sound.get(key);
    if (touchedMs === undefined || nowMs - touchedMs < TOUCH_INTERVAL_MS) return;
    this.#sound.set(key, nowMs);
    await files.utimes(path.join(root, key), nowMs / 1000, nowMs / 1000).catch(() => {});
  }

  async #io<T>(operation: (files: DiskFiles) => Promise<T>): Promise<T> {
    try {
      return await operation(this.#options.files);
    } catch (error) {
      throw error instanceof DiskError ? error : new DiskError('the disk failed', { cause: error });
    }
  }
}

/** Returns an item's key, which is also its path below the root. */
export function keyOf({ owner, digest }: Pick<DiskItem, 'owner' | 'digest'>): string {
  return `${owner}/${digest}`;
}

function byteSizeOf({ files }: DiskItem): number {
  return FILE_NAMES.reduce((sum, name) => sum + files[name].byteSize, 0);
}

async function writeAll(file: nodeFiles.FileHandle, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    written += (await file.write(bytes, written)).bytesWritten;
  }
}

function absent(error: unknown): undefined {
  if (!isAbsence(error)) throw error;
}
