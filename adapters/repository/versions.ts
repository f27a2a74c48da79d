// The versions of a name. A number's folder holds a claim while the version is being published, then a manifest, and a
// tombstone in its place after removal. A number therefore never stands for two contents.

import { createHash } from 'node:crypto';
import { z } from 'zod';
import { ServeError } from '../../src/common/errors.ts';
import { mapBounded } from '../../src/common/map-bounded.ts';
import { type AdapterFiles, adapterDigest, CONFIG_FILE, WEIGHTS_FILE } from '../peft/files.ts';
import {
  createDocument,
  type DocumentKind,
  type DocumentStore,
  ifSound,
  readDocument,
  serializeDocument,
} from '../store/documents.ts';
import {
  type Etag,
  isConflict,
  listFolders,
  type StoreCall,
  type StoredObject,
} from '../store/store.ts';
import {
  type AdapterName,
  CLAIM_FILE,
  claimSchema,
  keys,
  MANIFEST_FILE,
  MAX_MANIFEST_BYTES,
  MAX_TOMBSTONE_BYTES,
  manifestSchema,
  NAME_PATTERN,
  tombstoneSchema,
  type VersionClaim,
  type VersionManifest,
  type VersionName,
} from './manifest.ts';

/** The name of a version's folder. */
const NUMBER_PATTERN = /^[1-9]\d{0,8}$/;
const CLAIM_KIND: DocumentKind<VersionClaim> = { schema: claimSchema, maxBytes: 4096 };

/** The content of `manifest.json`. */
type CommitState =
  | { readonly kind: 'manifest'; readonly manifest: VersionManifest }
  | { readonly kind: 'tombstone' };

/** Returns the version and file of a key; undefined if it is not in a version's folder. */
export function parseVersionKey(key: string): (VersionName & { file: string }) | undefined {
  const [tenant, name, number, file, ...rest] = key.split('/');
  if (!tenant || !name || !number || !file || rest.length > 0) return undefined;
  if (!NUMBER_PATTERN.test(number) || !NAME_PATTERN.test(name)) return undefined;
  return { tenant, name, version: Number(number), file };
}

/** A name, as a list of its tenant's objects describes it. */
export interface SurveyedName {
  /** Ascending, at least one. */
  readonly versions: readonly number[];
  /** The state of its aliases. Absent: it has none. */
  readonly aliasesEtag?: Etag;
}

/** The versions of all names, as documents. */
export class VersionStore {
  readonly #documents: DocumentStore;

  constructor(documents: DocumentStore) {
    this.#documents = documents;
  }

