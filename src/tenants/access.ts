// Decides at the start who may use this server: holders of keys, or everybody, which requires a loopback address or the
// operator's consent; and whether a gateway names the tenants. Refuses a start that would accidentally open the server to a
// network. The only HTTP involved are two headers.
import { BlockList, isIP } from 'node:net';
import { ConfigError, FileError, fieldError, ServeError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import { LOCAL_TENANT, type Tenant } from '../contracts/tenant.ts';
import type { Config } from '../settings/config.ts';
import { createKeyDigest } from './api-key.ts';
import { KeyRing, WatchedKeys, type WatchedKeysOptions } from './key-ring.ts';
import { type KeyedTenant, keysPath, parseKeysFile, tenantIdFault } from './keys-file.ts';

/** Returns the tenant of an `Authorization` header. Throws `ServeError` (401) if the key is unknown. */
export type Authenticate = (authorization: string | undefined) => Tenant;

/** Authenticates clients by their keys, or serves without keys. */
export interface Access {
  /** Whether it serves holders of keys, this machine, or everybody who can reach the address. */
  readonly kind: 'keys' | 'local' | 'open';
  readonly authenticate: Authenticate;
  /** Absent: no gateway may name tenants. */
  readonly gateway?: TenantGateway | undefined;
  /** Returns a tenant whose request is in the store. Undefined if it has no key any more. */
  readonly tenantOf: (id: string) => Tenant | undefined;
  /** Returns all tenants with their keys. Absent: there are no keys. */
  readonly tenants?: () => KeyedTenant[];
  /** Stops watching the keys file. */
  close(): void;
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

const BEARER = /^Bearer +([^ ]+) *$/i;

type AccessSettings = Pick<
  Config,
  | ('keys' | 'keysJson' | 'keyPepper' | 'home' | 'host' | 'allowOpen' | 'allowedOrigins')
  | ('tenantHeader' | 'trustedProxies')
>;

interface OpenKeys extends Pick<KeyRing, 'find' | 'tenant' | 'named' | 'list'> {
  close(): void;
}

/**
 * Decides who may use the server. Throws `ConfigError` if the keys file is invalid or everybody on a network could use the
 * server.
 */
export async function openAccess(settings: AccessSettings, log: Logger): Promise<Access> {
  const { host, allowOpen, allowedOrigins } = settings;
  const keys = await openKeys(settings, log);
  const named = (id: string) => keys?.named(id) ?? { ...LOCAL_TENANT, id };
  const gateway = createGateway(settings, named);
  // A gateway may name tenants that have no key.
  const ofGateway = gateway && { gateway, tenantOf: named };
  if (keys) {
    return {
      kind: 'keys',
      authenticate: createAuthenticate(keys),
      tenantOf: (id) => keys.tenant(id),
      tenants: () => keys.list(),
      close: () => keys.close(),
      ...ofGateway,
    };
  }
  if (allowedOrigins.includes('*')) {
    throw new ConfigError(
      '--allowed-origins: without a keys file, * would let every web page that is open on this machine use the server. ' +
        'List the origins, or create a keys file (lorikeet keys create --tenant NAME).',
    );
  }
  const isLocal = isLoopback(host);
  if (!isLocal && !allowOpen) {
    throw new ConfigError(
      `--host: ${host} is reached from other machines, and without a keys file everybody who reaches it may use it. ` +
        'Create one (lorikeet keys create --tenant NAME), or set LORIKEET_ALLOW_OPEN=1.',
    );
  }
  return { ...localAccess(), ...ofGateway, kind: isLocal ? 'local' : 'open' };
}

/** Serves everybody as the local tenant. */
export function localAccess(): Access {
  const tenantOf = (id: string) => (id === LOCAL_TENANT.id ? LOCAL_TENANT : undefined);
  return { kind: 'local', authenticate: authenticateAsLocal, tenantOf, close() {} };
}

/** Accepts any key: without a keys file there is one tenant. */
export function authenticateAsLocal(): Tenant {
  return LOCAL_TENANT;
}

/** Returns a function that checks an `Authorization` header against these keys. */
export function createAuthenticate(keys: Pick<OpenKeys, 'find'>): Authenticate {
  return (authorization) => {
    const tenant = keys.find(BEARER.exec(authorization ?? '')?.[1] ?? '');
    if (tenant) return tenant;
    const message =
      'The API key is missing or invalid. Send one as `Authorization: Bearer KEY` or `x-api-key: KEY`.';
    throw new ServeError('invalid_api_key', message);
  };
}

/** Lets proxies name the tenant of a request in a header. */
export interface TenantGateway {
  /** The name of the header. */
  readonly header: string;
  /**
   * Returns the tenant that the header names. Undefined if there is no header, or if the request does not come from a listed
   * proxy. Throws `ServeError` (400) if the header is not a tenant's id.
   */
  tenantOf(id: string | undefined, address: string | undefined): Tenant | undefined;
}

/** Creates the gateway of the settings. Throws `ConfigError` if only one of the two is set. */
export function createGateway(
  { tenantHeader: header, trustedProxies }: Pick<AccessSettings, 'tenantHeader' | 'trustedProxies'>,
  named: (id: string) => Tenant,
): TenantGateway | undefined {
  if ((header === undefined) !== (trustedProxies === undefined)) {
    throw new ConfigError(
      '--tenant-header and --trusted-proxies: set both or neither. The header is only accepted from these addresses.',
    );
  }
  if (header === undefined || !trustedProxies) return undefined;
  const trusted = new BlockList();
  for (const entry of trustedProxies) {
    const [address = '', prefix] = entry.split('/');
    if (prefix === undefined) trusted.addAddress(address, familyOf(address));
    else trusted.addSubnet(address, Number(prefix), familyOf(address));
  }
  return {
    header,
    tenantOf(id, address = '') {
      if (id === undefined || !isIP(address)) return undefined;
      if (!trusted.check(address, familyOf(address))) return undefined;
      const fault = tenantIdFault(id);
      if (fault) throw fieldError(header, fault);
      return named(id);
    },
  };
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || (isIP(host) !== 0 && LOOPBACK.check(host, familyOf(host)));
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4';
}

/** Opens the keys that the settings name. Undefined if there are none. */
async function openKeys(settings: AccessSettings, log: Logger): Promise<OpenKeys | undefined> {
  const { keysJson, keyPepper } = settings;
  const digest = createKeyDigest(keyPepper);
  if (keysJson === undefined) return openFile(settings, { digest, log });
  if (settings.keys !== undefined) {
    throw new ConfigError('LORIKEET_KEYS_JSON: --keys already names a file. Set only one of them.');
  }
  try {
    return new KeyRing(parseKeysFile(keysJson), digest);
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
  throw new ConfigError(`--keys: ${file} does not exist. Create it with lorikeet keys create.`);
}

/** An invalid or unreadable file is the operator's mistake. Other errors are bugs of ours. */
function toConfigError(where: string, error: unknown): unknown {
  const isExpected = error instanceof FileError || (error as NodeJS.ErrnoException).code;
  return isExpected ? new ConfigError(`${where}: ${(error as Error).message}`) : error;
}
