// Creates, lists and revokes API keys in the keys file that the settings name.
import { UsageError } from '../common/errors.ts';
import type { Config } from '../settings/config.ts';
import { createApiKey, createKeyDigest, KEY_PREFIX } from '../tenants/api-key.ts';
import {
  checkTenantId,
  type KeyEntry,
  type KeysFile,
  keysPath,
  NO_KEYS,
  parseKeysFile,
  readKeysText,
  type ShownKey,
  shownKeys,
  updateKeysFile,
} from '../tenants/keys-file.ts';

/** A key that was just created. Its text is not stored anywhere. */
interface CreatedKey {
  readonly entry: ShownKey;
  readonly text: string;
  /** The keys file. */
  readonly file: string;
}

/** A key to create. */
interface KeyRequest {
  readonly tenant: string;
  /** A note that tells keys apart. */
  readonly name: string | undefined;
  readonly isAdmin: boolean;
  readonly isReadOnly?: boolean;
  /** The beginning of the key, which some clients check. */
  readonly prefix?: string | undefined;
}

/** Adds a key to the keys file. Throws `UsageError` if the tenant's id or the prefix is invalid. */
export async function createKey(
  config: Config,
  { tenant, name, isAdmin, isReadOnly, prefix = '' }: KeyRequest,
): Promise<CreatedKey> {
  checkTenantId(tenant);
  if (!KEY_PREFIX.test(prefix)) {
    throw new UsageError(
      '--prefix: must be up to 16 letters and digits and a hyphen, such as tml-',
    );
  }
  const { id, text } = createApiKey(prefix);
  const created = new Date().toISOString();
  const optional = { ...(name !== undefined && { name }), ...(isReadOnly && { readOnly: true }) };
  const entry = { id, tenant, ...optional, admin: isAdmin, created };
  const sha256 = createKeyDigest(config.keyPepper)(text).toString('hex');
  const file = keysPath(config);
  await updateKeysFile(file, (before) => withKey(before, { ...entry, sha256 }));
  return { entry, text, file };
}

/** Adds a tenant that the file does not contain yet. It has no limits. */
function withKey({ version, tenants, keys }: KeysFile, entry: KeyEntry): KeysFile {
  const tenant = tenants[entry.tenant] ?? { weight: 1, limits: {} };
  return { version, tenants: { ...tenants, [entry.tenant]: tenant }, keys: [...keys, entry] };
}

/** Returns the keys in the keys file. A missing file counts as empty. */
export async function listKeys(config: Config): Promise<ShownKey[]> {
  const text = await readKeysText(keysPath(config));
  return shownKeys(text === undefined ? NO_KEYS : parseKeysFile(text));
}

/** Removes a key from the keys file. Throws `UsageError` if the file does not contain it. */
export async function revokeKey(config: Config, id: string): Promise<void> {
  const file = keysPath(config);
  await updateKeysFile(file, (before) => {
    const keys = before.keys.filter((entry) => entry.id !== id);
    if (keys.length < before.keys.length) return { ...before, keys };
    throw new UsageError(`${file} has no key ${id}. lorikeet keys list shows the ids.`);
  });
}
