// Published adapters in a store: versions that never change, and aliases that lead to them. It does not know who may use
// an adapter, nor what a server has loaded.
import { ServeError } from '../../src/common/errors.ts';
import type { Clock } from '../../src/common/waiting.ts';
import { TENANT_PATTERN } from '../../src/contracts/tenant.ts';
import { logStoreFailure, logStoreFault, type StoreLog } from '../store/guarded-store.ts';
import {
  type Etag,
  type ObjectStore,
  type StoreCall,
  type StoredObject,
  StoreError,
} from '../store/store.ts';
import { AliasStore, type RepositoryParts, rollbackAlias, setAlias } from './aliases.ts';
import {
  type AdapterName,
  type Aliases,
  type AliasPointer,
  keys,
  NAME_PATTERN,
  RESERVED_NAMES,
  type SignatureKeys,
  type VersionManifest,
  type VersionName,
  verifyManifest,
} from './manifest.ts';
import { adoptFolder, type PublishOptions, publishFolder } from './publish.ts';
import {
  collectGarbage,
  type Garbage,
  type GarbageOptions,
  removeModel,
  removeName,
  removeVersion,
} from './removal.ts';
import { listNames, listVersions, readManifest } from './versions.ts';

/** The log and the clock of a repository. */
export interface RepositoryOptions {
  readonly log?: StoreLog;
  /** Returns Unix milliseconds. */
  readonly now?: () => number;
  /** Times the tries of a change. Default: the machine's. */
  readonly clock?: Clock;
  /** With them, versions are signed when they are published, and verified when they are read. */
  readonly signatureKeys?: SignatureKeys | undefined;
}

/**
 * The published adapters of all tenants. Every call rejects with `ServeError` or with its signal's reason; if the store
 * fails or is damaged the error is `adapter_unavailable`, with the `StoreError` as its cause.
 */
export class AdapterRepository {
  /** The store's name for people. */
  readonly label: string;
  readonly #store: ObjectStore;
  readonly #log: StoreLog | undefined;
  readonly #parts: RepositoryParts;

  constructor(
    store: ObjectStore,
    { log, now = Date.now, clock, signatureKeys }: RepositoryOptions = {},
  ) {
    this.label = store.label;
    this.#store = store;
    this.#log = log;
    const documents = { store, log, clock };
    this.#parts = { documents, aliases: new AliasStore(documents), now, signatureKeys };
  }