  /** Lists the numbers that are taken, ascending. Not all of them are versions. */
  async takenNumbers({ tenant, name }: AdapterName, call?: StoreCall): Promise<number[]> {
    const prefix = keys.name(tenant, name);
    const names = await listFolders(this.#documents.store, prefix, NUMBER_PATTERN, call);
    return names.map(Number).sort((a, b) => a - b);
  }

  /** Lists the names that have a version, sorted. */
  async names(tenant: string, call?: StoreCall): Promise<string[]> {
    return [...(await this.survey(tenant, call)).keys()].sort();
  }

  /**
   * Describes all names that have a version, from one list of the tenant's objects: a manifest is longer than a tombstone, so it
   * need not be read.
   */
  async survey(tenant: string, call?: StoreCall): Promise<Map<string, SurveyedName>> {
    const all = new Map<string, { versions: number[]; aliasesEtag?: Etag }>();
    const stateOf = (name: string) => {
      const state = all.get(name) ?? { versions: [] };
      all.set(name, state);
      return state;
    };
    const prefix = keys.tenant(tenant);
    for await (const entry of this.#documents.store.list(prefix, call)) {
      if (entry.kind !== 'object') continue;
      const [name = ''] = entry.key.slice(prefix.length).split('/');
      if (entry.key === keys.alias(tenant, name)) stateOf(name).aliasesEtag = entry.etag;
      const { version, file } = parseVersionKey(entry.key) ?? {};
      const isManifest = file === MANIFEST_FILE && !isTombstoneSize(entry.byteSize);
      if (version && isManifest) stateOf(name).versions.push(version);
    }
    for (const [name, { versions }] of all) {
      if (versions.length === 0) all.delete(name);
      versions.sort((a, b) => a - b);
    }
    return all;
  }

  /** Reads a number's manifest or tombstone; undefined if it has neither. */
  async readCommit(of: VersionName, call?: StoreCall): Promise<CommitState | undefined> {
    const key = keys.versionFile(of, MANIFEST_FILE);
    const file = await readDocument(this.#documents, key, commitKind(of), call);
    return file && toCommitState(file.value);
  }

  /** Writes the manifest, unless a manifest or tombstone exists. Resolves with the state afterwards. */
  async commit(manifest: VersionManifest, call?: StoreCall): Promise<CommitState> {
    const key = keys.versionFile(manifest, MANIFEST_FILE);
    const kind = commitKind(manifest);
    return toCommitState(await createDocument(this.#documents, key, kind, manifest, call));
  }

  /** Reads a version's manifest; undefined if there is no such version. */
  async manifest(of: VersionName, call?: StoreCall): Promise<VersionManifest | undefined> {
    const state = await this.readCommit(of, call);
    return state?.kind === 'manifest' ? state.manifest : undefined;
  }

  /** Lists the manifests of a name, ascending. Skips damaged ones, which are logged. */
  async manifests(
    of: AdapterName,
    { numbers: known, ...call }: StoreCall & { numbers?: readonly number[] | undefined } = {},
  ): Promise<VersionManifest[]> {
    const numbers = known ?? (await this.takenNumbers(of, call));
    const manifests = await mapBounded(numbers, (version) =>
      ifSound(this.manifest({ ...of, version }, call)),
    );
    return manifests.filter((manifest) => manifest !== undefined);
  }

  /** Reads a number's claim; undefined if there is none. */
  async readClaim(of: VersionName, call?: StoreCall): Promise<VersionClaim | undefined> {
    const key = keys.versionFile(of, CLAIM_FILE);
    return (await readDocument(this.#documents, key, CLAIM_KIND, call))?.value;
  }

  /** Writes a claim unless one exists. Resolves with the claim that is there afterwards. */
  createClaim(of: VersionName, claim: VersionClaim, call?: StoreCall): Promise<VersionClaim> {
    const key = keys.versionFile(of, CLAIM_FILE);
    return createDocument(this.#documents, key, CLAIM_KIND, claim, call);
  }

  /**
   * Retires a number: its publisher finds the tombstone in the manifest's place. Resolves with false, and writes nothing, if
   * there is a manifest and `isManifestKept` is set.
   */
  async writeTombstone(
    of: VersionName,
    { nowMs, isManifestKept, ...call }: StoreCall & { nowMs: number; isManifestKept: boolean },
  ): Promise<boolean> {
    const bytes = serializeDocument({ schema: 1, removed_at: Math.floor(nowMs / 1000) });
    const condition = isManifestKept ? { ifAbsent: true as const } : {};
    try {
      const key = keys.versionFile(of, MANIFEST_FILE);
      await this.#documents.store.put(key, bytes, { ...condition, ...call });
      return true;
    } catch (error) {
      if (isConflict(error)) return false;
      throw error;
    }
  }
}

type CommitFile = z.infer<typeof tombstoneSchema> | VersionManifest;

/** A union of the two schemas would not report which field is wrong. */
const commitSchema = z.looseObject({}).transform((file, context): CommitFile => {
  const schema = 'removed_at' in file ? tombstoneSchema : manifestSchema;
  const result = schema.safeParse(file);
  if (result.success) return result.data;
  for (const { path, message } of result.error.issues) {
    context.addIssue({ code: 'custom', path, message });
  }
  return z.NEVER;
});

function commitKind(of: VersionName): DocumentKind<CommitFile> {
  return {
    schema: commitSchema,
    maxBytes: MAX_MANIFEST_BYTES,
    faultOf: (file) => ('removed_at' in file ? undefined : foreignFault(file, of)),
  };
}

function toCommitState(file: CommitFile): CommitState {
  return 'removed_at' in file ? { kind: 'tombstone' } : { kind: 'manifest', manifest: file };
}

/** Detects a manifest that was copied from another version. */
function foreignFault(manifest: VersionManifest, of: VersionName): string | undefined {
  const isOwn =
    manifest.tenant === of.tenant && manifest.name === of.name && manifest.version === of.version;
  if (isOwn) return undefined;
  return `is the manifest of ${manifest.tenant}/${manifest.name}/${manifest.version}`;
}

/** Returns the error for a version that does not exist (404). */
export function noVersion(of: VersionName): ServeError {
  return new ServeError('not_found', `${of.name} has no version ${of.version}.`);
}

/** Whether `manifest.json` is so short that it must be a tombstone. */
export function isTombstoneSize(byteSize: number): boolean {
  return byteSize <= MAX_TOMBSTONE_BYTES;
}

// Fetches a version's two files into memory, and checks every byte against the manifest.

interface FetchVersionOptions extends StoreCall {
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/** Opens one of a version's files. */
type OpenFile = (
  manifest: VersionManifest,
  file: keyof VersionManifest['files'],
  call: StoreCall,
) => Promise<StoredObject>;

/** Fetches both files. Rejects with `ServeError`: `adapter_checksum_mismatch` naming the file, or `adapter_unavailable`. */
export async function fetchVersion(
  repository: { openFile: OpenFile },
  manifest: VersionManifest,
  { onProgress, ...call }: FetchVersionOptions = {},
): Promise<AdapterFiles> {
  const totalBytes = manifest.files[CONFIG_FILE].byteSize + manifest.files[WEIGHTS_FILE].byteSize;
  let doneBytes = 0;
  const read = async (file: keyof VersionManifest['files']) => {
    const { byteSize, sha256 } = manifest.files[file];
    const { body, byteSize: storedBytes } = await repository.openFile(manifest, file, call);
    if (storedBytes !== byteSize) {
      for await (const _ of body) break; // frees the connection
      throw mismatch(file, `has ${storedBytes} bytes, not ${byteSize}`);
    }
    const bytes = new Uint8Array(byteSize);
    let filled = 0;
    for await (const chunk of body) {
      if (filled + chunk.length > byteSize)
        throw mismatch(file, `is longer than ${byteSize} bytes`);
      bytes.set(chunk, filled);
      filled += chunk.length;
      doneBytes += chunk.length;
      onProgress?.(doneBytes, totalBytes);
    }
    if (filled < byteSize) throw mismatch(file, `ends after ${filled} of ${byteSize} bytes`);
    const digest = createHash('sha256').update(bytes).digest('hex');
    if (digest !== sha256) throw mismatch(file, `has the SHA-256 ${digest}, not ${sha256}`);
    return bytes;
  };
  const configBytes = await read(CONFIG_FILE);
  const weightsBytes = await read(WEIGHTS_FILE);
  const digest = adapterDigest(configBytes, weightsBytes);
  if (digest !== manifest.digest)
    throw mismatch('manifest.json', 'has the digest of another adapter');
  return { configBytes, weightsBytes, digest };
}

function mismatch(file: string, fault: string): ServeError {
  const message = `The stored adapter differs from the published one: ${file} ${fault}. Publish it again.`;
  return new ServeError('adapter_checksum_mismatch', message, { param: file });
}
