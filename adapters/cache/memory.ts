// The memory of loaded adapters: which are leased, which are idle, what loads have reserved, and what is evicted for a load.
// Knows no loader, and neither who waits for what.
import { assert } from '../../src/common/assert.ts';
import { ServeError } from '../../src/common/errors.ts';
import type { TenantShare } from '../../src/contracts/tenant.ts';
import type { AdapterWeights } from '../peft/weights.ts';
import { type Evictable, EvictionOrder } from './eviction.ts';
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
export interface Claim {
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
  readonly #reserved = new Set<Claim>();
  readonly #order = new EvictionOrder();
  readonly #shares: CacheShares;
  #leasedBytes = 0;
  #reservedBytes = 0;
  #idleBytes = 0;
  #evictions = 0;

  /** `now` returns monotonic milliseconds. */
  constructor(capacityBytes: number, now: () => number) {
    this.#capacityBytes = capacityBytes;
    this.#now = now;
    this.#shares = new CacheShares(capacityBytes);
  }

  /** Notes that a tenant asks for an adapter. */
  asked(tenant: TenantShare): void {
    this.#shares.asked(tenant, this.#now());
  }

  /** Makes a tenant known that is charged without asking. */
  introduce(id: string): void {
    this.#shares.introduce(id, this.#now());
  }

  find(digest: string): CachedAdapter | undefined {
    return this.#leased.get(digest) ?? this.#idle.get(digest);
  }

  /** Adds weights that were loaded within a claim, which ends. */
  add(weights: AdapterWeights, { claim, loadMs }: { claim: Claim; loadMs: number }): CachedAdapter {
    this.unreserve(claim);
    const { byteSize } = weights;
    const users = new Set([claim.tenant]);
    const of = { byteSize, loadMs, uses: 0, value: 0, warmUntilMs: 0, leaseCount: 0 };
    const entry = { weights, users, ...of };
    this.#keepIdle(entry);
    return entry;
  }

  /** Protects an adapter from eviction until as many calls of `release`. */
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

  /** Returns whether the adapter is idle now. */
  release(entry: CachedAdapter): boolean {
    if (--entry.leaseCount > 0) return false;
    this.#leased.delete(entry.weights.digest);
    this.#leasedBytes -= entry.byteSize;
    this.#keepIdle(entry);
    return true;
  }

  /**
   * Reserves memory for a load, and evicts idle adapters for it. Returns false if the load has to wait: for adapters in use, or
   * for another tenant of `waiting` that has less than its part. Throws `ServeError` if it can never fit.
   */
  reserve(claim: Claim, waiting: readonly Claim[]): boolean {
    const { byteSize } = claim;
    if (byteSize > this.#capacityBytes) {
      throw new ServeError(
        'adapter_invalid',
        `adapter refused: it takes ${byteSize} bytes in memory; the cache holds ${this.#capacityBytes}`,
      );
    }
    if (this.#bytesInUse + byteSize > this.#capacityBytes) return false;
    if (this.mustYield(claim.tenant, waiting, claim)) return false;
    while (!this.#fits(claim)) if (!this.#evictFor(claim)) return false;
    this.#reserved.add(claim);
    this.#reservedBytes += byteSize;
    return true;
  }

  /** Gives back what a claim has reserved, if anything. */
  unreserve(claim: Claim): void {
    if (this.#reserved.delete(claim)) this.#reservedBytes -= claim.byteSize;
  }

  /** Whether a tenant has more than its part, with the claim, while a load of another one within its part waits. */
  mustYield(tenant: string, waiting: readonly Claim[], claim?: Claim): boolean {
    if (this.#bytesInUse === 0 || waiting.length === 0) return false;
    const division = this.#divide(claim);
    if (division.isWithin(tenant)) return false;
    return waiting.some((of) => of.tenant !== tenant && division.isWithin(of.tenant, of.byteSize));
  }

  resident(): string[] {
    return [...this.#leased.keys(), ...this.#idle.keys()];
  }

  /** Returns the current figures. What is reserved counts as leased. */
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

  #fits(claim: Claim): boolean {
    const bytes = this.#bytesInUse + this.#idleBytes + claim.byteSize;
    return bytes <= this.#capacityBytes && !this.#exceedsMax(claim.tenant, this.#divide(claim));
  }

  /** Evicts one adapter. Returns false if the claim has to wait. */
  #evictFor(claim: Claim): boolean {
    const { tenant } = claim;
    const division = this.#divide(claim);
    const ofItsOwn = (entry: CachedAdapter) => (division.isOwn(entry, tenant) ? 0 : undefined);
    if (this.#exceedsMax(tenant, division)) return this.#evict(ofItsOwn);
    // Then no lease will end that could make room.
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

  /** Whether a tenant has more than its maximum, and adapters of its own that can give way. */
  #exceedsMax(tenant: string, division: Division): boolean {
    if (!division.exceedsMax(tenant)) return false;
    const hasOwnIdle = [...this.#idle.values()].some((one) => division.isOwn(one, tenant));
    return hasOwnIdle || this.#hasOwnInUse(tenant, division);
  }

  /** Whether a tenant uses adapters that will give way to its next one when they are idle. */
  #hasOwnInUse(tenant: string, division: Division): boolean {
    const isLoading = [...this.#reserved].some((claim) => claim.tenant === tenant);
    return isLoading || [...this.#leased.values()].some((one) => division.isOwn(one, tenant));
  }

  #divide(newcomer?: Claim): Division {
    const claims = newcomer ? [...this.#reserved, newcomer] : [...this.#reserved];
    const loads = claims.map(
      ({ tenant, byteSize }): Charged => ({ byteSize, users: new Set([tenant]) }),
    );
    const adapters = [...this.#leased.values(), ...this.#idle.values(), ...loads];
    return this.#shares.divide(adapters, this.#now());
  }
}
