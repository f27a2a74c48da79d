// Keeps the index of each tenant's names: reads it, builds it from the objects that it repeats, and merges changes into it by
// compare-and-swap. A writer reads the index before the names, so a swap that succeeds never undoes a later one.
import { mapBounded } from '../../src/common/map-bounded.ts';
import { TENANT_PATTERN } from '../../src/contracts/tenant.ts';
import { ifSound, readBody } from '../store/documents.ts';
import { isConflict, listFolders, type StoreCall } from '../store/store.ts';
import type { RepositoryParts } from './aliases.ts';
import type { Announcement } from './changes.ts';
import type { AdapterName } from './manifest.ts';
import { type IndexEntry, NameIndex, toListedVersion } from './name-index.ts';
import type { SurveyedName } from './versions.ts';

/** 100,000 names with a version each and an evaluation take 150 MB. Beyond that, lists are built in memory only. */
const MAX_INDEX_BYTES = 512 * 2 ** 20;
/** Others merge at most once a minute. */
const MAX_TRIES = 5;

const indexKey = (tenant: string) => `${tenant}/.index/names`;

/** An index in the store and the state of its object. */
interface StoredIndex {
  /** Undefined if the object is damaged. */
  readonly index: NameIndex | undefined;
  readonly etag: string;
}

/** Follows the announced changes of a tenant's names while an index is built. */
interface IndexFollower {
  /** Called before each read. */
  keepUp(): Promise<void>;
  /** Returns the names that were announced since the last call. */
  takeChanged(): ReadonlySet<string>;
  /** Whether no announcement can have been missed. */
  isUnbroken(): boolean;
}

/** How an index is built. */
interface BuildOptions extends StoreCall {
  readonly follower: IndexFollower;
  /** Whether to store it for other servers. */
  readonly isStored: boolean;
  /** The state of the damaged index that it replaces. */
  readonly damaged?: string | undefined;
}

/** Reads a tenant's index. Undefined if there is none. */
export async function readIndex(
  { documents: { store, log } }: RepositoryParts,
  tenant: string,
  call?: StoreCall,
): Promise<StoredIndex | undefined> {
  const object = await store.get(indexKey(tenant), call);
  if (!object) return undefined;
  const bytes = await readBody(object.body, MAX_INDEX_BYTES);
  const index = bytes && NameIndex.parse(tenant, bytes);
  if (!index) log?.warn({ store: store.label, tenant }, 'the index of a tenant is damaged');
  return { index, etag: object.etag };
}

/** Reads a name's entry; undefined if it has no version. */
export async function readEntry(
  { versions, aliases }: RepositoryParts,
  of: AdapterName,
  { numbers, ...call }: StoreCall & { numbers?: readonly number[] | undefined } = {},
): Promise<IndexEntry | undefined> {
  const [manifests, state] = await Promise.all([
    versions.manifests(of, { numbers, ...call }),
    ifSound(aliases.read(of, call)),
  ]);
  if (manifests.length === 0) return undefined;
  const { aliases: current = {}, previous = {}, about } = state?.aliases ?? {};
  const optional = { ...(state && { aliasesEtag: state.etag }), ...(about && { about }) };
  return { aliases: current, previous, ...optional, versions: manifests.map(toListedVersion) };
}

/** Builds a tenant's index from one list of its objects, a read for each version and one for each name's aliases. */
export async function buildIndex(
  parts: RepositoryParts,
  tenant: string,
  { damaged, follower, isStored, ...call }: BuildOptions,
): Promise<NameIndex> {
  const read = async (names: Iterable<string>, known?: ReadonlyMap<string, SurveyedName>) => {
    const entries = await mapBounded([...names], async (name) => {
      await follower.keepUp();
      const numbers = known?.get(name)?.versions;
      return [name, await readEntry(parts, { tenant, name }, { numbers, ...call })] as const;
    });
    return new Map(entries);
  };
  await follower.keepUp();
  follower.takeChanged(); // what was announced before the list is in it
  const surveyed = await parts.versions.survey(tenant, call);
  let index = NameIndex.empty(tenant).with(await read(surveyed.keys(), surveyed));
  await follower.keepUp();
  for (let names = follower.takeChanged(); names.size > 0; names = follower.takeChanged()) {
    index = index.with(await read(names));
  }
  // After an interruption it may lack changes. The next list then builds another one.
  if (isStored && index.size > 0 && follower.isUnbroken()) {
    await storeIndex(parts, tenant, index, { ifMatch: damaged, ...call });
  }
  return index;
}

