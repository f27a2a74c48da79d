// Lists the names of an owner in pages, from its index in the store and the changes that were announced since it was written. A
// warm page needs no read but the feed's; a cold one needs the index and the changed names on the page.
import { mapBounded } from '../../src/common/map-bounded.ts';
import type { Clock } from '../../src/common/waiting.ts';
import type { IndexEntry, NameIndex } from '../repository/name-index.ts';
import type { AdapterRepository } from '../repository/repository.ts';
import type { Etag } from '../store/store.ts';
import type { ChangeFeed } from './change-feed.ts';
import { PolledCache } from './polled-cache.ts';

/** Indexes in memory: 100,000 names with a version each take 70 to 170 MB. A larger index is read for each page. */
const MAX_BYTES = 192 * 2 ** 20;
/** An owner without names. */
const OWNER_BYTES = 1_000;
/** The age of a list while no changes can be read. */
const UNCONFIRMED_MS = 30_000;

/** Selects a page of names. */
export interface NamePageQuery {
  /** The first name, if it exists. */
  readonly from: string;
  readonly limit: number;
  /** Leaves out other names. */
  accept?(name: string): boolean;
}

/** A name on a page. */
export interface ListedName {
  readonly owner: string;
  readonly name: string;
  readonly entry: IndexEntry;
}

/** A page of names, sorted. */
export interface NamePage {
  readonly names: readonly ListedName[];
  /** Whether no name follows. */
  readonly isLast: boolean;
}

interface OwnerNames {
  readonly index: NameIndex;
  /** Names that may differ from the index. */
  readonly changed: Set<string>;
  /** Name → the last read of it that has begun. */
  readonly reads: Map<string, symbol>;
}

interface NameListsOptions {
  readonly feed: ChangeFeed;
  readonly pollMs: number;
  readonly clock: Clock;
  readonly isTidy: boolean;
}

/** The names of all owners. */
export class NameLists {
  readonly #repository: AdapterRepository;
  readonly #options: NameListsOptions;
  readonly #owners: PolledCache<OwnerNames>;
  /** Owner → the names that change while its index is read, or did at the last read. */
  readonly #loading = new Map<string, Set<string>>();

  constructor(repository: AdapterRepository, options: NameListsOptions) {
    this.#repository = repository;
    this.#options = options;
    this.#owners = new PolledCache({
      ...options,
      trustMs: Number.POSITIVE_INFINITY, // an index can be large, and hides what was not announced
      limit: {
        maxSize: MAX_BYTES,
        sizeCalculation: ({ value }) => OWNER_BYTES + (value?.index.byteSize ?? 0),
      },
      read: (owner) => this.#load(owner),
    });
    options.feed.onChange((names) => {
      for (const key of names) {
        const [owner, name] = key.split('/') as [string, string];
        this.changed(owner, name);
      }
    });
  }

  /** Notes that a name has changed. */
  changed(owner: string, name: string): void {
    this.#loading.get(owner)?.add(name);
    this.#owners.peek(owner)?.value?.changed.add(name);
  }

  /** Returns a page. Rejects with `ServeError` if the store does not answer and the names were never read. */
  async page(
    owner: string,
    { from, limit, accept = () => true }: NamePageQuery,
  ): Promise<NamePage> {
    const { feed, pollMs } = this.#options;
    await feed.refresh(pollMs);
    const state = (await this.#owners.get(owner, UNCONFIRMED_MS))!;
    if (this.#loading.get(owner) === state.changed) this.#loading.delete(owner);
    for (const name of state.changed) state.index.add(name);
    const names: ListedName[] = [];
    let batch: string[] = [];
    const readBatch = async () => {
      const entries = await mapBounded(batch, (name) => this.#read(owner, name, state));
      for (const [i, entry] of entries.entries()) {
        if (entry) names.push({ owner, name: batch[i]!, entry });
      }
      batch = [];
    };
    for (const name of state.index.namesFrom(from)) {
      if (!accept(name)) continue;
      // A name that was removed leaves room for a further one.
      if (names.length + batch.length === limit) await readBatch();
      if (names.length === limit) return { names, isLast: false };
      batch.push(name);
    }
    await readBatch();
    return { names, isLast: true };
  }

  async #load(owner: string): Promise<OwnerNames> {
    const changed = new Set(this.#options.feed.announced(owner));
    this.#loading.set(owner, changed); // until a page has the result: the cache has it a moment later
    const stored = await this.#repository.readIndex(owner);
    const index = stored?.index ?? (await this.#build(owner, changed, stored?.etag));
    return { index, changed, reads: new Map() };
  }

  /** Builds an index, and stores it for other servers. It can take longer than announcements are kept. */
  async #build(owner: string, changed: Set<string>, damaged: Etag | undefined): Promise<NameIndex> {
    const { feed, pollMs, isTidy } = this.#options;
    const follow = () => feed.refresh(pollMs);
    await follow();
    const { sinceMs } = feed;
    changed.clear(); // what was announced until now is in the list of objects
    const index = await this.#repository.buildIndex(owner, follow);
    await follow();
    while (changed.size > 0) {
      const names = [...changed];
      changed.clear();
      await this.#repository.readEntries(owner, index, names);
    }
    // After an interruption it may lack changes. The next list then builds another one.
    const isWhole = feed.sinceMs === sinceMs;
    if (isTidy && isWhole) await this.#repository.storeIndex(owner, index, damaged);
    return index;
  }

  async #read(
    owner: string,
    name: string,
    { index, changed, reads }: OwnerNames,
  ): Promise<IndexEntry | undefined> {
    const known = index.find(name);
    // A name without an entry is new, or on a damaged line.
    if (!changed.delete(name) && known) return known;
    const read = Symbol(name);
    reads.set(name, read);
    try {
      const entry = await this.#repository.readEntry({ tenant: owner, name });
      if (reads.get(name) === read) index.set(name, entry);
      return entry;
    } catch {
      changed.add(name); // the store logs it; what was known is listed
      return known;
    } finally {
      if (reads.get(name) === read) reads.delete(name);
    }
  }
}
