// Lists the names of an owner in pages, from its index in the store and the changes that were announced since it was written. A
// warm page needs no read but the feed's; a cold one needs the index and the changed names on the page.
import { LRUCache } from 'lru-cache';
import { mapBounded } from '../../src/common/map-bounded.ts';
import { type Clock, orAfter } from '../../src/common/waiting.ts';
import type { IndexEntry, NameIndex } from '../repository/name-index.ts';
import type { AdapterRepository } from '../repository/repository.ts';
import type { ChangeFeed } from './change-feed.ts';

/** Indexes in memory: 100,000 names with a version each take 50 to 150 MB. A larger index is read for each page. */
const MAX_BYTES = 192 * 2 ** 20;
/** An owner without names. */
const OWNER_BYTES = 1_000;
/** How long a request waits for a slow store if an older list is at hand. */
const PATIENCE_MS = 500;
/** The age of a list while no changes can be read. */
const UNCONFIRMED_MS = 30_000;
/** More changed names are rather read with a new index. */
const MAX_CHANGED = 1000;

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

interface OwnerFlight {
  readonly changed: Set<string>;
  readonly outcome: Promise<OwnerNames>;
}

interface OwnerNames {
  readonly index: NameIndex;
  readonly readMs: number;
  /** The feed has missed nothing since then. */
  readonly sinceMs: number;
  /** Names that may differ from the index and from `entries`. */
  readonly changed: Set<string>;
  /** Names that were read since the index was. Undefined: the name is gone. */
  readonly entries: Map<string, IndexEntry | undefined>;
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
  readonly #feed: ChangeFeed;
  readonly #pollMs: number;
  readonly #clock: Clock;
  readonly #isTidy: boolean;
  readonly #owners = new LRUCache<string, OwnerNames>({ maxSize: MAX_BYTES });
  readonly #flights = new Map<string, OwnerFlight>();

  constructor(repository: AdapterRepository, { feed, pollMs, clock, isTidy }: NameListsOptions) {
    this.#repository = repository;
    this.#feed = feed;
    this.#pollMs = pollMs;
    this.#clock = clock;
    this.#isTidy = isTidy;
    feed.onChange((names) => {
      for (const key of names) {
        const [owner, name] = key.split('/') as [string, string];
        this.changed(owner, name);
      }
    });
  }

  /** Notes that a name has changed. */
  changed(owner: string, name: string): void {
    for (const part of [this.#owners.peek(owner), this.#flights.get(owner)])
      part?.changed.add(name);
  }

  /** Returns a page. Rejects with `ServeError` if the store does not answer and the names were never read. */
  async page(owner: string, query: NamePageQuery): Promise<NamePage> {
    const state = await this.#open(owner);
    const candidates = candidatesOf(state, query);
    const names: ListedName[] = [];
    for (;;) {
      const batch: string[] = [];
      while (batch.length < query.limit - names.length) {
        const { value, done } = candidates.next();
        if (done) break;
        batch.push(value);
      }
      if (batch.length === 0) break;
      const entries = await mapBounded(batch, (name) => this.#read(owner, name, state));
      for (const [i, entry] of entries.entries()) {
        if (entry) names.push({ owner, name: batch[i]!, entry });
      }
    }
    return { names, isLast: candidates.next().done === true };
  }

  async #open(owner: string): Promise<OwnerNames> {
    await this.#feed.refresh(this.#pollMs);
    const known = this.#owners.get(owner);
    const { sinceMs, isFollowing } = this.#feed;
    const isCurrent = known?.sinceMs === sinceMs && known.entries.size <= MAX_CHANGED;
    const ageMs = known ? this.#clock.now() - known.readMs : 0;
    if (isCurrent && (isFollowing || ageMs < UNCONFIRMED_MS)) return known;
    const flight = this.#flights.get(owner) ?? this.#startLoad(owner);
    if (!known) return flight.outcome;
    const outcome = flight.outcome.catch(() => known); // the store logs it; what was known is listed
    return orAfter(outcome, PATIENCE_MS, known, this.#clock);
  }

  #startLoad(owner: string): OwnerFlight {
    const { sinceMs } = this.#feed;
    const readMs = this.#clock.now();
    const changed = new Set(this.#feed.announced(owner));
    const outcome = this.#load(owner, changed).then((index) => {
      const state = { index, readMs, sinceMs, changed, entries: new Map() };
      this.#owners.set(owner, state, { size: index.byteSize + OWNER_BYTES });
      return state;
    });
    const flight = { changed, outcome };
    this.#flights.set(owner, flight);
    outcome.catch(() => {}).finally(() => this.#flights.delete(owner));
    return flight;
  }

  async #load(owner: string, changed: Set<string>): Promise<NameIndex> {
    const stored = await this.#repository.readIndex(owner);
    if (stored?.index) return stored.index;
    const { sinceMs } = this.#feed;
    return this.#repository.buildIndex(owner, {
      damaged: stored?.etag,
      isStored: this.#isTidy,
      follower: {
        keepUp: () => this.#feed.refresh(this.#pollMs),
        takeChanged() {
          const names = new Set(changed);
          changed.clear();
          return names;
        },
        isUnbroken: () => this.#feed.sinceMs === sinceMs,
      },
    });
  }

  async #read(
    owner: string,
    name: string,
    { index, changed, entries }: OwnerNames,
  ): Promise<IndexEntry | undefined> {
    const known = () => (entries.has(name) ? entries.get(name) : index.find(name));
    const entry = known();
    // A name without an entry is on a damaged line.
    if (!changed.delete(name) && (entry || entries.has(name))) return entry;
    try {
      const read = await this.#repository.readEntry({ tenant: owner, name });
      entries.set(name, read);
      return read;
    } catch {
      changed.add(name); // the store logs it; what was known is listed
      return known();
    }
  }
}

/** Returns the accepted names of the index and of the changes, in order. */
function* candidatesOf(
  { index, changed, entries }: OwnerNames,
  { from, accept = () => true }: NamePageQuery,
): Generator<string, undefined> {
  const others = [...new Set([...changed, ...entries.keys()])]
    .filter((name) => name >= from)
    .sort();
  let position = index.positionOf(from);
  let next = 0;
  while (position < index.size || next < others.length) {
    const indexed = position < index.size ? index.nameAt(position) : undefined;
    const other = others[next];
    const name =
      other === undefined || (indexed !== undefined && indexed < other) ? indexed! : other;
    if (name === indexed) position++;
    if (name === other) next++;
    if (accept(name)) yield name;
  }
  return undefined;
}
