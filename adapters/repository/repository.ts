// Published adapters in a store: versions that never change, and aliases that point to them. Who may use an adapter is decided
// elsewhere.
import { ServeError } from '../../src/common/errors.ts';
import type { Clock } from '../../src/common/waiting.ts';
import { TENANT_PATTERN } from '../../src/contracts/tenant.ts';
import { guardStore, logStoreFault, type StoreLog } from '../store/guarded-store.ts';
import { type ObjectStore, type StoreCall, type StoredObject, StoreError } from '../store/store.ts';
import { changeAbout } from './about.ts';
import { AliasStore, moveAlias, type RepositoryParts, rollback } from './aliases.ts';
import { ChangeLog } from './changes.ts';
import { buildIndex, readEntry, readIndex, settleChanges } from './indexing.ts';
import {
  keys,
  NAME_PATTERN,
  type SignatureKeys,
  type VersionManifest,
  verifyManifest,
} from './manifest.ts';
import { adopt, publish } from './publish.ts';
import { collectGarbage, removeModel, removeName, removeVersion } from './removal.ts';
import { VersionStore } from './versions.ts';

/** The log and the clock of a repository. */
export interface RepositoryOptions {
  readonly log?: StoreLog;
  /** Returns Unix milliseconds. */
  readonly now?: () => number;
  /** Times the tries of a change. Default: the machine's. */
  readonly clock?: Clock;
  /** If set, versions are signed when published and verified when read. */
  readonly signatureKeys?: SignatureKeys | undefined;
}

const OPERATIONS = {
  publish,
  adopt,
  readAliases,
  readManifest,
  listNames,
  listVersions,
  readIndex,
  buildIndex,
  settleChanges,
  readEntry,
  moveAlias,
  rollback,
  changeAbout,
  removeVersion,
  removeModel,
  removeName,
  collectGarbage,
  openFile,
};

type WithParts<F> = F extends (parts: RepositoryParts, ...rest: infer Rest) => infer Result
  ? (...rest: Rest) => Result
  : never;

/**
 * The published adapters of all tenants. Every call rejects with `ServeError` or with its signal's reason. If the store fails
 * or is damaged, the error is `adapter_unavailable` with the `StoreError` as its cause.
 */
export type AdapterRepository = {
  readonly [K in keyof typeof OPERATIONS]: WithParts<(typeof OPERATIONS)[K]>;
} & {
  /** A human-readable name of the store. */
  readonly label: string;
  /** The announced changes of all tenants. */
  readonly changes: Pick<ChangeLog, 'list'>;
};

/** Creates a repository in a store. */
export function createRepository(
  objects: ObjectStore,
  { log, now = Date.now, clock, signatureKeys }: RepositoryOptions = {},
): AdapterRepository {
  const documents = { store: guardStore(objects, log, 'adapter_unavailable'), log, clock };
  const changes = new ChangeLog(documents);
  const aliases = new AliasStore(documents, changes);
  const parts = {
    documents,
    versions: new VersionStore(documents),
    aliases,
    changes,
    now,
    signatureKeys,
  };
  const bound = Object.entries(OPERATIONS).map(([name, operation]) => [
    name,
    (...args: unknown[]) => (operation as (...all: unknown[]) => unknown)(parts, ...args),
  ]);
  return { label: objects.label, changes, ...Object.fromEntries(bound) };
}

/** Reads a name's aliases; undefined if it was never published. Never returns an older state than before. */
async function readAliases(
  { aliases }: RepositoryParts,
  tenant: string,
  name: string,
  call?: StoreCall,
) {
  return isName(tenant, name) ? aliases.read({ tenant, name }, call) : undefined;
}

/**
 * Reads a version's manifest; undefined if there is no such version. Rejects with `adapter_signature_invalid` if it should be
 * signed and is not.
 */
async function readManifest(
  { versions, signatureKeys }: RepositoryParts,
  tenant: string,
  name: string,
  version: number,
  call?: StoreCall,
): Promise<VersionManifest | undefined> {
  if (!isName(tenant, name)) return undefined;
  const manifest = await versions.manifest({ tenant, name, version }, call);
  if (manifest) verifyManifest(manifest, signatureKeys);
  return manifest;
}

/** Lists a tenant's names that have a version, sorted. */
async function listNames(
  { versions }: RepositoryParts,
  tenant: string,
  call?: StoreCall,
): Promise<string[]> {
  return TENANT_PATTERN.test(tenant) ? versions.names(tenant, call) : [];
}

/** Lists a name's versions, ascending. */
async function listVersions(
  { versions }: RepositoryParts,
  tenant: string,
  name: string,
  call?: StoreCall,
): Promise<VersionManifest[]> {
  return isName(tenant, name) ? versions.manifests({ tenant, name }, call) : [];
}

/** Opens one of a version's files. */
async function openFile(
  { documents: { store, log } }: RepositoryParts,
  manifest: VersionManifest,
  file: keyof VersionManifest['files'],
  call?: StoreCall,
): Promise<StoredObject> {
  const key = keys.versionFile(manifest, file);
  const object = await store.get(key, call);
  if (object) return object;
  logStoreFault(log, 'missing', { store: store.label, key }, 'a published file is missing');
  const cause = new StoreError('invalid', `${key}: is missing`);
  throw new ServeError(
    'adapter_unavailable',
    `The published ${file} is missing from the store. Publish the adapter again.`,
    { cause },
  );
}

/** Whether something may have been published under this name: it is valid. */
function isName(tenant: string, name: string): boolean {
  return TENANT_PATTERN.test(tenant) && NAME_PATTERN.test(name);
}
