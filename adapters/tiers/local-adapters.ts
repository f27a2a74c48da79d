// From a resolved adapter to files on the local disk that the engine process can read, held while they are read.
// It authorizes nobody: a resolved adapter is one that its asker may use.

import { ServeError } from '../../src/common/errors.ts';
import type { Logger } from '../../src/common/log.ts';
import { type Clock, systemClock, unlessAborted } from '../../src/common/waiting.ts';
import type { AdapterSource } from '../../src/contracts/generation.ts';
import { type AdapterPart, adapterIdentity, type ResolvedAdapter } from '../registry/resolved.ts';
import type { VersionManifest } from '../repository/manifest.ts';
import { DiskError, type DiskItem, type DiskTier, keyOf } from './disk.ts';
import type { Fetcher } from './fetcher.ts';

export interface LocalAdapters {
  /**
   * All parts as local files, verified; those of a store are fetched once however many ask. Rejects with `ServeError`
   * (`adapter_unavailable`, `adapter_checksum_mismatch`, `overloaded`) or with the signal's reason: an abort ends
   * this wait only.
   */
  acquire(adapter: ResolvedAdapter, options?: { signal?: AbortSignal }): Promise<LocalLease>;
  stats(): LocalAdaptersStats;
  /** Ends every fetch, and removes what is temporary. */
  close(): Promise<void>;
}

/** Keeps the files where they are until it is released; releasing twice is harmless. */
export interface LocalLease extends Disposable {
  readonly source: AdapterSource;
  /** `store` where a part had to be fetched. */
  readonly tier: 'disk' | 'store';
  readonly loadMs: number;
  /** To be called once the engine has accepted or refused every sequence that names the source. */
  release(): void;
  /** The engine found other content than it was told: the files are read again before the next lease. */
  distrust(): void;
}

export interface LocalAdaptersStats {
  /** Of published adapters on the disk. */
  readonly diskBytes: number;
  readonly diskCount: number;
  readonly evictions: number;
  /** Under way or waiting for their turn. */
  readonly fetching: number;
  /** Nothing is fetched for a while, as the store does not answer. */
  readonly isPaused: boolean;
  /** Versions asked for: found on the disk, fetched, or neither. */
  readonly hits: number;
  readonly fetched: number;
  readonly failed: number;
}

export interface LocalAdaptersOptions {
  /** Absent: only local folders are served. */
  readonly fetcher?: Fetcher;
  /** Where versions are kept: the first that can, the next where its disk fails. */
  readonly places?: readonly DiskTier[];
  readonly log?: Pick<Logger, 'error'>;
  readonly clock?: Clock;
}

/** Where a version was found, in its place's folder. */
interface Found {
  readonly place: DiskTier;
  readonly tier: 'disk' | 'store';
}

export function createLocalAdapters(options: LocalAdaptersOptions = {}): LocalAdapters {
  return new TieredAdapters(options);
}

class TieredAdapters implements LocalAdapters {
  readonly #fetcher: Fetcher | undefined;
  readonly #places: readonly DiskTier[];
  readonly #log: Pick<Logger, 'error'> | undefined;
  readonly #clock: Clock;
  /** By owner and digest: looked for and fetched once, however many wait. */
  readonly #flights = new Map<string, Promise<Found>>();
  #counts = { hits: 0, fetched: 0, failed: 0 };

  constructor({ fetcher, places = [], log, clock = systemClock }: LocalAdaptersOptions) {
    this.#fetcher = fetcher;
    this.#places = places;
    this.#log = log;
    this.#clock = clock;
  }

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
      const found = await unlessAborted(all, signal);
      return {
        source: {
          digest: adapterIdentity(parts),
          owner: parts[0]!.owner,
          parts: parts.map(({ digest, weight }, i) => {
            return { digest, directory: found[i]!.directory, weight };
          }),
        },
        tier: found.some(({ tier }) => tier === 'store') ? 'store' : 'disk',
        loadMs: this.#clock.now() - startMs,
        release,
        distrust: () => this.#distrust(parts),
        [Symbol.dispose]: release,
      };
    } catch (error) {
      release();
      throw error;
    }
  }

  stats(): LocalAdaptersStats {
    const places = this.#places.map((place) => place.stats());
    const sum = (values: number[]) => values.reduce((total, value) => total + value, 0);
    return {
      diskBytes: sum(places.map(({ bytes }) => bytes)),
      diskCount: sum(places.map(({ count }) => count)),
      evictions: sum(places.map(({ evictions }) => evictions)),
      fetching: this.#fetcher?.size ?? 0,
      isPaused: this.#fetcher?.isPaused ?? false,
      ...this.#counts,
    };
  }

  async close(): Promise<void> {
    this.#fetcher?.close();
    await Promise.all(this.#places.map((place) => place.close()));
  }

  /** Held from here on, so that nothing is evicted between its arrival and its use. */
  async #locate(
    { owner, digest, place }: AdapterPart,
    releases: (() => void)[],
  ): Promise<{ directory: string; tier: Found['tier'] }> {
    if (place.kind === 'folder') return { directory: place.directory, tier: 'disk' };
    const item: DiskItem = { owner, digest, files: place.manifest.files };
    releases.push(...this.#places.map((disk) => disk.hold(item)));
    const found = await this.#find(item, place.manifest);
    return { directory: found.place.directory(item), tier: found.tier };
  }

  #find(item: DiskItem, manifest: VersionManifest): Promise<Found> {
    const key = keyOf(item);
    const underWay = this.#flights.get(key);
    if (underWay) return underWay;
    const flight = this.#lookOrFetch(item, manifest).finally(() => this.#flights.delete(key));
    this.#flights.set(key, flight);
    return flight;
  }

  async #lookOrFetch(item: DiskItem, manifest: VersionManifest): Promise<Found> {
    for (const place of this.#places) {
      if (!(await place.has(item))) continue;
      this.#counts.hits++;
      return { place, tier: 'disk' };
    }
    try {
      const place = await this.#fetch(item, manifest);
      this.#counts.fetched++;
      return { place, tier: 'store' };
    } catch (error) {
      this.#counts.failed++;
      throw error;
    }
  }

  async #fetch(item: DiskItem, manifest: VersionManifest): Promise<DiskTier> {
    const fetcher = this.#fetcher;
    if (!fetcher) throw unavailable('there is no store');
    for (const place of this.#places) {
      try {
        await fetcher.fetch(item.owner, manifest, (open) => place.write(item, open));
        return place;
      } catch (error) {
        if (!(error instanceof DiskError)) throw error;
        const { message, cause = {} } = error;
        const { code } = cause as NodeJS.ErrnoException;
        this.#log?.error({ alert: 'adapter_disk', code, reason: message }, 'adapter not kept');
      }
    }
    throw unavailable('it cannot be kept on this machine');
  }

  #distrust(parts: readonly AdapterPart[]): void {
    for (const { owner, digest, place } of parts) {
      if (place.kind === 'folder') continue;
      const item: DiskItem = { owner, digest, files: place.manifest.files };
      for (const disk of this.#places) disk.distrust(item);
    }
  }
}

function unavailable(reason: string): ServeError {
  return new ServeError('adapter_unavailable', `adapter unavailable: ${reason}`);
}
