// Who may use this server: the holders of keys, or, on loopback or where the operator says so, everybody. Decided once
// at start; a start that would open the server to a network by accident is refused. Knows no HTTP beyond one header.
import { BlockList, isIP } from 'node:net';
import { ConfigError, FileError, ServeError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import { LOCAL_TENANT, type Tenant } from '../contracts/tenant.ts';
import type { Config } from '../settings/config.ts';
import { createKeyDigest } from './api-key.ts';
import { KeyRing } from './key-ring.ts';
import { keysPath, parseKeysFile } from './keys-file.ts';
import { WatchedKeys, type WatchedKeysOptions } from './watched-keys.ts';

/** An `Authorization` header → its tenant; throws `ServeError` (401) where it is nobody's. */
export type Authenticate = (authorization: string | undefined) => Tenant;

export interface Access {
  /** Who is served: holders of keys, this machine, or whoever reaches the address. */
  readonly kind: 'keys' | 'local' | 'open';
  readonly authenticate: Authenticate;
  close(): void;
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

const BEARER = /^Bearer +([^ ]+) *$/i;

type AccessSettings = Pick<
  Config,
  'keys' | 'keysJson' | 'keyPepper' | 'home' | 'host' | 'allowOpen' | 'allowedOrigins'
>;

interface OpenKeys {
  find(key: string): Tenant | undefined;
  close(): void;
}

/** @throws ConfigError where the keys file is faulty, or the server would be open to a network. */
export async function openAccess(settings: AccessSettings, log: Logger): Promise<Access> {
  const { host, allowOpen, allowedOrigins } = settings;
  const keys = await openKeys(settings, log);
  if (keys) {
    return { kind: 'keys', authenticate: createAuthenticate(keys), close: () => keys.close() };
  }
  if (allowedOrigins.includes('*')) {
    throw new ConfigError([
      '--allowed-origins: without a keys file, * would let every web page that is open on this machine use the server: ' +
        'list the origins, or create a keys file (lorikeet keys create --tenant NAME)',
    ]);
  }
  const isLocal = isLoopback(host);
  if (!isLocal && !allowOpen) {
    throw new ConfigError([
      `--host: ${host} is reached from other machines, and without a keys file whoever reaches it may use it: ` +
        'create one (lorikeet keys create --tenant NAME), or set LORIKEET_ALLOW_OPEN=1',
    ]);
  }
  return isLocal ? localAccess() : { ...localAccess(), kind: 'open' };
}

/** This machine's own user. */
export function localAccess(): Access {
  return { kind: 'local', authenticate: authenticateAsLocal, close() {} };
}

/** Without keys there is one tenant, and whatever key a client sends is accepted. */
export function authenticateAsLocal(): Tenant {
  return LOCAL_TENANT;
}

export function createAuthenticate(keys: Pick<OpenKeys, 'find'>): Authenticate {
  return (authorization) => {
    const tenant = keys.find(BEARER.exec(authorization ?? '')?.[1] ?? '');
    if (tenant) return tenant;
    const message = 'No valid API key: send one as `Authorization: Bearer KEY`';
    throw new ServeError('invalid_api_key', message);
  };
}

function isLoopback(host: string): boolean {
  if (host === 'localhost') return true;
  const family = isIP(host);
  return family !== 0 && LOOPBACK.check(host, family === 4 ? 'ipv4' : 'ipv6');
}

/** Undefined: there are none. */
async function openKeys(settings: AccessSettings, log: Logger): Promise<OpenKeys | undefined> {
  const { keysJson, keyPepper } = settings;
  const digest = createKeyDigest(keyPepper);
  if (keysJson === undefined) return openFile(settings, { digest, log });
  if (settings.keys !== undefined) {
    throw new ConfigError(['LORIKEET_KEYS_JSON: --keys names a file already']);
  }
  try {
    const ring = new KeyRing(parseKeysFile(keysJson), digest);
    return { find: (key) => ring.find(key), close() {} };
  } catch (error) {
    throw toConfigError('LORIKEET_KEYS_JSON', error);
  }
}

async function openFile(settings: AccessSettings, options: WatchedKeysOptions) {
  const file = keysPath(settings);
  const keys = await WatchedKeys.open(file, options).catch((error) => {
    throw toConfigError(file, error);
  });
  if (keys || settings.keys === undefined) return keys;
  throw new ConfigError([`--keys: there is no ${file} (lorikeet keys create makes it)`]);
}

/** A faulty file, or one that cannot be read, is the operator's; anything else is ours. */
function toConfigError(where: string, error: unknown): unknown {
  const isExpected = error instanceof FileError || (error as NodeJS.ErrnoException).code;
  return isExpected ? new ConfigError([`${where}: ${(error as Error).message}`]) : error;
}
