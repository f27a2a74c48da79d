// Accounts for the memory of loaded adapters: which are leased, which are idle, what loads have reserved, and what to evict for
// a load. Loading and waiting are the cache's part.

import { assert } from '../../src/common/assert.ts';
import { ServeError } from '../../src/common/errors.ts';
import { formatFileSize } from '../../src/common/format-bytes.ts';
import type { TenantShare } from '../../src/contracts/tenant.ts';
import type { AdapterWeights } from '../peft/weights.ts';
import { CacheShares, type Charged, type Division } from './shares.ts';

/** Only the latest tenants that used an adapter are charged for it. More would make each eviction slower. */
const MAX_USERS = 8;

/** Loaded weights. */
export interface CachedAdapter extends Evictable {
  readonly weights: AdapterWeights;
  /** The tenants that are charged for it, the latest last. */
  readonly users: Set<string>;
  leaseCount: number;
}

/** The memory that a load needs. */
export interface MemoryReservation {
  readonly tenant: string;
  readonly byteSize: number;
}

/** A limited memory of adapters that tenants share. */
export class AdapterMemory {
  readonly #capacityBytes: number;
  readonly #now: () => number;
  /** Adapters without a lease, in the order of their release. */
  readonly #idle = new Map<string, CachedAdapter>();
  readonly #leased = new Map<string, CachedAdapter>();
  readonly #reserved = new Set<MemoryReservation>();
  readonly #order = new EvictionOrder();
  readonly #shares: CacheShares;
  #leasedBytes = 0;
  #reservedBytes = 0;
  #idleBytes = 0;
  #evictions = 0;

  /** @param now returns monotonic milliseconds */
  constructor(capacityBytes: number, now: () => number) {
    this.#capacityBytes = capacityBytes;
    this.#now = now;
    this.#shares = new CacheShares(capacityBytes);
  }

  /** Notes that a tenant asks for an adapter. */
  asked(tenant: TenantShare): void {
    this.#shares.asked(tenant, this.#now());
  }

  /** Makes a tenant known that is charged although it did not ask. */
  introduce(id: string): void {
    this.#shares.introduce(id, this.#now());
  }

  find(digest: string): CachedAdapter | undefined {
    return this.#leased.get(digest) ?? this.#idle.get(digest);
  }

  /** Adds weights that were loaded within a reservation, and ends the reservation. */
  add(
    weights: AdapterWeights,
    { claim, loadMs }: { claim: MemoryReservation; loadMs: number },
  ): CachedAdapter {
    this.unreserve(claim);
    const { byteSize } = weights;
    const users = new Set([claim.tenant]);
    const of = { byteSize, loadMs, uses: 0, value: 0, warmUntilMs: 0, leaseCount: 0 };
    const entry = { weights, users, ...of };
    this.#keepIdle(entry);
    return entry;
  }

  /** Protects an adapter from eviction until `release` was called as often. */
  hold(entry: CachedAdapter, tenant: string): void {
    const { weights, users } = entry;
    this.#order.use(entry);
    users.delete(tenant);
    users.add(tenant);
    const [oldest] = users;
    if (users.size > MAX_USERS) users.delete(oldest!);
    if (entry.leaseCount++ > 0) return;
    this.#idle.delete(weights.digest);
    this.#idleBytes -= entry.byteSize;
    this.#leased.set(weights.digest, entry);
    this.#leasedBytes += entry.byteSize;
  }

  /** Ends one hold. Returns whether the adapter is idle now. */
  release(entry: CachedAdapter): boolean {
    if (--entry.leaseCount > 0) return false;
    this.#leased.delete(entry.weights.digest);
    this.#leasedBytes -= entry.byteSize;
    this.#keepIdle(entry);
    return true;
  }

