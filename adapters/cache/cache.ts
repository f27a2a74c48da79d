// Loaded adapters in memory, by digest: loaded once for all callers, kept while leased, evicted by cost when idle. It knows no
// names and no files. The caller has authorized the request.
import { LRUCache } from 'lru-cache';
import { assert } from '../../src/common/assert.ts';
import { ServeError } from '../../src/common/errors.ts';
import type { AdapterSource } from '../../src/contracts/generation.ts';
import type { AdapterWeights } from '../peft/weights.ts';
import { type Evictable, EvictionOrder } from './eviction.ts';
import type { OpenedAdapter } from './load.ts';

/** Keeps weights in memory until it is released. Releasing twice has no effect. */
export interface Lease extends Disposable {
  readonly weights: AdapterWeights;
  /** `ram` if the weights were in memory already. */
  readonly tier: 'ram' | 'disk';
  /** Time to load; 0 if they were in memory. */
  readonly loadMs: number;
  release(): void;
}

/** The size and the loader of a cache. */
export interface AdapterCacheOptions {
  /** The limit for idle, leased and loading weights together. */
  readonly capacityBytes: number;
  /**
   * Measures an adapter, so that memory can be reserved before it is loaded. This and the load reject with a `ServeError` of
   * status 422 if the adapter is permanently bad.
   */
  openAdapter(source: AdapterSource): Promise<OpenedAdapter>;
  /** Called once per failed load. */
  onFailure?(source: AdapterSource, error: unknown): void;
  readonly maxParallelLoads?: number;
  /** Returns monotonic milliseconds. */
  readonly now?: () => number;
}

/** Figures of a cache. */
export interface AdapterCacheStats {
  readonly idleBytes: number;
  /** Includes memory reserved by loads under way. */
  readonly leasedBytes: number;
  readonly idleCount: number;
  readonly leasedCount: number;
  readonly loading: number;
  readonly hits: number;
  readonly misses: number;
  readonly evictions: number;
  /** Loads that succeeded and that failed. */
  readonly loaded: number;
  readonly failed: number;
}

/** An adapter that was refused is not read again for this long. */
const REFUSAL_TTL_MS = 30_000;
const MAX_REFUSALS = 1000;
/** Loads compete with the engine for the processor, and each holds its file and its weights in memory. */
const MAX_PARALLEL_LOADS = 2;
/** An owner without a request for this long loses its reserved share of the memory. */
const SHARE_LAPSES_MS = 600_000;

interface CachedAdapter extends Evictable {
  readonly weights: AdapterWeights;
  leaseCount: number;
}

interface Load {
  readonly source: AdapterSource;
  readonly waiters: Set<LeaseWaiter>;
  /** Set once its size is known. */
  opened?: OpenedAdapter;
  /** Bytes of `capacityBytes` that are reserved for it. */
  reservedBytes: number;
}

interface LeaseWaiter {
  resolve(lease: Lease): void;
  reject(error: unknown): void;
}

/** A cache of loaded adapters. */
export class AdapterCache {
  readonly #options: AdapterCacheOptions;
  readonly #now: () => number;
  /** Adapters without a lease, in the order of their release. */
  readonly #idle = new Map<string, CachedAdapter>();
  readonly #leased = new Map<string, CachedAdapter>();
  readonly #order = new EvictionOrder();
  /** When each owner last asked for an adapter. One entry per owner ever seen, so at most one per tenant. */
  readonly #askedMs = new Map<string, number>();
  /** Loads that found no memory, oldest first. They are tried again when some may be free. */
  #parked: Load[] = [];
  readonly #loads = new Map<string, Load>();
  /** Loads that wait for a parallel load to end, oldest first. */
  readonly #queue: Load[] = [];
  readonly #refusals: LRUCache<string, ServeError>;
  #runningLoads = 0;
  #leasedBytes = 0;
  #reservedBytes = 0;
  #idleBytes = 0;
  #hits = 0;
  #misses = 0;
  #evictions = 0;
  #loaded = 0;
  #failed = 0;

