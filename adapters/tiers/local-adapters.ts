// Brings a resolved adapter's files to the local disk for the engine process, and keeps them there while they are in use. The
// caller has resolved the adapter for its tenant.

import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { ServeError } from '../../src/common/errors.ts';
import type { Logger } from '../../src/common/log.ts';
import { type Clock, systemClock, unlessAborted } from '../../src/common/waiting.ts';
import type { DiskTierStats } from '../../src/contracts/engine.ts';
import type { AdapterSource } from '../../src/contracts/generation.ts';
import { type AdapterPart, adapterIdentity, type ResolvedAdapter } from '../registry/resolved.ts';
import type { VersionManifest } from '../repository/manifest.ts';
import type { ObjectStore } from '../store/store.ts';
import { DiskError, type DiskItem, DiskTier, keyOf } from './disk.ts';
import { Fetcher } from './fetcher.ts';

/** Keeps the files on the disk until it is released. Releasing twice has no effect. */
export interface LocalLease extends Disposable {
  readonly source: AdapterSource;
  /** `store` if a part had to be fetched. */
  readonly tier: 'disk' | 'store';
  readonly loadMs: number;
  /** Call it once the engine has accepted or refused each sequence that names the source. */
  release(): void;
  /** Call it if the engine found unexpected content: the files are verified again before the next lease. */
  verifyAgain(): void;
}

/** The source of versions, and the disks that keep them. */
interface LocalAdaptersOptions {
  /** Absent: only local folders can be used. */
  readonly fetcher?: Fetcher;
  /** Each version is kept on the first of them that works. */
  readonly disks?: readonly DiskTier[];
  readonly log?: Pick<Logger, 'error'>;
  readonly clock?: Clock;
}

interface LocalVersion {
  readonly disk: DiskTier;
  readonly tier: 'disk' | 'store';
}

/** Adapters as local files. */
export class LocalAdapters {
  readonly #options: LocalAdaptersOptions;
  readonly #disks: readonly DiskTier[];
  readonly #clock: Clock;
  /** Versions being found or fetched, by owner and digest. */
  readonly #flights = new Map<string, Promise<LocalVersion>>();
  #counts = { hits: 0, loaded: 0, failed: 0 };

  constructor(options: LocalAdaptersOptions = {}) {
    this.#options = options;
    this.#disks = options.disks ?? [];
    this.#clock = options.clock ?? systemClock;
  }

