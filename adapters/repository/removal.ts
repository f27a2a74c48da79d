// Removes versions and collects garbage. A removal replaces the manifest with a tombstone. The files stay for a grace period,
// because a server that has just read the manifest may be fetching them. Published versions stay until they are removed, and a
// version with an alias cannot be removed. The collector deletes the files of removed versions and of unfinished publications
// once they are older than the grace period. Files that somebody has put there by hand are left alone. Servers need no leases:
// they run adapters from copies on their own disks, and a fetch takes at most a minute, while the grace period is a day.
import { ServeError } from '../../src/common/errors.ts';
import { mapBounded } from '../../src/common/map-bounded.ts';
import type { DocumentStore } from '../store/documents.ts';
import { isDamage, type ObjectInfo, type StoreCall } from '../store/store.ts';
import {
  modelAliases,
  type RepositoryParts,
  reaches,
  withoutAll,
  withoutModel,
  withRemoved,
  withRemoving,
} from './aliases.ts';
import { announceMissed, settleChanges } from './indexing.ts';
import {
  type AdapterName,
  type Aliases,
  CHECKPOINT_ALIAS,
  CLAIM_FILE,
  checkAlias,
  checkName,
  keys,
  LATEST,
  MANIFEST_FILE,
  pointerOf,
  type VersionName,
  versionsOf,
} from './manifest.ts';
import { isTombstoneSize, noVersion, parseVersionKey, type VersionStore } from './versions.ts';

/** Which garbage to collect. */
interface GarbageOptions {
  /** Unix milliseconds. */
  readonly now: number;
  /** Younger garbage is kept. */
  readonly graceMs: number;
  readonly signal?: AbortSignal;
}

/** How much garbage was collected. */
export interface Garbage {
  /** Publications that were never finished. */
  readonly unfinished: number;
  /** Removed versions whose files were deleted. */
  readonly removed: number;
  readonly bytes: number;
  /** Versions that were left alone because the file that tells whether they are used is damaged. */
  readonly damaged: number;
}

/**
 * Removes a version, whose number is never used again. Throws `ServeError`: 400 while an alias points to it, 404 if it does not
 * exist.
 */
export async function removeVersion(
  parts: RepositoryParts,
  name: AdapterName,
  version: number,
  call: StoreCall = {},
): Promise<void> {
  const of = { ...checkName(name), version };
  const { versions, aliases } = parts;
  if (!(await versions.manifest(of, call))) throw noVersion(of);
  // Block new aliases first, so no alias ever points to a removed version.
  await aliases.change(of, (now) => withRemoving(now, [of.version]), call);
  await writeFinalTombstone(parts, of, call);
  await aliases.change(of, (now) => withRemoved(now, [of.version]), call);
}

/** Removes a name's aliases and all its versions. Throws `ServeError` (404) if there are none. */
export async function removeName(
  parts: RepositoryParts,
  name: AdapterName,
  call: StoreCall = {},
): Promise<void> {
  const of = checkName(name);
  const { aliases } = parts;
  const numbers = await parts.versions.takenNumbers(of, call);
  const commits = await mapBounded(numbers, (version) =>
    parts.versions.readCommit({ ...of, version }, call),
  );
  const versions = numbers.filter((_, i) => commits[i]?.kind === 'manifest');
  if (versions.length === 0)
    throw new ServeError('not_found', `The adapter ${of.name} does not exist.`);
  await aliases.change(of, (now) => withoutAll(now, versions), call);
  await mapBounded(versions, (version) => writeFinalTombstone(parts, { ...of, version }, call));
  await aliases.change(of, (now) => withRemoved(now, versions), call);
}

/**
 * Removes a fine-tuned model: the alias of its job (or of one checkpoint), and the versions that this alias and the job's
 * checkpoints point to. `latest` returns to the version before. Resolves with false if there is no such alias. Throws
 * `ServeError` (400) if another alias points to one of the versions.
 */
export async function removeModel(
  parts: RepositoryParts,
  name: AdapterName,
  alias: string,
  call: StoreCall = {},
): Promise<boolean> {
  const of = checkAlias(name, alias);
  const { versions, aliases } = parts;
  let isFound = false;
  const after = await aliases.change(
    of,
    async (now) => {
      const own = modelAliases(now, of.alias);
      if (!own.includes(of.alias)) return now;
      isFound = true;
      const removed = [...new Set(own.flatMap((alias) => versionsOf(now.aliases[alias]!)))];
      const fallback = await findFallback(versions, now, removed, { of, call });
      return withoutModel(now, of.alias, { removed, fallback });
    },
    call,
  );
  // Includes versions whose earlier removal was interrupted.
  await mapBounded(after.removing, (version) =>
    writeFinalTombstone(parts, { ...of, version }, call),
  );
  await aliases.change(of, (now) => withRemoved(now, after.removing), call);
  return isFound;
}