/** Stores a new index. Without it, each server builds its own, so a failure is only logged. */
async function storeIndex(
  { documents: { store, log } }: RepositoryParts,
  tenant: string,
  index: NameIndex,
  { ifMatch, ...call }: StoreCall & { ifMatch: string | undefined },
): Promise<void> {
  const bytes = index.serialize();
  if (bytes.length > MAX_INDEX_BYTES) return;
  const condition = ifMatch === undefined ? { ifAbsent: true as const } : { ifMatch };
  try {
    await store.put(indexKey(tenant), bytes, { ...condition, ...call });
  } catch (err) {
    call.signal?.throwIfAborted();
    if (!isConflict(err)) log?.warn({ err, tenant }, 'the index of a tenant was not stored');
  }
}

/** Reads names again and writes them to the tenant's index, if it has one. */
async function refreshIndex(
  parts: RepositoryParts,
  tenant: string,
  names: readonly string[],
  call?: StoreCall,
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const stored = await readIndex(parts, tenant, call);
    if (!stored?.index) return;
    const entries = await mapBounded(names, (name) => readEntry(parts, { tenant, name }, call));
    const changed = stored.index.with(new Map(names.map((name, i) => [name, entries[i]])));
    try {
      const condition = { ifMatch: stored.etag, ...call };
      await parts.documents.store.put(indexKey(tenant), changed.serialize(), condition);
      return;
    } catch (error) {
      if (!isConflict(error) || attempt === MAX_TRIES) throw error;
    }
  }
}

/** Writes what was announced to the indexes, and removes the announcements. */
export async function settleChanges(
  parts: RepositoryParts,
  announcements: readonly Announcement[],
  call?: StoreCall,
): Promise<void> {
  for (const tenant of new Set(announcements.map((one) => one.tenant))) {
    const ofTenant = announcements.filter((one) => one.tenant === tenant);
    const names = [...new Set(ofTenant.map(({ name }) => name))];
    await refreshIndex(parts, tenant, names, call);
    await parts.changes.remove(ofTenant, call);
  }
}

/**
 * Announces the names of all tenants whose index differs from what a list of their objects shows, so that every server reads
 * them again: older programs announce nothing, and somebody may have copied objects by hand.
 */
export async function announceMissed(parts: RepositoryParts, call?: StoreCall): Promise<void> {
  const { documents, versions, changes } = parts;
  for (const tenant of await listFolders(documents.store, '', TENANT_PATTERN, call)) {
    const stored = await readIndex(parts, tenant, call);
    if (!stored?.index) continue;
    const surveyed = await versions.survey(tenant, call);
    for (const name of differingNames(stored.index, surveyed)) {
      const notice = changes.begin({ tenant, name });
      await notice.intend(call);
      await notice.done(call);
    }
  }
}

function* differingNames(
  index: NameIndex,
  surveyed: ReadonlyMap<string, SurveyedName>,
): Generator<string> {
  const stateOf = (versions: readonly number[], etag?: string) => `${versions.join()} ${etag}`;
  const left = new Map(surveyed);
  for (let i = 0; i < index.size; i++) {
    const name = index.nameAt(i);
    const entry = index.entryAt(i);
    const found = left.get(name);
    left.delete(name);
    const known = entry?.versions.map(({ version }) => version) ?? [];
    const isSame =
      found && stateOf(found.versions, found.aliasesEtag) === stateOf(known, entry?.aliasesEtag);
    if (!isSame) yield name;
  }
  yield* left.keys();
}
