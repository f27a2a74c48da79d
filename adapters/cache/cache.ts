// Keeps loaded adapters in memory, by digest. Each is loaded once for all callers, stays while it is leased, and is evicted by
// cost when idle. Tenants share the memory fairly. The caller has already authorized the request.
import { LRUCache } from 'lru-cache';
import { assert } from '../../src/common/assert.ts';
import { entryLimit } from '../../src/common/entry-limit.ts';
import { ServeError } from '../../src/common/errors.ts';
import type { AdapterTierStats } from '../../src/contracts/engine.ts';
import type { AdapterSource } from '../../src/contracts/generation.ts';
import type { TenantShare } from '../../src/contracts/tenant.ts';
import type { AdapterWeights } from '../peft/weights.ts';
import type { OpenedAdapter } from './load.ts';
import { AdapterMemory, type CachedAdapter, type MemoryReservation } from './memory.ts';

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
interface AdapterCacheOptions {
  /** The limit for idle, leased and loading weights together. */
  readonly capacityBytes: number;
  /**
   * Measures an adapter, so that memory can be reserved before it is loaded. For a permanently bad adapter, this and the load
   * reject with a `ServeError` of status 422.
   */
  openAdapter(source: AdapterSource): Promise<OpenedAdapter>;
  /** Called once per failed load. */
  onFailure?(source: AdapterSource, error: unknown): void;
  readonly maxParallelLoads?: number;
  /** Returns monotonic milliseconds. */
  readonly now?: () => number;
}

/** An adapter that was refused is not read again for this long. */
const REFUSAL_TTL_MS = 30_000;
const MAX_REFUSALS = 1000;
/** Loads compete with the engine for the CPU, and each holds its file and its weights in memory. */
const MAX_PARALLEL_LOADS = 2;
/** How an adapter is leased. */
export interface LeaseOptions {
  readonly signal?: AbortSignal;
  /** Evicts other adapters first for this long. */
  readonly keepWarmMs?: number;
  /** The tenant that asks, and is charged for the memory. Absent: no tenant asks, and the adapter's owner is charged. */
  readonly tenant?: TenantShare | undefined;
}

interface Load {
  readonly source: AdapterSource;
  tenant: string;
  readonly waiters: Set<LeaseWaiter>;
  /** Set once its size is known. */
  opened?: OpenedAdapter;
}

interface LeaseWaiter {
  readonly tenant: string;
  resolve(lease: Lease): void;
  reject(error: unknown): void;
}

/** A cache of loaded adapters. */
export class AdapterCache {
  readonly #options: AdapterCacheOptions;
  readonly #now: () => number;
  readonly #memory: AdapterMemory;
  readonly #loads = new Map<string, Load>();
  readonly #queue = new LoadQueue<Load>();
  readonly #refusals: LRUCache<string, ServeError>;
  #runningLoads = 0;
  #hits = 0;
  #misses = 0;
  #loaded = 0;
  #failed = 0;