  /**
   * Reserves memory for a load, evicting idle adapters if necessary. Returns false if the load has to wait: for adapters in
   * use, or for a load in `waiting` whose tenant is below its share. Throws `ServeError` if it can never fit.
   */
  reserve(claim: MemoryReservation, waiting: readonly MemoryReservation[]): boolean {
    const { byteSize } = claim;
    if (byteSize > this.#capacityBytes) {
      throw new ServeError(
        'adapter_invalid',
        `adapter refused: it takes ${formatFileSize(byteSize)} in memory, but the adapter cache holds ${formatFileSize(this.#capacityBytes)}. Raise --adapter-cache, or lower the rank.`,
      );
    }
    if (this.#bytesInUse + byteSize > this.#capacityBytes) return false;
    if (this.mustYield(claim.tenant, waiting, claim)) return false;
    while (!this.#fits(claim)) if (!this.#evictFor(claim)) return false;
    this.#reserved.add(claim);
    this.#reservedBytes += byteSize;
    return true;
  }

  /** Ends a reservation, if it is still held. */
  unreserve(claim: MemoryReservation): void {
    if (this.#reserved.delete(claim)) this.#reservedBytes -= claim.byteSize;
  }

  /** Whether the tenant would exceed its share with the reservation, while a load of a tenant within its share waits. */
  mustYield(
    tenant: string,
    waiting: readonly MemoryReservation[],
    claim?: MemoryReservation,
  ): boolean {
    if (this.#bytesInUse === 0 || waiting.length === 0) return false;
    const division = this.#divide(claim);
    if (division.isWithin(tenant)) return false;
    return waiting.some((of) => of.tenant !== tenant && division.isWithin(of.tenant, of.byteSize));
  }

  resident(): string[] {
    return [...this.#idle.keys(), ...this.#leased.keys()];
  }

  /** Returns the current figures. Reserved memory counts as leased. */
  figures() {
    const [leasedBytes, leasedCount] = [this.#bytesInUse, this.#leased.size];
    return {
      bytes: this.#idleBytes + leasedBytes,
      adapters: this.#idle.size + leasedCount,
      leasedBytes,
      leasedCount,
      evictions: this.#evictions,
    };
  }

  get #bytesInUse(): number {
    return this.#leasedBytes + this.#reservedBytes;
  }

  #keepIdle(entry: CachedAdapter): void {
    this.#idle.set(entry.weights.digest, entry);
    this.#idleBytes += entry.byteSize;
  }

  #fits(claim: MemoryReservation): boolean {
    const bytes = this.#bytesInUse + this.#idleBytes + claim.byteSize;
    return bytes <= this.#capacityBytes && !this.#exceedsMax(claim.tenant, this.#divide(claim));
  }

  /** Evicts one adapter. Returns false if the reservation has to wait. */
  #evictFor(claim: MemoryReservation): boolean {
    const { tenant } = claim;
    const division = this.#divide(claim);
    const ofItsOwn = (entry: CachedAdapter) => (division.isOwn(entry, tenant) ? 0 : undefined);
    if (this.#exceedsMax(tenant, division)) return this.#evict(ofItsOwn);
    // No lease is left whose end could make room.
    if (this.#bytesInUse === 0) return this.#evict((entry) => division.rank(entry, tenant));
    const highest = division.highestRank(tenant, this.#hasOwnInUse(tenant, division));
    return this.#evict((entry) => {
      const rank = division.rank(entry, tenant);
      return rank <= highest ? rank : undefined;
    });
  }

  #evict(rank: (entry: CachedAdapter) => number | undefined): boolean {
    const evicted = this.#order.choose(this.#idle.values(), { rank, nowMs: this.#now() });
    if (!evicted) return false;
    assert(this.#idle.delete(evicted.weights.digest), 'only idle adapters are evicted');
    this.#idleBytes -= evicted.byteSize;
    this.#evictions++;
    return true;
  }

  /** Whether a tenant exceeds its maximum and has adapters, used by nobody else, that can be evicted for it. */
  #exceedsMax(tenant: string, division: Division): boolean {
    if (!division.exceedsMax(tenant)) return false;
    const hasOwnIdle = [...this.#idle.values()].some((one) => division.isOwn(one, tenant));
    return hasOwnIdle || this.#hasOwnInUse(tenant, division);
  }

  /** Whether a tenant is using adapters that can be evicted for its next one once they are idle. */
  #hasOwnInUse(tenant: string, division: Division): boolean {
    const isLoading = [...this.#reserved].some((claim) => claim.tenant === tenant);
    return isLoading || [...this.#leased.values()].some((one) => division.isOwn(one, tenant));
  }

  #divide(newcomer?: MemoryReservation): Division {
    const claims = newcomer ? [...this.#reserved, newcomer] : [...this.#reserved];
    const loads = claims.map(
      ({ tenant, byteSize }): Charged => ({ byteSize, users: new Set([tenant]) }),
    );
    const adapters = [...this.#leased.values(), ...this.#idle.values(), ...loads];
    return this.#shares.divide(adapters, this.#now());
  }
}

// Chooses the adapter to evict, by GreedyDual-Size with frequency (Cherkasova 1998): the one with the lowest value = age + uses
// x reload time / bytes. The age is the value of the last evicted adapter, so formerly popular ones do not stay forever.
// Tenants' shares come first. Pure policy: no weights, leases or clock.

/** A record of an adapter that can be evicted. */
export interface Evictable {
  readonly byteSize: number;
  /** Time to load it again. */
  readonly loadMs: number;
  /** Requests since it was loaded. */
  uses: number;
  /** Its value at its last use. */
  value: number;
  /** Until then it is expected to be used. */
  warmUntilMs: number;
}

/** The tenants' reasons to evict an adapter. */
interface Pressure<T> {
  /** Returns the eviction rank, lowest first; undefined if the adapter must stay. */
  rank(entry: T): number | undefined;
  readonly nowMs: number;
}

/** The shortest reload time to assume: a file in the page cache today may not be there tomorrow. */
const MIN_LOAD_MS = 1;

/** The eviction policy and its age. */
export class EvictionOrder {
  #age = 0;

  /** Call it on each use, including the first. */
  use(entry: Evictable): void {
    entry.uses++;
    entry.value = this.#age + (entry.uses * Math.max(entry.loadMs, MIN_LOAD_MS)) / entry.byteSize;
  }

  /**
   * Chooses the adapter to evict; undefined if all must stay. The lowest rank goes first, then adapters that are not warm, then
   * the lowest value. Among equals the first one goes.
   */
  choose<T extends Evictable>(idle: Iterable<T>, { rank, nowMs }: Pressure<T>): T | undefined {
    let candidates: T[] = [];
    let lowest = Number.POSITIVE_INFINITY;
    for (const entry of idle) {
      const own = rank(entry) ?? Number.POSITIVE_INFINITY;
      if (own < lowest) candidates = [];
      lowest = Math.min(lowest, own);
      if (own === lowest && own < Number.POSITIVE_INFINITY) candidates.push(entry);
    }
    const cool = candidates.filter(({ warmUntilMs }) => warmUntilMs <= nowMs);
    const victim = leastValued(cool.length > 0 ? cool : candidates);
    if (victim) this.#age = Math.max(this.#age, victim.value);
    return victim;
  }
}

function leastValued<T extends Evictable>(entries: readonly T[]): T | undefined {
  let least: T | undefined;
  for (const entry of entries) if (!least || entry.value < least.value) least = entry;
  return least;
}
