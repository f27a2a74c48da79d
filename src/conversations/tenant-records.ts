// Objects that a server keeps for its tenants for some time: one each, under the tenant's prefix. An expired object counts as
// unknown, and the next sweep deletes it.

import { type DocumentKind, Records } from '../../adapters/store/documents.ts';
import type { GuardedStore } from '../../adapters/store/guarded-store.ts';
import { isDamage, type ObjectInfo, type StoreCall } from '../../adapters/store/store.ts';
import { ServeError } from '../common/errors.ts';

/** The retention and the limits of kept objects. */
export interface KeepOptions {
  readonly store: GuardedStore;
  /** How long an object is kept after its last change. */
  readonly keepMs: number;
  /** Returns Unix milliseconds. */
  readonly now: () => number;
  /** The most bytes of one tenant's objects. Beyond it, a sweep deletes the oldest ones. */
  readonly maxBytes: number;
  /** The most objects of one tenant, with the same effect. */
  readonly maxPerTenant?: number;
}

/** A kind of kept objects. */
interface KeptKind<T> extends DocumentKind<T> {
  /** The folder below the tenant's prefix. */
  readonly folder: string;
  /** Ids are parts of keys. */
  readonly id: RegExp;
  /** Says that an object is damaged, and what to do. */
  readonly damaged: string;
}

/** A kept object. `expiresMs` are Unix milliseconds. */
interface Kept {
  readonly schema: 1;
  readonly expiresMs: number;
}

/** Keeps a tenant from filling the store: 10,000 short conversations take about 50 MB. */
const MAX_PER_TENANT = 10_000;
/** Between two sweeps, a server adds at most this part of a tenant's limits, or one object of the largest size. */
const SWEEP_AFTER = 0.1;

/** The kept objects of one kind, of all tenants. Methods throw the guarded store's errors. */
export class TenantRecords<T extends Kept> {
  readonly #options: KeepOptions;
  readonly #kind: KeptKind<T>;
  readonly #records: Records<T>;
  /** The objects that this server has written since the tenant's last sweep. */
  readonly #sinceSweep = new Map<string, { count: number; bytes: number }>();

  constructor(kind: KeptKind<T>, options: KeepOptions) {
    this.#options = options;
    this.#kind = kind;
    this.#records = new Records(options.store, kind);
  }

  /** Keeps an object. Throws a `RangeError` if it is too large. */
  async create(
    tenant: string,
    id: string,
    value: Omit<T, keyof Kept>,
    call?: StoreCall,
  ): Promise<void> {
    await this.#records.create(this.#keyOf(tenant, id), this.#renewed(value), call);
    await this.#sweepIfDue(tenant, value, call);
  }

  /**
   * Changes an object and keeps it from now on. A change that returns undefined leaves it as it is. Returns the object
   * afterwards, or undefined if `find` would. Throws a `RangeError` if it becomes too large, and what the change throws.
   */
  async change(
    tenant: string,
    id: string,
    change: (now: T) => Omit<T, keyof Kept> | undefined,
    call?: StoreCall & { readonly param?: string },
  ): Promise<T | undefined> {
    if (!this.#kind.id.test(id)) return undefined;
    const next = (now: T) => {
      const value = this.#isExpired(now) ? undefined : change(now);
      return value && this.#renewed(value);
    };
    const changing = this.#records.change(this.#keyOf(tenant, id), next, call);
    const after = await changing.catch((error: Error) => this.#refuse(error, call?.param));
    if (!after || this.#isExpired(after)) return undefined;
    await this.#sweepIfDue(tenant, after, call);
    return after;
  }

  /**
   * Returns an object, or undefined if it is unknown, expired or another tenant's. If it is damaged, throws a `ServeError`
   * (`object_damaged`) that names the request's field `param`.
   */
  async find(
    tenant: string,
    id: string,
    { param, ...call }: StoreCall & { readonly param?: string } = {},
  ): Promise<T | undefined> {
    if (!this.#kind.id.test(id)) return undefined;
    const reading = this.#records.read(this.#keyOf(tenant, id), call);
    const record = await reading.catch((error: Error) => this.#refuse(error, param));
    return record && !this.#isExpired(record) ? record : undefined;
  }

  /** Removes an object, even a damaged one. Returns whether there was one. */
  async remove(tenant: string, id: string): Promise<boolean> {
    const lookup = this.find(tenant, id).catch((error: unknown) => {
      if (error instanceof ServeError && error.code === 'object_damaged') return 'damaged';
      throw error;
    });
    if (!(await lookup)) return false;
    await this.#options.store.delete(this.#keyOf(tenant, id));
    return true;
  }

  /** Deletes the expired objects of all tenants, and the oldest ones beyond a tenant's limits. */
  async sweep(call?: StoreCall): Promise<void> {
    for await (const entry of this.#options.store.list('', { ...call, delimiter: '/' })) {
      if (entry.kind === 'folder') await this.#sweepTenant(entry.key.slice(0, -1), call);
    }
  }

  #keyOf(tenant: string, id = ''): string {
    return `${tenant}/${this.#kind.folder}/${id}`;
  }

  #isExpired({ expiresMs }: Kept): boolean {
    return expiresMs <= this.#options.now();
  }

  #renewed(value: Omit<T, keyof Kept>): T {
    const { now, keepMs } = this.#options;
    return { ...value, schema: 1, expiresMs: now() + keepMs } as T;
  }

  #refuse(cause: Error, param = 'id'): never {
    if (!isDamage(cause)) throw cause;
    throw new ServeError('object_damaged', this.#kind.damaged, { param, cause });
  }

  async #sweepIfDue(tenant: string, written: object, call?: StoreCall): Promise<void> {
    const { maxBytes, maxPerTenant = MAX_PER_TENANT } = this.#options;
    const since = this.#sinceSweep.get(tenant) ?? { count: 0, bytes: 0 };
    since.count++;
    since.bytes += Buffer.byteLength(JSON.stringify(written));
    this.#sinceSweep.set(tenant, since);
    const isDue =
      since.count >= SWEEP_AFTER * maxPerTenant ||
      since.bytes >= Math.max(SWEEP_AFTER * maxBytes, this.#kind.maxBytes);
    if (isDue) await this.#sweepTenant(tenant, call);
  }

  async #sweepTenant(tenant: string, call?: StoreCall): Promise<void> {
    const { store, keepMs, now, maxBytes, maxPerTenant = MAX_PER_TENANT } = this.#options;
    this.#sinceSweep.delete(tenant);
    const objects: ObjectInfo[] = [];
    for await (const entry of store.list(this.#keyOf(tenant), call)) {
      if (entry.kind === 'object') objects.push(entry);
    }
    objects.sort((a, b) => b.modifiedMs - a.modifiedMs);
    const oldestMs = now() - keepMs;
    let bytes = 0;
    const isOver = ({ modifiedMs, byteSize }: ObjectInfo, i: number) => {
      bytes += byteSize;
      return i >= maxPerTenant || bytes > maxBytes || modifiedMs <= oldestMs;
    };
    for (const { key } of objects.filter(isOver)) await store.delete(key, call);
  }
}