  /**
   * Publishes a local PEFT folder as the name's next version. The version exists once its manifest is written; then
   * `latest` and the other aliases move, forward only.
   */
  publish(
    to: AdapterName,
    { directory }: { readonly directory: string },
    options: PublishOptions = {},
  ): Promise<VersionManifest> {
    return this.#answer(() => {
      for (const alias of options.aliases ?? []) checkAlias(alias);
      return publishFolder(this.#parts, { ...checkNewName(to), directory }, options);
    });
  }

  /** Makes a version of the two files that somebody has put into the store under this number. */
  adopt(of: VersionName, call: StoreCall = {}): Promise<VersionManifest> {
    return this.#answer(() => adoptFolder(this.#parts, { ...of, ...checkNewName(of) }, call));
  }

  /** Reads a name's aliases; undefined if it was never published. Never returns an older state than it has before. */
  readAliases(
    tenant: string,
    name: string,
    call?: StoreCall,
  ): Promise<{ aliases: Aliases; etag: Etag } | undefined> {
    return this.#answer(async () =>
      isName(tenant, name) ? this.#parts.aliases.read({ tenant, name }, call) : undefined,
    );
  }

  /**
   * Reads a version's manifest; undefined if there is no such version. Rejects with `adapter_signature_invalid` if it should be
   * signed and is not.
   */
  readManifest(
    tenant: string,
    name: string,
    version: number,
    call?: StoreCall,
  ): Promise<VersionManifest | undefined> {
    const { documents, signatureKeys } = this.#parts;
    return this.#answer(async () => {
      if (!isName(tenant, name)) return undefined;
      const manifest = await readManifest(documents, { tenant, name, version }, call);
      if (manifest) verifyManifest(manifest, signatureKeys);
      return manifest;
    });
  }

  /** Lists a tenant's names that have a version, sorted. */
  listNames(tenant: string, call?: StoreCall): Promise<string[]> {
    return this.#answer(async () =>
      TENANT_PATTERN.test(tenant) ? listNames(this.#parts.documents, tenant, call) : [],
    );
  }

  /** Lists a name's versions, ascending. */
  listVersions(tenant: string, name: string, call?: StoreCall): Promise<VersionManifest[]> {
    return this.#answer(async () =>
      isName(tenant, name) ? listVersions(this.#parts.documents, { tenant, name }, call) : [],
    );
  }

  /** Leads an alias to versions that exist; `undefined` removes it. */
  moveAlias(
    of: AdapterName,
    alias: string,
    pointer: AliasPointer | undefined,
    call: StoreCall = {},
  ): Promise<Aliases> {
    return this.#answer(() =>
      setAlias(this.#parts, { ...checkName(of), alias: checkAlias(alias) }, pointer, call),
    );
  }

  /** Returns an alias to its target before the last change. A second rollback undoes the first. */
  rollback(of: AdapterName, alias: string, call: StoreCall = {}): Promise<Aliases> {
    return this.#answer(() =>
      rollbackAlias(this.#parts, { ...checkName(of), alias: checkAlias(alias) }, call),
    );
  }

  /** Removes a version, unless an alias leads to it. Its number is never used again. */
  removeVersion(of: AdapterName, version: number, call: StoreCall = {}): Promise<void> {
    return this.#answer(() => removeVersion(this.#parts, { ...checkName(of), version }, call));
  }

  /**
   * Removes a fine-tuned model by the alias of its job or of a checkpoint, unless another alias leads to it. `latest`
   * returns to the version before. Resolves with false if there is no such alias.
   */
  removeModel(of: AdapterName, alias: string, call: StoreCall = {}): Promise<boolean> {
    return this.#answer(() =>
      removeModel(this.#parts, { ...checkName(of), alias: checkAlias(alias) }, call),
    );
  }

  /** Removes a name's aliases and all its versions. */
  removeName(of: AdapterName, call: StoreCall = {}): Promise<void> {
    return this.#answer(() => removeName(this.#parts, checkName(of), call));
  }

  /** Deletes the files of removed versions and of unfinished publications. */
  collectGarbage(options: GarbageOptions): Promise<Garbage> {
    return this.#answer(() => collectGarbage(this.#parts, options));
  }

  /** Opens one of a version's files. */
  openFile(
    manifest: VersionManifest,
    file: keyof VersionManifest['files'],
    call?: StoreCall,
  ): Promise<StoredObject> {
    return this.#answer(async () => {
      const key = keys.versionFile(manifest, file);
      const object = await this.#store.get(key, call);
      if (object) return object;
      const fields = { store: this.label, key };
      logStoreFault(this.#log, 'missing', fields, 'a published file is missing');
      throw new ServeError('adapter_unavailable', `${file} is not in the store.`, {
        cause: new StoreError('invalid', `${key}: is missing`),
      });
    });
  }

  /** Answers a store's failure as `ServeError`. The reason goes to the log, and to local callers as the cause. */
  async #answer<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      const isDamaged = error.kind === 'damaged'; // and in the log already
      if (!isDamaged) logStoreFailure(this.#log, this.#store, error);
      const message = isDamaged
        ? 'The stored adapter is damaged.'
        : 'The adapter store does not answer.';
      throw new ServeError('adapter_unavailable', message, { cause: error });
    }
  }
}

/** Whether something may have been published under this name. */
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
  const message = `The name '${to.name}' is reserved, because it means something else as a model. Choose another one.`;
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
