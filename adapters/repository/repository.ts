// Published adapters in a store: versions that never change, and the aliases that lead to them. It knows neither who may
// use an adapter nor what a server has loaded.
import type { Aliases, AliasPointer, VersionManifest } from '../manifest.ts';
import type { Etag, StoreCall, StoredObject } from '../store/store.ts';

/** Whose adapter, and what it is called. */
export interface AdapterName {
  readonly tenant: string;
  readonly name: string;
}

export interface PublishOptions {
  /** Of the base's artifact that it was made for; absent: unknown. */
  readonly baseDigest?: string;
  /** The job that made it. */
  readonly job?: string;
  /** Whatever was measured. */
  readonly metrics?: Readonly<Record<string, unknown>>;
  /** Beside `latest`, led to this version. */
  readonly aliases?: readonly string[];
  /** A publication that is tried again under the same one, also by another process, ends with one version. */
  readonly publicationId?: string;
  /** Of the two files, as they are written. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
  readonly signal?: AbortSignal;
}

export interface GarbageOptions {
  /** Unix milliseconds. */
  readonly now: number;
  /** What is younger stays. */
  readonly graceMs: number;
  readonly signal?: AbortSignal;
}

export interface Garbage {
  /** Publications that were never finished. */
  readonly unfinished: number;
  /** Removed versions whose files went. */
  readonly removed: number;
  readonly bytes: number;
}

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
  /** Its aliases and all its versions. */
  removeName(of: AdapterName, call?: StoreCall): Promise<void>;
  collectGarbage(options: GarbageOptions): Promise<Garbage>;
  openFile(
    manifest: VersionManifest,
    file: keyof VersionManifest['files'],
    call?: StoreCall,
  ): Promise<StoredObject>;
}