  /**
   * Resolves with verified local files of all parts. A version is fetched once for all who wait for it. Rejects with
   * `ServeError` (`adapter_unavailable`, `adapter_checksum_mismatch`, `overloaded`) or with the signal's reason, which ends
   * only this wait.
   */
  async acquire(
    { parts }: ResolvedAdapter,
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<LocalLease> {
    signal?.throwIfAborted();
    const startMs = this.#clock.now();
    const releases: (() => void)[] = [];
    const release = () => {
      for (const releaseOne of releases) releaseOne();
    };
    try {
      const all = Promise.all(parts.map((part) => this.#locate(part, releases)));
      const folders = await unlessAborted(all, signal);
      return {
        source: {
          digest: adapterIdentity(parts),
          owner: parts[0]!.owner,
          parts: parts.map(({ digest, weight }, i) => {
            return { digest, directory: folders[i]!.directory, weight };
          }),
        },
        tier: folders.some(({ tier }) => tier === 'store') ? 'store' : 'disk',
        loadMs: this.#clock.now() - startMs,
        release,
        verifyAgain: () => this.#verifyAgain(parts),
        [Symbol.dispose]: release,
      };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Returns the current figures. */
  stats(): DiskTierStats {
    const disks = this.#disks.map((disk) => disk.stats());
    const sum = (key: keyof (typeof disks)[number]) =>
      disks.reduce((total, stats) => total + stats[key], 0);
    const { loaded, failed } = this.#counts;
    return {
      bytes: sum('bytes'),
      adapters: sum('count'),
      evictions: sum('evictions'),
      fetching: this.#options.fetcher?.size ?? 0,
      isPaused: this.#options.fetcher?.isPaused ?? false,
      ...this.#counts,
      misses: loaded + failed, // something was missing on the disk and had to be fetched, or the fetch failed
    };
  }

  /** Ends every fetch and removes temporary files. */
  async close(): Promise<void> {
    this.#options.fetcher?.close();
    await Promise.all(this.#disks.map((disk) => disk.close()));
  }

  /** Holds the version from now on, so it is not evicted between its arrival and its use. */
  async #locate(
    { owner, digest, location }: AdapterPart,
    releases: (() => void)[],
  ): Promise<{ directory: string; tier: LocalVersion['tier'] }> {
    if (location.kind === 'folder') return { directory: location.directory, tier: 'disk' };
    const item: DiskItem = { owner, digest, files: location.manifest.files };
    for (const disk of this.#disks) releases.push(disk.hold(item));
    const { disk, tier } = await this.#find(item, location.manifest);
    return { directory: disk.directory(item), tier };
  }

  #find(item: DiskItem, manifest: VersionManifest): Promise<LocalVersion> {
    const key = keyOf(item);
    const underWay = this.#flights.get(key);
    if (underWay) return underWay;
    const flight = this.#findOrFetch(item, manifest).finally(() => this.#flights.delete(key));
    this.#flights.set(key, flight);
    return flight;
  }

  async #findOrFetch(item: DiskItem, manifest: VersionManifest): Promise<LocalVersion> {
    for (const disk of this.#disks) {
      if (!(await disk.has(item))) continue;
      this.#counts.hits++;
      return { disk, tier: 'disk' };
    }
    try {
      const disk = await this.#fetch(item, manifest);
      this.#counts.loaded++;
      return { disk, tier: 'store' };
    } catch (error) {
      this.#counts.failed++;
      throw error;
    }
  }

  async #fetch(item: DiskItem, manifest: VersionManifest): Promise<DiskTier> {
    const { fetcher, log } = this.#options;
    if (!fetcher)
      throw unavailable('it is in a store, but this server has none. Start it with --store');
    for (const disk of this.#disks) {
      try {
        await fetcher.fetch(item.owner, manifest, (open) => disk.write(item, open));
        return disk;
      } catch (error) {
        if (!(error instanceof DiskError)) throw error;
        const { message, cause = {} } = error;
        const { code } = cause as NodeJS.ErrnoException;
        log?.error({ alert: 'adapter_disk', code, reason: message }, 'adapter not kept');
      }
    }
    throw unavailable(
      'the disk of the server has no room for it. Try again later, or raise --adapter-disk',
    );
  }

  #verifyAgain(parts: readonly AdapterPart[]): void {
    for (const { owner, digest, location } of parts) {
      if (location.kind === 'folder') continue;
      const item: DiskItem = { owner, digest, files: location.manifest.files };
      for (const disk of this.#disks) disk.verifyAgain(item);
    }
  }
}

function unavailable(reason: string): ServeError {
  return new ServeError('adapter_unavailable', `adapter unavailable: ${reason}.`);
}

/** The store and the cache of local adapters. */
interface OpenLocalAdaptersOptions {
  readonly store: ObjectStore;
  /** Versions are kept in its subfolder `adapters`, which several processes may share. */
  readonly cacheDir: string;
  readonly diskBytes: number;
  readonly log: Logger;
}

/** Linux's in-memory file system. Without one, a full disk means 503. */
const MEMORY_ROOT = '/dev/shm';
/** Room for a few adapters of a small model until somebody frees the disk. Containers have 64 MB there. */
const MEMORY_BYTES = 256 * 2 ** 20;

/** Opens the adapters of a store over the disk cache, with a memory file system as its fallback. */
export function openLocalAdapters(options: OpenLocalAdaptersOptions): LocalAdapters {
  const { store, cacheDir, diskBytes, log } = options;
  const disks = [new DiskTier({ root: path.join(cacheDir, 'adapters'), capacityBytes: diskBytes })];
  if (existsSync(MEMORY_ROOT)) {
    const root = path.join(MEMORY_ROOT, `lorikeet-${randomUUID()}`);
    disks.push(new DiskTier({ root, capacityBytes: MEMORY_BYTES, isTemporary: true }));
  }
  return new LocalAdapters({ fetcher: new Fetcher({ store, log }), disks, log });
}