  constructor(options: AdapterCacheOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#refusals = new LRUCache({
      max: MAX_REFUSALS,
      ttl: REFUSAL_TTL_MS,
      ttlResolution: 0,
      perf: { now: this.#now },
    });
  }

  /**
   * Leases an adapter's weights. If leased weights leave no memory it waits until some are released. For `keepWarmMs` other
   * adapters are evicted first. An abort ends only this wait; the load goes on for other callers. Throws what the loader
   * throws, or the signal's reason.
   */
  async lease(
    source: AdapterSource,
    { signal, keepWarmMs }: { signal?: AbortSignal; keepWarmMs?: number } = {},
  ): Promise<Lease> {
    const lease = await this.#lease(source, signal);
    if (keepWarmMs !== undefined) {
      this.#leased.get(source.digest)!.warmUntilMs = this.#now() + keepWarmMs;
    }
    return lease;
  }

  async #lease(source: AdapterSource, signal: AbortSignal | undefined): Promise<Lease> {
    signal?.throwIfAborted();
    const { digest, owner } = source;
    this.#askedMs.set(owner, this.#now());
    const entry = this.#leased.get(digest) ?? this.#idle.get(digest);
    if (entry) {
      this.#hits++;
      return this.#createLease(entry, { tier: 'ram', loadMs: 0 });
    }
    const refusal = this.#refusals.get(digest);
    if (refusal) throw refusal;
    this.#misses++;
    const load = this.#loads.get(digest) ?? this.#enqueue(source);
    const lease = waitIn(load.waiters, signal);
    this.#startLoads();
    return lease;
  }

  /** Returns the current figures. */
  stats(): AdapterCacheStats {
    return {
      idleBytes: this.#idleBytes,
      leasedBytes: this.#leasedBytes + this.#reservedBytes,
      idleCount: this.#idle.size,
      leasedCount: this.#leased.size,
      loading: this.#loads.size,
      hits: this.#hits,
      misses: this.#misses,
      evictions: this.#evictions,
      loaded: this.#loaded,
      failed: this.#failed,
    };
  }

  /** Lists the digests in memory. */
  resident(): string[] {
    return [...this.#leased.keys(), ...this.#idle.keys()];
  }

  #enqueue(source: AdapterSource): Load {
    const load: Load = { source, waiters: new Set(), reservedBytes: 0 };
    this.#loads.set(source.digest, load);
    this.#queue.push(load);
    return load;
  }

  #startLoads(): void {
    const limit = this.#options.maxParallelLoads ?? MAX_PARALLEL_LOADS;
    while (this.#runningLoads < limit) {
      const load = this.#queue.shift();
      if (!load) return;
      if (load.waiters.size === 0) {
        this.#loads.delete(load.source.digest); // every caller gave up before it began
        continue;
      }
      this.#runningLoads++;
      void this.#run(load);
    }
  }

  /** Runs a load. Never rejects: the outcome goes to the waiters, or the load is parked. */
  async #run(load: Load): Promise<void> {
    const { source, waiters } = load;
    const startMs = this.#now();
    let isParked = false;
    try {
      load.opened ??= await this.#options.openAdapter(source);
      isParked = !this.#reserve(load, load.opened.byteSize);
      if (isParked) return;
      const weights = await load.opened.load();
      assert(weights.digest === source.digest, 'the loader returned another digest');
      assert(weights.byteSize <= load.reservedBytes, 'the weights are larger than measured');
      const loadMs = this.#now() - startMs;
      this.#unreserve(load);
      const entry = createEntry(source, weights, loadMs);
      this.#loaded++;
      // In the same turn, so that it cannot be evicted between its load and its leases.
      for (const { resolve } of waiters)
        resolve(this.#createLease(entry, { tier: 'disk', loadMs }));
      if (waiters.size === 0) this.#keepIdle(entry);
    } catch (error) {
      this.#failed++;
      const isPermanent = error instanceof ServeError && error.status === 422;
      if (isPermanent) this.#refusals.set(source.digest, error);
      this.#options.onFailure?.(source, error);
      for (const { reject } of waiters) reject(error);
    } finally {
      this.#unreserve(load);
      if (isParked) this.#parked.push(load);
      else this.#loads.delete(source.digest);
      this.#runningLoads--;
      if (!isParked) this.#unpark();
      this.#startLoads();
    }
  }

  /** Reserves memory for a load. Returns false if leased weights and other loads leave none. */
  #reserve(load: Load, byteSize: number): boolean {
    if (!this.#makeRoom(load.source.owner, byteSize)) return false;
    load.reservedBytes = byteSize;
    this.#reservedBytes += byteSize;
    return true;
  }

  #unreserve(load: Load): void {
    this.#reservedBytes -= load.reservedBytes;
    load.reservedBytes = 0;
  }

  /** Tries parked loads again, because some memory may be free. */
  #unpark(): void {
    this.#queue.unshift(...this.#parked);
    this.#parked = [];
  }

  #createLease(entry: CachedAdapter, found: Pick<Lease, 'tier' | 'loadMs'>): Lease {
    const { weights } = entry;
    this.#order.use(entry);
    if (entry.leaseCount++ === 0) {
      if (this.#idle.delete(weights.digest)) this.#idleBytes -= weights.byteSize;
      this.#leased.set(weights.digest, entry);
      this.#leasedBytes += weights.byteSize;
    }
    let isReleased = false;
    const release = () => {
      if (isReleased) return;
      isReleased = true;
      this.#release(entry);
    };
    return { weights, ...found, release, [Symbol.dispose]: release };
  }

  #release(entry: CachedAdapter): void {
    if (--entry.leaseCount > 0) return;
    const { digest, byteSize } = entry.weights;
    this.#leased.delete(digest);
    this.#leasedBytes -= byteSize;
    this.#keepIdle(entry);
    this.#unpark();
    this.#startLoads();
  }

  #keepIdle(entry: CachedAdapter): void {
    this.#idle.set(entry.weights.digest, entry);
    this.#idleBytes += entry.byteSize;
  }

  /** Evicts idle adapters until the bytes fit. Returns false if leased weights and loads leave no room. */
  #makeRoom(owner: string, byteSize: number): boolean {
    const { capacityBytes } = this.#options;
    if (byteSize > capacityBytes) {
      throw new ServeError(
        'adapter_invalid',
        `adapter refused: it takes ${byteSize} bytes in memory; the cache holds ${capacityBytes}`,
      );
    }
    const neededBytes = this.#leasedBytes + this.#reservedBytes + byteSize;
    if (neededBytes > capacityBytes) return false;
    while (neededBytes + this.#idleBytes > capacityBytes) {
      const bytesByOwner = this.#bytesOfActiveOwners({ owner, byteSize });
      const pressure = { bytesByOwner, capacityBytes, nowMs: this.#now() };
      const evicted = this.#order.choose(this.#idle.values(), pressure);
      assert(evicted, 'the size of idle weights is wrong');
      this.#idle.delete(evicted.weights.digest);
      this.#idleBytes -= evicted.byteSize;
      this.#evictions++;
    }
    return true;
  }

  #bytesOfActiveOwners(newcomer: Pick<CachedAdapter, 'owner' | 'byteSize'>): Map<string, number> {
    const bytes = new Map<string, number>();
    const sinceMs = this.#now() - SHARE_LAPSES_MS;
    const loads = Array.from(this.#loads.values(), ({ source, reservedBytes }) => {
      return { owner: source.owner, byteSize: reservedBytes };
    });
    for (const { owner, byteSize } of [
      ...this.#leased.values(),
      ...this.#idle.values(),
      ...loads,
      newcomer,
    ]) {
      if (this.#askedMs.get(owner)! < sinceMs) continue;
      bytes.set(owner, (bytes.get(owner) ?? 0) + byteSize);
    }
    return bytes;
  }
}

function createEntry(
  source: AdapterSource,
  weights: AdapterWeights,
  loadMs: number,
): CachedAdapter {
  const { byteSize } = weights;
  const { owner } = source;
  return { weights, owner, byteSize, loadMs, uses: 0, value: 0, warmUntilMs: 0, leaseCount: 0 };
}

/** Waits for a load to end or for the signal to abort. */
function waitIn(waiters: Set<LeaseWaiter>, signal: AbortSignal | undefined): Promise<Lease> {
  return new Promise((resolve, reject) => {
    const leave = () => {
      waiters.delete(waiter);
      reject(signal?.reason);
    };
    const stopListening = () => signal?.removeEventListener('abort', leave);
    const waiter: LeaseWaiter = {
      resolve(lease) {
        stopListening();
        resolve(lease);
      },
      reject(error) {
        stopListening();
        reject(error);
      },
    };
    waiters.add(waiter);
    signal?.addEventListener('abort', leave, { once: true });
  });
}
