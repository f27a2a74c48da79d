// The keys file: tenants with their settings, and the keys that belong to them, as hashes. Reads it strictly and
// replaces it whole. Does not know who reads it when, nor what a key may do.
import { randomBytes } from 'node:crypto';
import { mkdir, open, realpath, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { FileError, UsageError } from '../common/errors.ts';
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

const tenantSchema = z.strictObject({
  defaultModel: z.exactOptional(z.string().min(1).max(300)),
  allowedAdapters: z.exactOptional(
    z.array(z.string().regex(/^[A-Za-z0-9._*-]{1,100}$/, 'is no name or pattern of names')),
  ),
  weight: z.number().min(0.01).max(100).default(1),
  limits: limitsSchema.default({}),
});

const keySchema = z.strictObject({
  id: z.string().regex(KEY_ID_PATTERN, 'is no key id'),
  tenant: z.string(),
  name: z.exactOptional(z.string().regex(/^\P{Cc}{1,100}$/u, 'must be 1 to 100 characters')),
  /** May use the admin routes. */
  admin: z.boolean().default(false),
  created: z.iso.datetime(),
  /** Hex; see `createKeyDigest`. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/, 'is no SHA-256'),
});

const tenantId = z
  .string()
  .regex(TENANT_PATTERN, 'is no tenant id (a-z, 0-9, `.`, `_`, `-`, at most 63)')
  .refine((id) => id !== SHARED_OWNER, `must not be \`${SHARED_OWNER}\`, which is everybody's`);

const fileSchema = z
  .strictObject({
    version: z.literal(1),
    tenants: z.record(tenantId, tenantSchema),
    keys: z.array(keySchema),
  })
  .superRefine(({ tenants, keys }, context) => {
    const ids = new Set<string>();
    for (const [i, { id, tenant }] of keys.entries()) {
      const at = (field: string) => ['keys', i, field];
      if (ids.has(id))
        context.addIssue({ code: 'custom', path: at('id'), message: 'is there twice' });
      ids.add(id);
      if (Object.hasOwn(tenants, tenant)) continue;
      context.addIssue({ code: 'custom', path: at('tenant'), message: 'is not among the tenants' });
    }
  });

export type KeysFile = z.infer<typeof fileSchema>;
export type KeyEntry = KeysFile['keys'][number];

export const NO_KEYS: KeysFile = { version: 1, tenants: {}, keys: [] };

/** Where the keys lie: the file of the settings, or the data folder's. */
export function keysPath({ keys, home }: { keys?: string | undefined; home: string }): string {
  return keys ?? path.join(home, 'keys.json');
}

/** @throws UsageError that says what is wrong with the id. */
export function checkTenantId(id: string): void {
  const { error } = tenantId.safeParse(id);
  if (error) throw new UsageError(`${id}: ${error.issues[0]!.message}`);
}

/** @throws FileError that names the first field at fault, and repeats no value. */
export function parseKeysFile(text: string): KeysFile {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new FileError('keys file', 'is no JSON'); // the parser's own message quotes the file
  }
  const result = fileSchema.safeParse(json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new FileError(`keys file: ${issue!.path.join('.') || 'root'}`, issue!.message);
}

/** The tenant of an entry, as requests see it. */
export function tenantOf({ tenants }: KeysFile, { tenant, admin }: KeyEntry): Tenant {
  return { id: tenant, isAdmin: admin, ...tenants[tenant]! };
}

/** The file's text; undefined if there is none. Throws `FileError` if it is too large or not a regular file. */
export async function readKeysText(file: string): Promise<string | undefined> {
  try {
    return (await loadRegular(file, MAX_FILE_BYTES)).toString();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** A lock that is held longer was left behind: writing takes milliseconds. */
const LOCK_TRIES = 50;
const LOCK_PAUSE_MS = 100;

/**
 * Replaces the file by what `change` makes of it: one writer at a time, and readers see the old or the new.
 * A new file is its owner's alone; one that exists keeps its owner and mode, so that the server can go on reading it.
 */
export async function updateKeysFile(
  file: string,
  change: (before: KeysFile) => KeysFile,
): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true });
  const target = await realpath(file).catch(() => file);
  const lock = `${target}.lock`;
  await acquire(lock);
  try {
    const text = await readKeysText(target);
    const after = change(text === undefined ? NO_KEYS : parseKeysFile(text));
    await replaceFile(target, `${JSON.stringify(fileSchema.parse(after), null, 2)}\n`);
  } finally {
    await rm(lock, { force: true });
  }
}

async function acquire(lock: string): Promise<void> {
  for (let attempt = 0; attempt < LOCK_TRIES; attempt++) {
    try {
      await (await open(lock, 'wx', 0o600)).close();
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    await delay(LOCK_PAUSE_MS);
  }
  throw new FileError('keys file', `another command holds ${lock}; if none runs, remove it`);
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
