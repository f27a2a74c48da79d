// Who is asking: the owner of adapters, files, jobs and limits. Plain data; keys and how they are checked are elsewhere.

export interface Tenant {
  /** `TENANT_PATTERN`. */
  readonly id: string;
  /** May use the admin routes. */
  readonly isAdmin: boolean;
  /** What `default` means to this tenant, in any form of a model's name; absent: the base. */
  readonly defaultModel?: string;
  /** Names of adapters that it may use, with `*` for any run of characters; absent: its own and the shared ones. */
  readonly allowedAdapters?: readonly string[];
  /** Its share of the engine relative to others', above 0. */
  readonly weight: number;
  readonly limits: TenantLimits;
}

/** What fair queues need to know of a tenant. */
export type TenantShare = Pick<Tenant, 'id' | 'weight'>;

/** Absent: unlimited. */
export interface TenantLimits {
  readonly requestsPerMinute?: number;
  /** Prompt tokens and the tokens that a request may generate. */
  readonly tokensPerMinute?: number;
  readonly concurrentRequests?: number;
}

/** Also the first level of keys in a store, so it holds no separator and cannot lead out of it. */
export const TENANT_PATTERN = /^(?!.*\.\.)[a-z0-9][a-z0-9._-]{0,62}$/;

/** Owns what everybody may name; nobody's key belongs to it. */
export const SHARED_OWNER = 'shared';

/** The only one where there is no keys file. */
export const LOCAL_TENANT: Tenant = { id: 'local', isAdmin: false, weight: 1, limits: {} };

/** Whether the tenant's patterns let it name an adapter (its name alone, without version and alias). */
export function mayUseAdapter({ allowedAdapters }: Tenant, name: string): boolean {
  return allowedAdapters?.some((pattern) => matches(pattern.split('*'), name)) ?? true;
}

/** Whether the parts lie in `text` in order, the first at its start and the last at its end; linear in `text`. */
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
