// The keys file: tenants with their settings, and hashes of their keys. It is parsed strictly and replaced as a whole.

import { randomBytes } from 'node:crypto';
import { open, realpath, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { FileError, UsageError } from '../common/errors.ts';
import { acquireLock, LockHeld } from '../common/file-lock.ts';
import { makeFolder } from '../common/folders.ts';
import { loadRegular } from '../common/regular-file.ts';
import { SHARED_OWNER, TENANT_PATTERN, type Tenant } from '../contracts/tenant.ts';
import { KEY_ID_PATTERN } from './api-key.ts';

/** 50,000 keys take 10 MB. */
const MAX_FILE_BYTES = 16 * 2 ** 20;

const count = z.int().min(1);
const limitsSchema = z.strictObject({
  requestsPerMinute: z.exactOptional(count),
  tokensPerMinute: z.exactOptional(count),
  concurrentRequests: z.exactOptional(count),
});

const part = z.number().min(0).max(1);
const adapterCacheSchema = z
  .strictObject({ reserved: z.exactOptional(part), max: z.exactOptional(part) })
  .refine(({ reserved = 0, max = 1 }) => reserved <= max, 'reserved must not be larger than max');

const tenantSchema = z.strictObject({
  defaultModel: z.exactOptional(z.string().min(1).max(300)),
  allowedAdapters: z.exactOptional(
    z.array(z.string().regex(/^[A-Za-z0-9._*-]{1,100}$/, 'must be a name or a pattern of names')),
  ),
  weight: z.number().min(0.01).max(100).default(1),
  adapterCache: z.exactOptional(adapterCacheSchema),
  limits: limitsSchema.default({}),
});

const keySchema = z.strictObject({
  id: z.string().regex(KEY_ID_PATTERN, 'must be 12 hex digits'),
  tenant: z.string(),
  name: z.exactOptional(z.string().regex(/^\P{Cc}{1,100}$/u, 'must be 1 to 100 characters')),
  /** Whether the key may use the admin routes. */
  admin: z.boolean().default(false),
  /** Whether the key may only read. */
  readOnly: z.exactOptional(z.boolean()),
  created: z.iso.datetime(),
  /** Hex; see `createKeyDigest`. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256'),
});

const tenantId = z
  .string()
  .regex(TENANT_PATTERN, 'must be 1 to 63 characters of a-z, 0-9, `.`, `_`, `-`')
  .refine(
    (id) => id !== SHARED_OWNER,
    `must not be \`${SHARED_OWNER}\`, which belongs to everybody`,
  );

const fileSchema = z
  .strictObject({
    version: z.literal(1),
    tenants: z.record(tenantId, tenantSchema),
    keys: z.array(keySchema),
  })
  .superRefine(({ tenants, keys }, context) => {
    const reserved = Object.values(tenants).reduce(
      (sum, { adapterCache }) => sum + (adapterCache?.reserved ?? 0),
      0,
    );
    if (reserved > 1) {
      const message = 'adapterCache.reserved of all tenants together must be at most 1';
      context.addIssue({ code: 'custom', path: ['tenants'], message });
    }
    const ids = new Set<string>();
    for (const [i, { id, tenant }] of keys.entries()) {
      const at = (field: string) => ['keys', i, field];
      if (ids.has(id))
        context.addIssue({ code: 'custom', path: at('id'), message: 'is a duplicate' });
      ids.add(id);
      if (Object.hasOwn(tenants, tenant)) continue;
      context.addIssue({
        code: 'custom',
        path: at('tenant'),
        message: 'is not one of the tenants',
      });
    }
  });

/** A keys file's content. */
export type KeysFile = z.infer<typeof fileSchema>;
/** One key in the file. */
export type KeyEntry = KeysFile['keys'][number];

/** The content of a file before its first key is created. */
export const NO_KEYS: KeysFile = { version: 1, tenants: {}, keys: [] };

/** Returns the path of the keys file: the one in the settings, or the default in the data folder. */
export function keysPath({ keys, home }: { keys?: string | undefined; home: string }): string {
  return keys ?? path.join(home, 'keys.json');
}

/** Throws a `UsageError` that says what is wrong with the id. */
export function checkTenantId(id: string): void {
  const fault = tenantIdFault(id);
  if (fault) throw new UsageError(`--tenant: "${id}" ${fault}`);
}

/** Returns what is wrong with a tenant's id; undefined if it is valid. */
export function tenantIdFault(id: string): string | undefined {
  return tenantId.safeParse(id).error?.issues[0]?.message;
}

/** Parses a keys file. Throws a `FileError` that names the first field at fault and repeats no value. */
export function parseKeysFile(text: string): KeysFile {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new FileError('keys file', 'is not JSON'); // the parser's own message quotes the file
  }
  const result = fileSchema.safeParse(json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new FileError(`keys file: ${issue!.path.join('.') || 'root'}`, issue!.message);
}

/** Returns the tenant of a key in the form that requests use. A tenant that the file lacks has the defaults. */
export function tenantOf(
  { tenants }: KeysFile,
  { tenant, admin, readOnly: isReadOnly }: Pick<KeyEntry, 'tenant' | 'admin' | 'readOnly'>,
): Tenant {
  const settings = Object.hasOwn(tenants, tenant) ? tenants[tenant]! : tenantSchema.parse({});
  return { id: tenant, isAdmin: admin, ...(isReadOnly && { isReadOnly }), ...settings };
}

/** A key in the form that may be shown: without its secret and its hash. */
export type ShownKey = Omit<KeyEntry, 'sha256'>;

/** Returns the keys in the form that may be shown, in the order in which they were created. */
export function shownKeys({ keys }: KeysFile): ShownKey[] {
  return keys.map(({ sha256: _, ...entry }) => entry);
}

/** A tenant in the keys file. */
export interface KeyedTenant {
  readonly tenant: Tenant;
  /** The newest first. */
  readonly keys: readonly ShownKey[];
}

/** Returns all tenants, in the order of their ids. */
export function keyedTenants(file: KeysFile): KeyedTenant[] {
  const ids = Object.keys(file.tenants).sort();
  const keys = new Map(ids.map((id): [string, ShownKey[]] => [id, []]));
  for (const key of shownKeys(file).reverse()) keys.get(key.tenant)!.push(key);
  return ids.map((id) => ({
    tenant: tenantOf(file, { tenant: id, admin: false }),
    keys: keys.get(id)!,
  }));
}

/** Reads the file. Returns undefined if there is none. Throws `FileError` if it is too large or not a regular file. */
export async function readKeysText(file: string): Promise<string | undefined> {
  try {
    return (await loadRegular(file, MAX_FILE_BYTES)).toString();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Writing takes milliseconds, so a lock that is held for longer was left behind. */
const LOCK_WAIT = { waitMs: 5_000, pollMs: 100 };

/**
 * Replaces the file with the result of `change`, one writer at a time. Readers see either the old or the new file. A new file
 * is readable only by its owner; an existing one keeps its owner and mode, because the server must still be able to read it.
 */
export async function updateKeysFile(
  file: string,
  change: (before: KeysFile) => KeysFile,
): Promise<void> {
  await makeFolder(path.dirname(file));
  const target = await realpath(file).catch(() => file);
  const lock = `${target}.lock`;
  await acquireLock(lock, LOCK_WAIT).catch((error) => {
    if (!(error instanceof LockHeld)) throw error;
    const cure = `another command holds ${lock}. If none is running, delete it.`;
    throw new FileError('keys file', cure);
  });
  try {
    const text = await readKeysText(target);
    const after = change(text === undefined ? NO_KEYS : parseKeysFile(text));
    await replaceFile(target, `${JSON.stringify(fileSchema.parse(after), null, 2)}\n`);
  } finally {
    await rm(lock, { force: true });
  }
}

async function replaceFile(file: string, text: string): Promise<void> {
  const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`;
  const before = await stat(file).catch(() => undefined);
  const handle = await open(temporary, 'wx', 0o600);
  try {
    if (before) {
      await handle.chmod(before.mode & 0o777);
      if (before.uid !== process.getuid?.()) await handle.chown(before.uid, before.gid);
    }
    await handle.writeFile(text);
    await handle.sync();
    await handle.close();
    await rename(temporary, file);
  } catch (error) {
    await handle.close().catch(() => {});
    await rm(temporary, { force: true });
    throw error;
  }
}