  constructor(options: AdapterCacheOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#memory = new AdapterMemory(options.capacityBytes, this.#now);
    this.#refusals = new LRUCache({
      ...entryLimit(MAX_REFUSALS),
      ttl: REFUSAL_TTL_MS,
      ttlResolution: 0,
      perf: { now: this.#now },
    });
  }

  /**
   * Leases an adapter's weights. If leased weights leave no room, it waits until some are released. An abort ends only this
   * wait; the load continues for other callers. Throws the loader's error or the signal's reason.
   */
  async lease(source: AdapterSource, options: LeaseOptions = {}): Promise<Lease> {
    const { keepWarmMs } = options;
    const lease = await this.#lease(source, options);
    if (keepWarmMs !== undefined) {
      this.#memory.find(source.digest)!.warmUntilMs = this.#now() + keepWarmMs;
    }
    return lease;
  }

  async #lease(source: AdapterSource, { signal, tenant }: LeaseOptions): Promise<Lease> {
    signal?.throwIfAborted();
    const { digest, owner } = source;
    const payer = tenant?.id ?? owner;
    if (tenant) this.#memory.asked(tenant);
    else this.#memory.introduce(owner);
    const entry = this.#memory.find(digest);
    if (entry && !this.#mustYield(payer)) {
      this.#hits++;
      return this.#createLease(entry, { tenant: payer, tier: 'ram', loadMs: 0 });
    }
    const refusal = this.#refusals.get(digest);
    if (refusal) throw refusal;
    if (!entry) this.#misses++;
    const load = this.#loads.get(digest) ?? this.#enqueue(source, payer);
    this.#queue.join(load, payer);
    const lease = waitIn(load.waiters, payer, signal);
    this.#startLoads();
    return lease;
  }

  /** Returns the current counts and sizes. */
  stats(): AdapterTierStats & Record<'leasedBytes' | 'leasedCount' | 'loading', number> {
    return {
      ...this.#memory.figures(),
      loading: this.#loads.size,
      hits: this.#hits,
      misses: this.#misses,
      loaded: this.#loaded,
      failed: this.#failed,
    };
  }

  /** Lists the digests in memory, the one used last at the end. */
  resident(): string[] {
    return this.#memory.resident();
  }

  #enqueue(source: AdapterSource, tenant: string): Load {
    const load: Load = { source, tenant, waiters: new Set() };
    this.#loads.set(source.digest, load);
    this.#queue.push(load);
    return load;
  }

  #startLoads(): void {
    const limit = this.#options.maxParallelLoads ?? MAX_PARALLEL_LOADS;
    while (this.#runningLoads < limit) {
      const load = this.#queue.next();
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
    let isParked = false;
    try {
      const resident = this.#memory.find(source.digest);
      if (resident) {
        isParked = this.#queue.isBlocked(load, 0) || this.#mustYield(load.tenant);
        if (isParked) this.#queue.park(load, 0);
        else this.#hits += this.#resolve(load, resident, { tier: 'ram', loadMs: 0 });
      } else isParked = !(await this.#load(load));
    } catch (error) {
      this.#failed++;
      this.#loads.delete(source.digest);
      const isPermanent = error instanceof ServeError && error.status === 422;
      if (isPermanent) this.#refusals.set(source.digest, error);
      this.#options.onFailure?.(source, error);
      for (const { reject } of waiters) reject(error);
    } finally {
      this.#runningLoads--;
      if (!isParked) this.#queue.unpark();
      this.#startLoads();
    }
  }

  /** Loads an adapter. Returns false, with the load parked, if there is no memory for it now. */
  async #load(load: Load): Promise<boolean> {
    const { source, tenant } = load;
    const startMs = this.#now();
    load.opened ??= await this.#options.openAdapter(source);
    const { byteSize } = load.opened;
    const claim: MemoryReservation = { tenant, byteSize };
    const isBlocked = this.#queue.isBlocked(load, byteSize);
    if (isBlocked || !this.#memory.reserve(claim, this.#waiting(load))) {
      this.#queue.park(load, byteSize); // in the same turn: memory may be released in the next one
      return false;
    }
    try {
      const weights = await load.opened.load();
      assert(weights.digest === source.digest, 'the loader returned another digest');
      assert(weights.byteSize <= claim.byteSize, 'the weights are larger than measured');
      const loadMs = this.#now() - startMs;
      const entry = this.#memory.add(weights, { claim, loadMs });
      this.#loaded++;
      // In the same turn, so that the adapter cannot be evicted before it is leased.
      this.#resolve(load, entry, { tier: 'disk', loadMs });
      return true;
    } finally {
      this.#memory.unreserve(claim);
    }
  }

  /** Lists the reservations of waiting loads whose size is known. */
  #waiting(except?: Load): MemoryReservation[] {
    return this.#queue.all().flatMap((load) => {
      const { tenant, opened, waiters } = load;
      if (load === except || !opened || waiters.size === 0) return [];
      return [{ tenant, byteSize: opened.byteSize }];
    });
  }

  #mustYield(tenant: string): boolean {
    return this.#memory.mustYield(tenant, this.#waiting());
  }

  /** Ends a load and gives its waiters their leases. Returns the number of waiters. */
  #resolve(
    { source, waiters }: Load,
    entry: CachedAdapter,
    found: Pick<Lease, 'tier' | 'loadMs'>,
  ): number {
    this.#loads.delete(source.digest);
    for (const { resolve, tenant } of waiters) {
      resolve(this.#createLease(entry, { ...found, tenant }));
    }
    return waiters.size;
  }

  #createLease(
    entry: CachedAdapter,
    { tenant, ...found }: Pick<Lease, 'tier' | 'loadMs'> & { tenant: string },
  ): Lease {
    this.#memory.hold(entry, tenant);
    let isReleased = false;
    const release = () => {
      if (isReleased) return;
      isReleased = true;
      if (!this.#memory.release(entry)) return;
      this.#queue.unpark();
      this.#startLoads();
    };
    return { weights: entry.weights, ...found, release, [Symbol.dispose]: release };
  }
}

