// Keeps the index of each tenant's names: reads it, builds it from the objects that it repeats, and merges changes into it by
// compare-and-swap. A writer reads the index before the names, so a swap that succeeds never undoes a later one.
import { mapBounded } from '../../src/common/map-bounded.ts';
import { TENANT_PATTERN } from '../../src/contracts/tenant.ts';
import { ifSound, readBody } from '../store/documents.ts';
import { type Etag, isConflict, listFolders, type StoreCall } from '../store/store.ts';
import type { RepositoryParts } from './aliases.ts';
import type { Announcement } from './changes.ts';
import type { AdapterName } from './manifest.ts';
import { type IndexEntry, NameIndex, toListedVersion } from './name-index.ts';
import type { SurveyedName } from './versions.ts';

/** 100,000 names with a version each and an evaluation take 150 MB. Beyond that, lists are built in memory only. */
const MAX_INDEX_BYTES = 512 * 2 ** 20;

const indexKey = (tenant: string) => `${tenant}/.index/names`;

/** An index in the store and the state of its object. */
interface StoredIndex {
  /** Undefined if the object is damaged. */
  readonly index: NameIndex | undefined;
  readonly etag: Etag;
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
  const {
    aliases: current = {},
    previous = {},
    rolled_back: rolledBack,
    about,
  } = state?.aliases ?? {};
  const optional = {
    ...(state && { aliasesEtag: state.etag }),
    ...(rolledBack && { rolled_back: rolledBack }),
    ...(about && { about }),
  };
  return { aliases: current, previous, ...optional, versions: manifests.map(toListedVersion) };
}

/** Reads names into an index. */
export async function readEntries(
  parts: RepositoryParts,
  tenant: string,
  index: NameIndex,
  names: readonly string[],
  call?: StoreCall,
): Promise<void> {
  const entries = await mapBounded(names, (name) => readEntry(parts, { tenant, name }, call));
  for (const [i, name] of names.entries()) index.set(name, entries[i]);
}

/**
 * Builds a tenant's index from one list of its objects, a read for each version and one for each name's aliases. `beforeRead` is
 * called before each name.
 */
export async function buildIndex(
  parts: RepositoryParts,
  tenant: string,
  beforeRead: () => Promise<void>,
): Promise<NameIndex> {
  const index = new NameIndex(tenant);
  const surveyed = await parts.versions.survey(tenant);
  await mapBounded([...surveyed], async ([name, { versions: numbers }]) => {
    await beforeRead();
    index.set(name, await readEntry(parts, { tenant, name }, { numbers }));
  });
  return index;
}

/** Writes an index in the place of the one in this state. Resolves with false if others came first. */
async function putIndex(
  { documents: { store } }: RepositoryParts,
  tenant: string,
  index: NameIndex,
  { before, ...call }: StoreCall & { readonly before: Etag | undefined },
): Promise<boolean> {
  const condition = before === undefined ? { ifAbsent: true as const } : { ifMatch: before };
  try {
    await store.put(indexKey(tenant), index.serialize(), { ...condition, ...call });
    return true;
  } catch (error) {
    if (isConflict(error)) return false;
    throw error;
  }
}

/** Stores a new index, in the place of a damaged one if there is one. Without it each server builds its own. */
export async function storeIndex(
  parts: RepositoryParts,
  tenant: string,
  index: NameIndex,
  damaged: Etag | undefined,
): Promise<void> {
  if (index.size === 0 || index.byteSize > MAX_INDEX_BYTES) return;
  await putIndex(parts, tenant, index, { before: damaged }).catch(() => {}); // the store logs it
}

/**
 * Writes what was announced to the indexes, and removes the announcements, except if others write an index at that time. A
 * tenant whose index cannot be read or written keeps its announcements and stops no other. Rejects with one of the errors.
 */
export async function settleChanges(
  parts: RepositoryParts,
  announcements: readonly Announcement[],
  call: StoreCall = {},
): Promise<void> {
  const failures: unknown[] = [];
  for (const tenant of new Set(announcements.map((one) => one.tenant))) {
    const ofTenant = announcements.filter((one) => one.tenant === tenant);
    try {
      await settleTenant(parts, tenant, ofTenant, call);
    } catch (error) {
      call.signal?.throwIfAborted();
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}

async function settleTenant(
  parts: RepositoryParts,
  tenant: string,
  announcements: readonly Announcement[],
  call: StoreCall,
): Promise<void> {
  const stored = await readIndex(parts, tenant, call);
  if (stored?.index) {
    const names = [...new Set(announcements.map(({ name }) => name))];
    await readEntries(parts, tenant, stored.index, names, call);
    if (!(await putIndex(parts, tenant, stored.index, { before: stored.etag, ...call }))) return;
  }
  await parts.changes.remove(announcements, call);
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
  const stateOf = (versions: readonly number[] = [], etag?: string) => `${versions} ${etag}`;
  for (const name of new Set([...index.namesFrom(''), ...surveyed.keys()])) {
    const known = index.find(name);
    const found = surveyed.get(name);
    const numbers = known?.versions.map(({ version }) => version);
    const knownState = stateOf(numbers, known?.aliasesEtag);
    if (knownState !== stateOf(found?.versions, found?.aliasesEtag)) yield name;
  }
}
