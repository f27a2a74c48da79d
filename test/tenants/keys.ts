import { createApiKey, createKeyDigest } from '../../src/tenants/api-key.ts';
import type { KeyEntry, KeysFile } from '../../src/tenants/keys-file.ts';
import { temporaryFolder } from '../fixtures.ts';

const digest = createKeyDigest(undefined);

/** A folder of the test's own. */
export function scratchFolder(): string {
  const folder = temporaryFolder();
  return folder;
}

export interface MadeKey {
  readonly text: string;
  readonly entry: KeyEntry;
}

export function makeKey(tenant: string, admin = false, readOnly = false): MadeKey {
  const { id, text } = createApiKey();
  const sha256 = digest(text).toString('hex');
  const created = '2026-11-25T04:00:00Z';
  return { text, entry: { id, tenant, admin, ...(readOnly && { readOnly }), created, sha256 } };
}

export type TenantSettings = KeysFile['tenants'][string];

/** A file of these keys; a tenant without settings has the defaults. */
export function keysFileOf(
  keys: readonly MadeKey[],
  settings: Record<string, Partial<TenantSettings>> = {},
): KeysFile {
  const names = new Set([...keys.map(({ entry }) => entry.tenant), ...Object.keys(settings)]);
  const tenants = [...names].map((name) => [name, { weight: 1, limits: {}, ...settings[name] }]);
  return { version: 1, tenants: Object.fromEntries(tenants), keys: keys.map(({ entry }) => entry) };
}
