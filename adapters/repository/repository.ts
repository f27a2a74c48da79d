// Published adapters in a store: versions that never change, and the aliases that lead to them. It knows neither who may
// use an adapter nor what a server has loaded.

import { ServeError } from '../../src/common/errors.ts';
import type { Logger } from '../../src/common/log.ts';
import { TENANT_PATTERN } from '../../src/contracts/tenant.ts';
import { logStoreFailure, logStoreFault } from '../store/alerts.ts';
import type { DocumentStore } from '../store/documents.ts';
import {
  type Etag,
  type ObjectStore,
  type StoreCall,
  type StoredObject,
  StoreError,
} from '../store/store.ts';
import { moveAlias, rollbackAlias } from './aliases.ts';
import {
  type Aliases,
  type AliasPointer,
  keys,
  NAME_PATTERN,
  RESERVED_NAMES,
  type VersionManifest,
} from './manifest.ts';
import type { AdapterName, Garbage, GarbageOptions, PublishOptions } from './options.ts';
import { AliasPointers } from './pointers.ts';
import { adoptFolder, publishFolder } from './publish.ts';
import { collectGarbage, removeModel, removeName, removeVersion } from './removal.ts';
import { listNames, listVersions, readManifest } from './versions.ts';

/**
 * Every call rejects with `ServeError` (`adapter_unavailable` where the store fails or holds what nobody published,
 * its reason as `cause`), or with its signal's reason.
 */
export interface AdapterRepository {
  /** For people, as the store's. */
  readonly label: string;
  /**
   * Publishes a local PEFT folder as the name's next version. Before the manifest is written there is no version;
   * after it, `latest` and the other aliases move, forward only.
   */
  publish(
    to: AdapterName,
    adapter: { readonly directory: string },
    options?: PublishOptions,
  ): Promise<VersionManifest>;
  /** Makes a version of the two files that somebody else has put into the store under this number. */
  adopt(to: AdapterName & { readonly version: number }, call?: StoreCall): Promise<VersionManifest>;
  /** Undefined where the name was never published. Never an older state than this object has read before. */
  readAliases(
    tenant: string,
    name: string,
    call?: StoreCall,
  ): Promise<{ aliases: Aliases; etag: Etag } | undefined>;
  /** Undefined where there is no such version, be it not yet or no longer. */
  readManifest(
    tenant: string,
    name: string,
    version: number,
    call?: StoreCall,
  ): Promise<VersionManifest | undefined>;
  /** Sorted; those with at least a version. */
  listNames(tenant: string, call?: StoreCall): Promise<string[]>;
  /** Ascending. */
  listVersions(tenant: string, name: string, call?: StoreCall): Promise<VersionManifest[]>;
  /** Leads an alias to versions that exist; `undefined` removes it. */
  moveAlias(
    of: AdapterName,
    alias: string,
    pointer: AliasPointer | undefined,
    call?: StoreCall,
  ): Promise<Aliases>;
  /** Leads an alias back to where it led before its last change; twice: forth again. */
  rollback(of: AdapterName, alias: string, call?: StoreCall): Promise<Aliases>;
  /** Refused while an alias leads to it. Its number is never used again; its files stay until they are collected. */
  removeVersion(of: AdapterName, version: number, call?: StoreCall): Promise<void>;
  /**
   * Removes a fine-tuned model by the alias of its job or of a checkpoint: its versions, and every way that leads there.
   * `latest` goes back to the version before. Refused if somebody has led another alias there. Resolves with false if
   * there is no such alias.
   */
  removeModel(of: AdapterName, alias: string, call?: StoreCall): Promise<boolean>;
  /** Its aliases and all its versions. */
  removeName(of: AdapterName, call?: StoreCall): Promise<void>;
  collectGarbage(options: GarbageOptions): Promise<Garbage>;
  openFile(
    manifest: VersionManifest,
    file: keyof VersionManifest['files'],
    call?: StoreCall,
  ): Promise<StoredObject>;
}

export interface RepositoryOptions {
  readonly log?: Pick<Logger, 'warn' | 'error'>;
  /** Unix milliseconds. */
  readonly now?: () => number;
}