/** Finds the next `latest`: its version before, or else the newest that is not a checkpoint. */
async function findFallback(
  versions: VersionStore,
  now: Aliases,
  removed: readonly number[],
  { of, call }: { of: AdapterName; call: StoreCall },
): Promise<number | undefined> {
  const before = pointerOf(now.previous, LATEST);
  if (before && 'version' in before && !removed.includes(before.version)) return before.version;
  const aside = Object.entries(now.aliases).flatMap(([alias, pointer]) =>
    CHECKPOINT_ALIAS.test(alias) ? versionsOf(pointer) : [],
  );
  const excluded = new Set([...removed, ...aside, ...now.removing]);
  const left = await versions.manifests(of, call);
  return left.findLast(({ version }) => !excluded.has(version))?.version;
}

function writeFinalTombstone({ versions, now }: RepositoryParts, of: VersionName, call: StoreCall) {
  return versions.writeTombstone(of, { nowMs: now(), isManifestKept: false, ...call });
}

interface VersionObjects {
  readonly of: VersionName;
  readonly objects: (ObjectInfo & { readonly file: string })[];
}

/**
 * Deletes the files of removed versions and of unfinished publications, and old announcements. Announces changes that nobody has
 * announced.
 */
export async function collectGarbage(
  parts: RepositoryParts,
  { now, graceMs, signal }: GarbageOptions,
): Promise<Garbage> {
  const call = signal ? { signal } : {};
  await announceMissed(parts, call);
  const announced = await parts.changes.list(call);
  await settleChanges(
    parts,
    announced.filter(({ modifiedMs }) => modifiedMs < now - graceMs),
    call,
  );
  const total = { unfinished: 0, removed: 0, bytes: 0, damaged: 0 };
  for await (const version of listObjects(parts.documents, call)) {
    const kind = garbageKind(version, now - graceMs);
    if (!kind) continue;
    try {
      const bytes = await collectVersion(parts, { ...version, kind }, call);
      if (bytes === undefined) continue;
      total[kind]++;
      total.bytes += bytes;
    } catch (error) {
      if (!isDamage(error as Error)) throw error;
      const { log, store } = parts.documents;
      log?.warn({ store: store.label, ...version.of, err: error }, 'a version was not collected');
      total.damaged++;
    }
  }
  return total;
}

/** Tells from a list entry whether a version's objects are garbage. */
function garbageKind(
  { objects }: VersionObjects,
  beforeMs: number,
): 'unfinished' | 'removed' | undefined {
  const commit = objects.find(({ file }) => file === MANIFEST_FILE);
  if (commit) {
    const isRemoved = isTombstoneSize(commit.byteSize) && commit.modifiedMs < beforeMs;
    return isRemoved && objects.length > 1 ? 'removed' : undefined;
  }
  const isClaimed = objects.some(({ file }) => file === CLAIM_FILE);
  const isOld = objects.every(({ modifiedMs }) => modifiedMs < beforeMs);
  return isClaimed && isOld ? 'unfinished' : undefined;
}

/**
 * Deletes all but the tombstone. Resolves with the number of bytes, or with undefined if the version turns out to be in use.
 */
async function collectVersion(
  { documents, versions, aliases, now }: RepositoryParts,
  { of, objects, kind }: VersionObjects & { readonly kind: 'unfinished' | 'removed' },
  call: StoreCall,
): Promise<number | undefined> {
  const state = await aliases.read(of, call);
  if (state && reaches(state.aliases, of.version)) return undefined;
  if (kind === 'removed') {
    if ((await versions.readCommit(of, call))?.kind !== 'tombstone') return undefined;
  } else {
    // Its publisher may be continuing at this moment. Whichever of manifest and tombstone comes first stays.
    const options = { nowMs: now(), isManifestKept: true, ...call };
    if (!(await versions.writeTombstone(of, options))) return undefined;
  }
  const garbage = objects.filter(({ file }) => file !== MANIFEST_FILE);
  await mapBounded(garbage, ({ key }) => documents.store.delete(key, call));
  return garbage.reduce((sum, { byteSize }) => sum + byteSize, 0);
}

/** Lists the objects of each version. Keys are sorted, so a version's objects come together. */
async function* listObjects(
  { store }: DocumentStore,
  call: StoreCall,
): AsyncGenerator<VersionObjects> {
  let current: (VersionObjects & { folder: string }) | undefined;
  for await (const entry of store.list('', call)) {
    const parsed = entry.kind === 'object' ? parseVersionKey(entry.key) : undefined;
    if (entry.kind !== 'object' || !parsed) continue;
    const { file, ...of } = parsed;
    const folder = keys.versionFile(of, '');
    if (current?.folder !== folder) {
      if (current) yield current;
      current = { folder, of, objects: [] };
    }
    current.objects.push({ ...entry, file });
  }
  if (current) yield current;
}
