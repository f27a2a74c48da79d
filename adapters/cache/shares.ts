// Divides the memory of loaded adapters between tenants: who is charged for an adapter, how large a tenant's share is, and
// whose adapters an eviction may take. A tenant may use what others leave free, but only its share is safe from them. Pure:
// adapters, sizes and the time are arguments.
import { largest } from '../../src/common/long-arrays.ts';
import type { TenantShare } from '../../src/contracts/tenant.ts';

/** An adapter in memory, or one that is being loaded. */
export interface Charged {
  readonly byteSize: number;
  /** The tenants that asked for it lately. Each is charged for an equal part of it. */
  readonly users: ReadonlySet<string>;
}

/** A tenant without a request for this long keeps only the memory that is reserved for it by name. */
const SHARE_LAPSES_MS = 600_000;

/**
 * How well an adapter is protected from the loads of other tenants. Its best protected user decides: `reserved` is within the
 * tenant's share, `only` exceeds the share but is all that the tenant has.
 */
const PROTECTION = { none: 0, only: 1, reserved: 2 } as const;

/** The order in which adapters are evicted for a load. */
const RANK = { free: 0, own: 1, only: 2, reserved: 3 } as const;
/** See `RANK`. */
type EvictionRank = (typeof RANK)[keyof typeof RANK];

interface KnownTenant extends TenantShare {
  readonly askedMs: number;
}

/** The tenants of a cache. */
export class CacheShares {
  readonly #capacityBytes: number;
  /** One entry per tenant ever seen. */
  readonly #tenants = new Map<string, KnownTenant>();

  constructor(capacityBytes: number) {
    this.#capacityBytes = capacityBytes;
  }

  /** Notes a request of a tenant, and its settings at that time. */
  asked(tenant: TenantShare, nowMs: number): void {
    this.#tenants.set(tenant.id, { ...tenant, askedMs: nowMs });
  }

  /** Makes a tenant known until it asks. A tenant that has asked keeps its settings. */
  introduce(id: string, nowMs: number): void {
    if (!this.#tenants.has(id)) this.#tenants.set(id, { id, weight: 1, askedMs: nowMs });
  }

  /** Returns the division between tenants. It is valid until the adapters change. */
  divide(adapters: Iterable<Charged>, nowMs: number): Division {
    const tenants = [...this.#tenants.values()];
    const active = tenants.filter(({ askedMs }) => nowMs - askedMs <= SHARE_LAPSES_MS);
    const weights = active.reduce((sum, { weight }) => sum + weight, 0);
    const unreserved = 1 - tenants.reduce((sum, tenant) => sum + reservedPart(tenant), 0);
    const activeIds = new Set(active.map(({ id }) => id));
    const parts = new Map(
      tenants.map((tenant): [string, Part] => {
        const isActive = activeIds.has(tenant.id);
        const ofTheRest = isActive ? (Math.max(0, unreserved) * tenant.weight) / weights : 0;
        return [
          tenant.id,
          {
            bytes: 0,
            count: 0,
            isActive,
            reservedBytes: (reservedPart(tenant) + ofTheRest) * this.#capacityBytes,
            maxBytes: (tenant.adapterCache?.max ?? 1) * this.#capacityBytes,
          },
        ];
      }),
    );
    for (const { byteSize, users } of adapters) {
      for (const user of users) {
        const part = parts.get(user)!;
        part.bytes += byteSize / users.size;
        part.count++;
      }
    }
    return new Division(parts);
  }
}

function reservedPart({ adapterCache }: TenantShare): number {
  return adapterCache?.reserved ?? 0;
}

/** A tenant's share of the memory, and how much it uses. */
interface Part {
  bytes: number;
  count: number;
  readonly isActive: boolean;
  readonly reservedBytes: number;
  readonly maxBytes: number;
}

/** The division at one moment. */
export class Division {
  readonly #parts: ReadonlyMap<string, Part>;

  constructor(parts: ReadonlyMap<string, Part>) {
    this.#parts = parts;
  }

  /** Whether a tenant stays within its share with so many more bytes. */
  isWithin(tenant: string, moreBytes = 0): boolean {
    const part = this.#parts.get(tenant);
    return part !== undefined && part.bytes + moreBytes <= part.reservedBytes;
  }

  /** Whether a tenant uses more than its maximum. A single adapter is always allowed. */
  exceedsMax(tenant: string): boolean {
    const { bytes, maxBytes, count } = this.#parts.get(tenant)!;
    return bytes > maxBytes && count > 1;
  }

  /** Returns the adapter's eviction rank for a load of `tenant`. A tenant's own protection does not count against itself. */
  rank({ users }: Pick<Charged, 'users'>, tenant: string): EvictionRank {
    const ofOthers = this.#protection([...users].filter((user) => user !== tenant));
    if (ofOthers === PROTECTION.reserved) return RANK.reserved;
    if (ofOthers === PROTECTION.only) return RANK.only;
    return this.#protection(users) === PROTECTION.none ? RANK.free : RANK.own;
  }

  /** Whether a tenant may evict this adapter because none of its other users is protected. */
  isOwn(adapter: Pick<Charged, 'users'>, tenant: string): boolean {
    return adapter.users.has(tenant) && this.rank(adapter, tenant) <= RANK.own;
  }

  /**
   * Returns the highest rank that may be evicted for a load of `tenant`, which is counted already. `hasOwn`: it has other
   * adapters in use that can be evicted for it later.
   */
  highestRank(tenant: string, hasOwn: boolean): EvictionRank {
    if (this.isWithin(tenant)) return RANK.only;
    return hasOwn ? RANK.own : RANK.reserved;
  }

  #protection(users: Iterable<string>): number {
    return largest([PROTECTION.none, ...Array.from(users, (user) => this.#protectionOf(user))]);
  }

  #protectionOf(user: string): number {
    const { isActive, count, reservedBytes } = this.#parts.get(user)!;
    if (reservedBytes > 0 && this.isWithin(user)) return PROTECTION.reserved;
    return isActive && count === 1 ? PROTECTION.only : PROTECTION.none;
  }
}
