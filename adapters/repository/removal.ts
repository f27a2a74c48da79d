// Versions that go. Removing is a tombstone in the manifest's place; the files stay for the grace, in which a server
// that has just read the manifest fetches them, and go when garbage is collected.
//
// What stays: every published version until it is removed, however many there are, and whatever an alias leads to, which
// cannot be removed. What goes: the files of removed versions, and publications that were begun and never finished, both
// once they are older than the grace. Files that were put there by hand are nobody's garbage. Servers write no leases:
// they run adapters from copies on their own disk, and a fetch ends within a minute, where the grace is a day.
import { ServeError } from '../../src/common/errors.ts';
import { mapBounded } from '../../src/common/map-bounded.ts';
import type { DocumentStore } from '../store/documents.ts';
import type { ObjectInfo, StoreCall } from '../store/store.ts';
import {
  modelAliases,
  reaches,
  withoutAll,
  withoutModel,
  withRemoved,
  withRemoving,
} from './alias-changes.ts';
import {
  type Aliases,
  CHECKPOINT_ALIAS,
  CLAIM_FILE,
  keys,
  LATEST,
  MANIFEST_FILE,
  pointerOf,
  versionsOf,
} from './manifest.ts';
import type { AdapterName, AliasName, Garbage, GarbageOptions } from './options.ts';
import type { AliasPointers } from './pointers.ts';
import {
  isTombstoneSize,
  listVersions,
  parseVersionKey,
  readCommit,
  readManifest,
  takenNumbers,
  type VersionName,
  writeTombstone,
} from './versions.ts';

export interface RemovalParts {
  readonly documents: DocumentStore;
  readonly pointers: AliasPointers;
  /** Unix milliseconds. */
  readonly now: () => number;
}

export async function removeVersion(
  parts: RemovalParts,
  of: VersionName,
  call: StoreCall,
): Promise<void> {
  const { documents, pointers } = parts;
  if (!(await readManifest(documents, of, call))) throw noVersion(of);
  // First nobody can lead an alias to it any more, then it goes: no alias ever leads to a removed version.
  await pointers.change(of, (now) => withRemoving(now, [of.version]), call);
  await bury(parts, of, call);
  await pointers.change(of, (now) => withRemoved(now, [of.version]), call);
}

export async function removeName(
  parts: RemovalParts,
  of: AdapterName,
  call: StoreCall,
): Promise<void> {
  const { documents, pointers } = parts;
  const numbers = await takenNumbers(documents, of, call);
  const commits = await mapBounded(numbers, (version) =>
    readCommit(documents, { ...of, version }, call),
  );
  const versions = numbers.filter((_, i) => commits[i]?.kind === 'manifest');
  if (versions.length === 0) throw noName(of);
  await pointers.change(of, (now) => withoutAll(now, versions), call);
  await mapBounded(versions, (version) => bury(parts, { ...of, version }, call));
  await pointers.change(of, (now) => withRemoved(now, versions), call);
}

/**
 * Removes a fine-tuned model: the alias of its job (or of one checkpoint), the versions that the alias and the job's
 * checkpoints lead to, and every way there. `latest` goes back to the version before. Resolves with false if there is
 * no such alias. Throws `ServeError` (400) if somebody has led another alias to one of the versions.
 */
export async function removeModel(
  parts: RemovalParts,
  of: AliasName,
  call: StoreCall,
): Promise<boolean> {
  const { documents, pointers } = parts;
  let isFound = false;
  const after = await pointers.change(
    of,
    async (now) => {
      const own = modelAliases(now, of.alias);
      if (!own.includes(of.alias)) return now;
      isFound = true;
      const going = [...new Set(own.flatMap((alias) => versionsOf(now.aliases[alias]!)))];
      const fallback = await findFallback(documents, now, going, { of, call });
      return withoutModel(now, of.alias, { going, fallback });
    },
    call,
  );
  // Also what an earlier removal has begun and not finished: nothing else leads there any more.
  await mapBounded(after.removing, (version) => bury(parts, { ...of, version }, call));
  await pointers.change(of, (now) => withRemoved(now, after.removing), call);
  return isFound;
}

