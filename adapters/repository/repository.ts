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
import {
  buildIndex,
  readEntries,
  readEntry,
  readIndex,
  settleChanges,
  storeIndex,
} from './indexing.ts';
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

/**
 * The published adapters of all tenants. Every call rejects with `ServeError` or with its signal's reason. If the store fails
 * or is damaged, the error is `adapter_unavailable` with the `StoreError` as its cause.
 */
export type AdapterRepository = Readonly<ReturnType<typeof createRepository>>;

/** Creates a repository in a store. */
export function createRepository(
  objects: ObjectStore,
  { log, now = Date.now, clock, signatureKeys }: RepositoryOptions = {},
) {
  const documents = { store: guardStore(objects, log, 'adapter_unavailable'), log, clock };
  const changes = new ChangeLog(documents);
  const parts: RepositoryParts = {
    documents,
    versions: new VersionStore(documents),
    aliases: new AliasStore(documents, changes),
    changes,
    now,
    signatureKeys,
  };
  return {
    /** A human-readable name of the store. */
    label: objects.label,
    /** The announced changes of all tenants. */
    changes: changes as Pick<ChangeLog, 'list'>,
    publish: publish.bind(null, parts),
    adopt: adopt.bind(null, parts),
    readAliases: readAliases.bind(null, parts),
    readManifest: readManifest.bind(null, parts),
    listNames: listNames.bind(null, parts),
    listVersions: listVersions.bind(null, parts),
    readIndex: readIndex.bind(null, parts),
    buildIndex: buildIndex.bind(null, parts),
    storeIndex: storeIndex.bind(null, parts),
    readEntries: readEntries.bind(null, parts),
    settleChanges: settleChanges.bind(null, parts),
    readEntry: readEntry.bind(null, parts),
    moveAlias: moveAlias.bind(null, parts),
    rollback: rollback.bind(null, parts),
    changeAbout: changeAbout.bind(null, parts),
    removeVersion: removeVersion.bind(null, parts),
    removeModel: removeModel.bind(null, parts),
    removeName: removeName.bind(null, parts),
    collectGarbage: collectGarbage.bind(null, parts),
    openFile: openFile.bind(null, parts),
  };
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