/** Waits for a load to end or for the signal to abort. */
function waitIn(
  waiters: Set<LeaseWaiter>,
  tenant: string,
  signal: AbortSignal | undefined,
): Promise<Lease> {
  return new Promise((resolve, reject) => {
    const leave = () => {
      waiters.delete(waiter);
      reject(signal?.reason);
    };
    const stopListening = () => signal?.removeEventListener('abort', leave);
    const waiter: LeaseWaiter = {
      tenant,
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

// The order of loads. Tenants take turns, so that one with many adapters does not delay the single adapter of another.

/** A load as the queue sees it. */
interface QueuedLoad {
  /** The tenant that the load counts for. */
  tenant: string;
}

/** Loads that wait: for another load to end, or for memory. */
class LoadQueue<T extends QueuedLoad> {
  /** Oldest first. */
  #waiting: T[] = [];
  #parked: T[] = [];
  /** Tenant → when its last load began, counted in loads. One entry per tenant ever seen. */
  readonly #turns = new Map<string, number>();
  #turn = 0;
  /** Tenant → the fewest bytes that it could not reserve since the last `unpark`. */
  readonly #blocked = new Map<string, number>();

  /** Lists all waiting loads. */
  all(): T[] {
    return [...this.#parked, ...this.#waiting];
  }

  /** Counts a load for another tenant that asks for it, if that tenant's turn comes earlier. */
  join(load: T, tenant: string): void {
    if (this.#lastTurn({ tenant }) < this.#lastTurn(load)) load.tenant = tenant;
  }

  push(load: T): void {
    this.#waiting.push(load);
  }

  /** Takes the oldest load of the tenant whose last load began first. */
  next(): T | undefined {
    let next: T | undefined;
    for (const load of this.#waiting) {
      if (!next || this.#lastTurn(load) < this.#lastTurn(next)) next = load;
    }
    if (!next) return undefined;
    this.#waiting = this.#waiting.filter((load) => load !== next);
    this.#turn++;
    this.#turns.set(next.tenant, this.#turn);
    return next;
  }

  /** Sets a load aside until `unpark`, because `byteSize` bytes could not be reserved. */
  park(load: T, byteSize: number): void {
    this.#parked.push(load);
    this.#blocked.set(load.tenant, Math.min(byteSize, this.#blockedFrom(load)));
  }

  /** Whether a load need not try, because its tenant failed to reserve fewer bytes. */
  isBlocked(load: T, byteSize: number): boolean {
    return byteSize >= this.#blockedFrom(load);
  }

  /** Lets all parked loads try again, ahead of their tenants' other loads. */
  unpark(): void {
    this.#waiting = [...this.#parked, ...this.#waiting];
    this.#parked = [];
    this.#blocked.clear();
  }

  #blockedFrom({ tenant }: QueuedLoad): number {
    return this.#blocked.get(tenant) ?? Number.POSITIVE_INFINITY;
  }

  #lastTurn({ tenant }: QueuedLoad): number {
    return this.#turns.get(tenant) ?? 0;
  }
}