/** Where `latest` leads without these versions: where it led before, else to the newest that is no checkpoint. */
async function findFallback(
  documents: DocumentStore,
  now: Aliases,
  going: readonly number[],
  { of, call }: { of: AdapterName; call: StoreCall },
): Promise<number | undefined> {
  const before = pointerOf(now.previous, LATEST);
  if (before && 'version' in before && !going.includes(before.version)) return before.version;
  const aside = Object.entries(now.aliases).flatMap(([alias, pointer]) =>
    CHECKPOINT_ALIAS.test(alias) ? versionsOf(pointer) : [],
  );
  const excluded = new Set([...going, ...aside, ...now.removing]);
  const left = await listVersions(documents, of, call);
  return left.findLast(({ version }) => !excluded.has(version))?.version;
}

async function bury({ documents, now }: RemovalParts, of: VersionName, call: StoreCall) {
  await writeTombstone(documents, of, { nowMs: now(), isManifestKept: false, ...call });
}

export function noVersion(of: VersionName): ServeError {
  return new ServeError('not_found', `${of.name} has no version ${of.version}.`);
}

function noName(of: AdapterName): ServeError {
  return new ServeError('not_found', `There is no adapter ${of.name}.`);
}

/** Objects of one version, as they are listed one after the other. */
interface VersionObjects {
  readonly of: VersionName;
  readonly objects: (ObjectInfo & { readonly file: string })[];
}

export async function collectGarbage(
  parts: RemovalParts,
  { now, graceMs, signal }: GarbageOptions,
): Promise<Garbage> {
  const call = signal ? { signal } : {};
  const total = { unfinished: 0, removed: 0, bytes: 0 };
  for await (const version of listObjects(parts.documents, call)) {
    const kind = kindOf(version, now - graceMs);
    if (!kind) continue;
    const bytes = await collectVersion(parts, { ...version, kind }, call);
    if (bytes === undefined) continue;
    total[kind]++;
    total.bytes += bytes;
  }
  return total;
}

/** What a version's objects are, as far as a listing tells; undefined: nothing to collect. */
function kindOf(
  { objects }: VersionObjects,
  beforeMs: number,
): 'unfinished' | 'removed' | undefined {
  const commit = objects.find(({ file }) => file === MANIFEST_FILE);
  if (commit) {
    const isGone = isTombstoneSize(commit.byteSize) && commit.modifiedMs < beforeMs;
    return isGone && objects.length > 1 ? 'removed' : undefined;
  }
  const isClaimed = objects.some(({ file }) => file === CLAIM_FILE);
  const isOld = objects.every(({ modifiedMs }) => modifiedMs < beforeMs);
  return isClaimed && isOld ? 'unfinished' : undefined;
}

/** Deletes all but the tombstone; answers the bytes, or undefined where the version turned out to be in use. */
async function collectVersion(
  { documents, pointers, now }: RemovalParts,
  { of, objects, kind }: VersionObjects & { readonly kind: 'unfinished' | 'removed' },
  call: StoreCall,
): Promise<number | undefined> {
  const found = await pointers.read(of, call);
  if (found && reaches(found.aliases, of.version)) return undefined;
  if (kind === 'removed') {
    if ((await readCommit(documents, of, call))?.kind !== 'tombstone') return undefined;
  } else {
    // Its publisher may be about to go on: of a manifest and a tombstone, the first one stays.
    const options = { nowMs: now(), isManifestKept: true, ...call };
    if (!(await writeTombstone(documents, of, options))) return undefined;
  }
  const garbage = objects.filter(({ file }) => file !== MANIFEST_FILE);
  await mapBounded(garbage, ({ key }) => documents.store.delete(key, call));
  return garbage.reduce((sum, { byteSize }) => sum + byteSize, 0);
}

/** Keys come in order, so the objects of a version come together. */
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