export function createAdapterRepository(
  store: ObjectStore,
  { log, now = Date.now }: RepositoryOptions = {},
): AdapterRepository {
  const documents = { store, log };
  const pointers = new AliasPointers(documents);
  const parts = { documents, pointers, now };
  const refusing = createRefusing(store, log);
  return {
    label: store.label,
    publish: refusing((to, { directory }, options = {}) => {
      for (const alias of options.aliases ?? []) checkAlias(alias);
      return publishFolder(parts, { ...checkNewName(to), directory }, options);
    }),
    adopt: refusing((of, call = {}) => adoptFolder(parts, { ...of, ...checkNewName(of) }, call)),
    readAliases: refusing(async (tenant, name, call) =>
      isName(tenant, name) ? pointers.read({ tenant, name }, call) : undefined,
    ),
    readManifest: refusing(async (tenant, name, version, call) =>
      isName(tenant, name) ? readManifest(documents, { tenant, name, version }, call) : undefined,
    ),
    listNames: refusing(async (tenant, call) =>
      TENANT_PATTERN.test(tenant) ? listNames(documents, tenant, call) : [],
    ),
    listVersions: refusing(async (tenant, name, call) =>
      isName(tenant, name) ? listVersions(documents, { tenant, name }, call) : [],
    ),
    moveAlias: refusing((of, alias, pointer, call = {}) =>
      moveAlias(parts, { ...checkName(of), alias: checkAlias(alias) }, pointer, call),
    ),
    rollback: refusing((of, alias, call = {}) =>
      rollbackAlias(parts, { ...checkName(of), alias: checkAlias(alias) }, call),
    ),
    removeVersion: refusing((of, version, call = {}) =>
      removeVersion(parts, { ...checkName(of), version }, call),
    ),
    removeModel: refusing((of, alias, call = {}) =>
      removeModel(parts, { ...checkName(of), alias: checkAlias(alias) }, call),
    ),
    removeName: refusing((of, call = {}) => removeName(parts, checkName(of), call)),
    collectGarbage: refusing((options) => collectGarbage(parts, options)),
    openFile: refusing((manifest, file, call) => openFile(documents, manifest, file, call)),
  };
}

/** Nobody can have published under another one. */
function isName(tenant: string, name: string): boolean {
  return TENANT_PATTERN.test(tenant) && NAME_PATTERN.test(name);
}

function checkName({ tenant, name }: AdapterName): AdapterName {
  if (!TENANT_PATTERN.test(tenant)) throw badName('tenant', 'lower-case letters');
  if (!NAME_PATTERN.test(name)) throw badName('name', 'letters');
  return { tenant, name };
}

function checkNewName(to: AdapterName): AdapterName {
  if (!RESERVED_NAMES.has(to.name)) return checkName(to);
  const message = `As a model, '${to.name}' means something else: take another name.`;
  throw new ServeError('invalid_request', message, { param: 'name' });
}

function checkAlias(alias: string): string {
  if (!NAME_PATTERN.test(alias)) throw badName('alias', 'letters');
  return alias;
}

function badName(param: string, letters: string): ServeError {
  const rule = `up to 63 ${letters}, digits, '.', '_' and '-', without '..', a ${letters.replace(/s$/, '')} or digit first`;
  return new ServeError('invalid_request', `The ${param} must be ${rule}.`, { param });
}

async function openFile(
  { store, log }: DocumentStore,
  manifest: VersionManifest,
  file: keyof VersionManifest['files'],
  call?: StoreCall,
): Promise<StoredObject> {
  const key = keys.versionFile(manifest, file);
  const object = await store.get(key, call);
  if (object) return object;
  logStoreFault(log, 'missing', { store: store.label, key }, 'a published file is missing');
  throw new ServeError('adapter_unavailable', `${file} is not in the store.`, {
    cause: new StoreError('invalid', `${key}: is missing`),
  });
}

/** What a caller is told of a store that fails; the reason stays in the log and in `cause`. */
function createRefusing(store: ObjectStore, log: RepositoryOptions['log']) {
  return <A extends unknown[], R>(work: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      try {
        return await work(...args);
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        const isDamaged = error.kind === 'damaged'; // it is in the log already
        if (!isDamaged) logStoreFailure(log, store, error);
        const message = isDamaged
          ? 'What the store holds of the adapter is damaged.'
          : 'The adapter store does not answer.';
        throw new ServeError('adapter_unavailable', message, { cause: error });
      }
    };
}
