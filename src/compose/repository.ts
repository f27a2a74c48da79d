// Opens the repository of published adapters, finds versions by reference, and explains a store's failures to users.
import { readFileSync } from 'node:fs';
import { parseModelName, type Selector } from '../../adapters/registry/model-name.ts';
import {
  parsePublicKey,
  parseSigningKey,
  pointerOf,
  type SignatureKeys,
  type VersionManifest,
  versionsOf,
} from '../../adapters/repository/manifest.ts';
import { type AdapterRepository, createRepository } from '../../adapters/repository/repository.ts';
import { openStore } from '../../adapters/store/open-store.ts';
import { StoreError, type StoreErrorKind } from '../../adapters/store/store.ts';
import { ConfigError, ServeError, UsageError } from '../common/errors.ts';
import type { Config } from '../settings/config.ts';

/** Opens the repository in the store that the settings name. */
export async function openRepository(config: Config): Promise<AdapterRepository> {
  const signatureKeys = readSignatureKeys(config);
  return createRepository(await openStore(config), { signatureKeys });
}

/** Reads the keys that the settings name. Throws a `ConfigError` that names the setting at fault. */
export function readSignatureKeys(
  config: Pick<Config, 'adapterPublicKey' | 'adapterSigningKey'>,
): SignatureKeys | undefined {
  const pair = readKey('--adapter-signing-key', config.adapterSigningKey, parseSigningKey);
  const publicKey = readKey('--adapter-public-key', config.adapterPublicKey, parsePublicKey);
  if (pair && publicKey && !pair.publicKey.equals(publicKey))
    throw new ConfigError(
      '--adapter-public-key: does not belong to the private key of --adapter-signing-key. Give its public key, or leave it out.',
    );
  return pair ?? (publicKey && { publicKey });
}

function readKey<T>(flag: string, file: string | undefined, parse: (pem: string) => T) {
  if (file === undefined) return undefined;
  try {
    return parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new ConfigError(`${flag}: ${(error as Error).message}`);
  }
}

/** Advice for each kind of failure, for a bucket and for a folder. */
const ADVICE: Record<StoreErrorKind, readonly [bucket: string, folder: string]> = {
  denied: [
    'Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE) of a user who may access it.',
    'Check that you may read and write it.',
  ],
  unavailable: [
    'Check that it is up and that AWS_ENDPOINT_URL and AWS_REGION are right. Then run the command again: it continues.',
    'Check that its disk is mounted and has space. Then run the command again: it continues.',
  ],
  invalid: [
    'Check that the bucket exists and that LORIKEET_STORE or --store names it.',
    'Check that the folder exists and that LORIKEET_STORE or --store names it.',
  ],
  damaged: [
    'Check the object with the tools of the service, and publish the adapter again.',
    'Check the file, and publish the adapter again.',
  ],
  conflict: [
    'Someone else is changing the same adapter. Run the command again.',
    'Someone else is changing the same adapter. Run the command again.',
  ],
};

/**
 * Adds the reason and advice to an error that a store caused. Returns any other error unchanged.
 * @param label the store's
 */
export function explainStoreError(error: unknown, label: string): unknown {
  if (!(error instanceof ServeError) || !(error.cause instanceof StoreError)) return error;
  const { kind, message } = error.cause;
  const advice = ADVICE[kind][label.startsWith('s3:') ? 0 : 1];
  const prefix = message.includes(label) ? '' : `${label}: `;
  return new ServeError(error.code, `${prefix}${message}\n  ${advice}`, { cause: error });
}

/** A tenant's part of a repository. */
interface TenantRepository {
  readonly repository: AdapterRepository;
  readonly tenant: string;
}

/** A name, and a version or alias of it. */
interface AdapterReference {
  readonly name: string;
  readonly selector: Selector;
}

/** Parses `name`, `name@version` or `name:alias`. Throws `UsageError` if it is anything else. */
export function parseReference(text: string): AdapterReference {
  const parsed = parseModelName(text);
  const [term, ...others] = parsed?.kind === 'adapters' ? parsed.terms : [];
  if (!term || others.length > 0 || term.weight !== 1) {
    throw new UsageError(`${text}: must be NAME, NAME@VERSION or NAME:ALIAS`);
  }
  return term.adapter;
}

/** Returns the version that a reference stands for. Throws a `ServeError` or `UsageError` that names the alternatives. */
export async function findVersion(
  { signal, ...of }: TenantRepository & { readonly signal: AbortSignal },
  reference: string,
): Promise<VersionManifest> {
  const { repository, tenant } = of;
  const { name, selector } = parseReference(reference);
  const version =
    selector.kind === 'version'
      ? selector.version
      : await versionOfAlias({ ...of, signal }, name, selector.alias);
  const manifest = await repository.readManifest(tenant, name, version, { signal });
  if (manifest) return manifest;
  const versions = await repository.listVersions(tenant, name, { signal });
  if (versions.length === 0) throw await noAdapter(of, name);
  const list = versions.map((other) => other.version).join(', ');
  throw new ServeError('not_found', `${name} has no version ${version}; it has ${list}`);
}

async function versionOfAlias(
  { signal, ...of }: TenantRepository & { readonly signal: AbortSignal },
  name: string,
  alias: string,
): Promise<number> {
  const record = await of.repository.readAliases(of.tenant, name, { signal });
  const aliases = record?.aliases.aliases ?? {};
  const pointer = pointerOf(aliases, alias);
  const [version, ...others] = pointer ? versionsOf(pointer) : [];
  if (version === undefined) {
    const names = Object.keys(aliases);
    if (names.length === 0) throw await noAdapter(of, name);
    throw new ServeError('not_found', `${name} has no alias ${alias}; it has ${names.join(', ')}`);
  }
  if (others.length === 0) return version;
  const choices = [version, ...others].map((number) => `${name}@${number}`).join(' or ');
  throw new UsageError(`${name}:${alias} is split between versions. Name one: ${choices}`);
}

/** Returns an error that lists the existing names, because a typo is the usual reason. */
export async function noAdapter(
  { repository, tenant }: TenantRepository,
  name: string,
): Promise<ServeError> {
  const names = await repository.listNames(tenant);
  const others =
    names.length > 0
      ? `it has ${names.slice(0, 20).join(', ')}`
      : 'it has none. Publish one: lorikeet adapters push DIR --name NAME';
  return new ServeError(
    'not_found',
    `tenant ${tenant} has no adapter ${name} in ${repository.label}; ${others}`,
  );
}
