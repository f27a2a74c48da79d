// A tenant: the owner of adapters, files, jobs and limits. Plain data, without API keys.

/** A tenant. */
export interface Tenant {
  /** Matches `TENANT_PATTERN`. */
  readonly id: string;
  /** Whether it may use the admin routes. */
  readonly isAdmin: boolean;
  /** Whether it may only read, because its key says so. */
  readonly isReadOnly?: boolean | undefined;
  /** The model that `default` stands for in this tenant's requests. Absent: the base. */
  readonly defaultModel?: string;
  /** Names of adapters that it may use, with `*` as a wildcard. Absent: its own adapters and the shared ones. */
  readonly allowedAdapters?: readonly string[];
  /** Its share of the engine relative to other tenants. Above 0. */
  readonly weight: number;
  readonly adapterCache?: AdapterCacheShare | undefined;
  readonly limits: TenantLimits;
  /** Set for work that nobody waits for, such as batches: it only uses slots and time that no other request wants. */
  readonly isIdle?: true | undefined;
}

/** A tenant's part of the adapter cache, as fractions of it. */
export interface AdapterCacheShare {
  /** The part that it keeps even while it is idle. Default: 0. */
  readonly reserved?: number;
  /** The most that it may use, even if more is free. Default: 1. */
  readonly max?: number;
}

/** The part of a tenant that fair queues and caches need. */
export type TenantShare = Pick<Tenant, 'id' | 'weight' | 'adapterCache' | 'isIdle'>;

/** A tenant's limits. An absent one means unlimited. */
export interface TenantLimits {
  readonly requestsPerMinute?: number;
  /** Counts prompt tokens and the maximum of generated tokens. */
  readonly tokensPerMinute?: number;
  readonly concurrentRequests?: number;
}

/** A tenant's id. It is also the first level of keys in a store, so it contains no separator and no `..`. */
export const TENANT_PATTERN = /^(?!.*\.\.)[a-z0-9][a-z0-9._-]{0,62}$/;

/** The owner of everything that all tenants may use. No key belongs to it. */
export const SHARED_OWNER = 'shared';

/** The only tenant if there is no keys file. */
export const LOCAL_TENANT: Tenant = { id: 'local', isAdmin: false, weight: 1, limits: {} };

/** Whether the tenant's patterns allow an adapter, given its name without version and alias. */
export function mayUseAdapter({ allowedAdapters }: Tenant, name: string): boolean {
  return allowedAdapters?.some((pattern) => matches(pattern.split('*'), name)) ?? true;
}

/** Whether `text` consists of the parts in order with anything between them. Takes linear time. */
function matches([first = '', ...rest]: readonly string[], text: string): boolean {
  const last = rest.pop();
  if (last === undefined) return text === first;
  if (!text.startsWith(first)) return false;
  let from = first.length;
  for (const part of rest) {
    const at = text.indexOf(part, from);
    if (at < 0) return false;
    from = at + part.length;
  }
  return text.length - last.length >= from && text.endsWith(last);
}
