// A served app with a keys file: tenants by name, and requests in their names.

import { createAuthenticate } from '../../src/tenants/access.ts';
import { createKeyDigest } from '../../src/tenants/api-key.ts';
import { KeyRing } from '../../src/tenants/key-ring.ts';
import { keysFileOf, type MadeKey, makeKey, type TenantSettings } from '../tenants/keys.ts';
import { type Init, type Served, type ServedOptions, serve } from './served.ts';

export interface Keyed extends Served {
  readonly keys: Record<string, MadeKey>;
  /** From now on these keys alone are valid. */
  setKeys(keys: readonly MadeKey[]): void;
  /** GET, or POST where there is a body, with the tenant's key. */
  ask(tenant: string, path: string, body?: unknown, init?: Init): Promise<Response>;
}

export interface KeyedOptions extends ServedOptions {
  tenants: Record<string, Partial<TenantSettings>>;
  /** Those whose key may use the admin routes. */
  admins?: readonly string[];
  /** Those whose key may only read. */
  readOnly?: readonly string[];
}

export function serveKeyed({
  tenants,
  admins = [],
  readOnly = [],
  ...options
}: KeyedOptions): Keyed {
  const made = Object.keys(tenants).map((name) =>
    makeKey(name, admins.includes(name), readOnly.includes(name)),
  );
  const keys = Object.fromEntries(made.map((key) => [key.entry.tenant, key]));
  const ringOf = (valid: readonly MadeKey[]) =>
    new KeyRing(keysFileOf(valid, tenants), createKeyDigest(undefined));
  let ring = ringOf(made);
  const authenticate = createAuthenticate({ find: (key) => ring.find(key) });
  const served = serve({ ...options, authenticate, listTenants: () => ring.list() });
  const ask: Keyed['ask'] = async (tenant, path, body, init = {}) => {
    const authorization = `Bearer ${keys[tenant]!.text}`;
    const headers = { authorization, 'content-type': 'application/json', ...init.headers };
    const sent = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
    return served.app.request(path, { ...sent, ...init, headers });
  };
  const setKeys = (valid: readonly MadeKey[]) => {
    ring = ringOf(valid);
  };
  return { ...served, keys, setKeys, ask };
}
