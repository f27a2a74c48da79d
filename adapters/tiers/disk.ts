// Published adapters on the local disk, each a PEFT folder by owner and digest: whole or not there, verified while it
// is written and again when this process first meets it, bounded in bytes. Several processes may share the folder:
// nothing is changed in place, all comes and goes by a rename. It knows no store. Owners never share a copy: whether
// somebody has an adapter cannot be told from how fast it is there.
import { randomUUID } from 'node:crypto';
import * as nodeFiles from 'node:fs/promises';
import path from 'node:path';
import { TENANT_PATTERN } from '../../src/contracts/tenant.ts';
import { createAdapterHasher } from '../peft/digest.ts';
import { CONFIG_FILE, digestAdapterFiles, isAbsence, WEIGHTS_FILE } from '../peft/files.ts';
import type { VersionManifest } from '../repository/manifest.ts';

/** What is kept: whose, its content's digest, and the sizes to expect. */
export interface DiskItem {
  readonly owner: string;
  readonly digest: string;
  readonly files: VersionManifest['files'];
}

/** Opens one of the two files at its source. */
export type OpenFile = (name: keyof VersionManifest['files']) => AsyncIterable<Uint8Array>;

export type DiskFiles = Pick<
  typeof nodeFiles,
  'mkdir' | 'open' | 'readdir' | 'rename' | 'rm' | 'stat' | 'utimes'
>;

export interface DiskTierOptions {
  readonly root: string;
  readonly capacityBytes: number;
  /** Removed by `close`. */
  readonly isTemporary?: boolean;
  /** Unix milliseconds: orders what was used last, also between processes. */
  readonly now?: () => number;
  readonly files?: DiskFiles;
}

/** The bytes are not those of the digest: truncated, too long, or others. */
export class CorruptContent extends Error {
  override name = 'CorruptContent';
}

/** The disk failed or has no room; the content may be good. */
export class DiskError extends Error {
  override name = 'DiskError';
}

const INCOMING = '.incoming';
/** Longer than any fetch: what is older was left by a process that died. */
const STALE_INCOMING_MS = 3_600_000;
/** When an entry was used is written down so often. */
const TOUCH_INTERVAL_MS = 60_000;
const DIGEST_PATTERN = /^[0-9a-f]{64}$/;
const FILE_NAMES = [CONFIG_FILE, WEIGHTS_FILE] as const; // the order in which they are hashed

interface Resident {
  readonly key: string;
  readonly byteSize: number;
  readonly usedMs: number;
}

export class DiskTier {
  readonly #options: Required<DiskTierOptions>;
  /** Users of an entry, there or not yet: it is not evicted. */
  readonly #holds = new Map<string, number>();
  /** Entries that this process has verified → when their use was last written down. */
  readonly #sound = new Map<string, number>();
  /** As of the last look, and what this process did since. */
  readonly #byteSizes = new Map<string, number>();
  #incomingBytes = 0;
  #evictions = 0;
  #isSwept = false;
  /** Room is made by one at a time. */
  #lastRoom: Promise<unknown> = Promise.resolve();

  constructor(options: DiskTierOptions) {
    this.#options = { isTemporary: false, now: Date.now, files: nodeFiles, ...options };
  }

  directory({ owner, digest }: Pick<DiskItem, 'owner' | 'digest'>): string {
    return path.join(this.#options.root, owner, digest);
  }

  /** Until the function that it answers is called, this process does not evict the item. */
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

  /** Whether the item is here and sound; one that is not sound is removed. */
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

  /** The item is verified again before it is used. */
  distrust(item: DiskItem): void {
    this.#sound.delete(keyOf(item));
  }

  /**
   * Copies the item here; without effect where another process was quicker. Rejects with `CorruptContent`,
   * `DiskError`, or what the source's stream throws; what was written of it is gone then.
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

  async close(): Promise<void> {
    const { isTemporary, root, files } = this.#options;
    if (isTemporary) await files.rm(root, { recursive: true, force: true });
  }

  stats(): { bytes: number; count: number; evictions: number } {
    let bytes = 0;
    for (const byteSize of this.#byteSizes.values()) bytes += byteSize;
    return { bytes, count: this.#byteSizes.size, evictions: this.#evictions };
  }

  async #copy(item: DiskItem, open: OpenFile, directory: string): Promise<void> {
    const hasher = createAdapterHasher();
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
    if (hasher.digest() !== item.digest) throw new CorruptContent('the digest is another one');
  }

  async #publish(item: DiskItem, incoming: string): Promise<void> {
    const key = keyOf(item);
    const directory = this.directory(item);
    await this.#io(({ mkdir }) => mkdir(path.dirname(directory), { recursive: true, mode: 0o700 }));
    try {
      await this.#options.files.rename(incoming, directory);
    } catch (error) {
      // Somebody else's copy is in the way: as good as ours, or it could not be removed.
      if (!(await this.has(item))) throw new DiskError('cannot be put in place', { cause: error });
      return;
    }
    this.#sound.set(key, this.#options.now());
    this.#byteSizes.set(key, byteSizeOf(item));
  }

  /** Evicts what was used longest ago until so many bytes fit. Counts them as taken. */
  async #makeRoom(byteSize: number): Promise<void> {
    const turn = this.#lastRoom.then(() => this.#evictFor(byteSize));
    this.#lastRoom = turn.catch(() => {});
    await turn;
  }

  async #evictFor(byteSize: number): Promise<void> {
    const { capacityBytes } = this.#options;
    if (byteSize > capacityBytes) {
      throw new DiskError(`${byteSize} bytes do not fit in the ${capacityBytes} of the cache`);
    }
    const residents = await this.#io(() => this.#look());
    let used = this.#incomingBytes + byteSize;
    for (const resident of residents) used += resident.byteSize;
    for (const { key, byteSize } of residents) {
      if (used <= capacityBytes) break;
      if (this.#holds.has(key)) continue;
      if (!(await this.#remove(key))) continue;
      this.#evictions++;
      used -= byteSize;
    }
    if (used > capacityBytes) throw new DiskError('what is in use leaves no room');
    this.#incomingBytes += byteSize;
  }

  /** What is in the folder, the longest unused first. */
  async #look(): Promise<Resident[]> {
    const { root } = this.#options;
    await this.#sweep();
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

  /** Undefined where another process removed it meanwhile. */
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

  /** Once in the life of a process: what others left behind when they died. */
  async #sweep(): Promise<void> {
    if (this.#isSwept) return;
    this.#isSwept = true;
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

  /** In one rename, so that nobody meets half of it. Answers whether it is gone. */
  async #remove(key: string): Promise<boolean> {
    const { root, files } = this.#options;
    const grave = path.join(root, INCOMING, randomUUID());
    this.#forget(key);
    try {
      await files.mkdir(path.dirname(grave), { recursive: true, mode: 0o700 });
      await files.rename(path.join(root, key), grave);
      await files.rm(grave, { recursive: true, force: true });
      return true;
    } catch {
      return false;
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

/** Also the path below the root. */
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
