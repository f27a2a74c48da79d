// The aliases of a name, changed by compare-and-swap: whoever lost a race reads again and decides again. What a change
// is for is an argument; it knows no publications.
import { LRUCache } from 'lru-cache';
import { ServeError } from '../../src/common/errors.ts';
import { type Etag, type StoreCall, StoreError } from '../store/store.ts';
import { type Document, type DocumentStore, readDocument, serializeDocument } from './documents.ts';
import { type Aliases, aliasesSchema, keys, MAX_ALIASES_BYTES } from './manifest.ts';
import type { AdapterName } from './options.ts';
import type { Pause } from './pause.ts';

/** Of a change that always meets another one: ten publishers in lockstep need ten. */
const MAX_TRIES = 40;
/** Names whose last state is remembered, 1 KB each. */
const MAX_REMEMBERED = 10_000;

/** The state after a change; the same object where nothing is to be done. */
export type AliasChange = (now: Aliases) => Aliases | Promise<Aliases>;

export class AliasPointers {
  readonly #documents: DocumentStore;
  readonly #pause: Pause;
  /** The newest state that a reader was given, by key. */
  readonly #seen = new LRUCache<string, { aliases: Aliases; etag: Etag }>({ max: MAX_REMEMBERED });

  constructor(documents: DocumentStore, pause: Pause) {
    this.#documents = documents;
    this.#pause = pause;
  }

  /** A store that answers with an older state than it did before is not believed. */
  async read(
    of: AdapterName,
    call?: StoreCall,
  ): Promise<{ aliases: Aliases; etag: Etag } | undefined> {
    const key = keys.alias(of.tenant, of.name);
    const found = await this.#load(of, call);
    if (!found) {
      this.#seen.delete(key); // removed by hand: nothing of ours deletes it
      return undefined;
    }
    const seen = this.#seen.get(key);
    if (seen && seen.aliases.revision > found.value.revision) {
      const { log, store } = this.#documents;
      const revisions = { seen: seen.aliases.revision, found: found.value.revision };
      log?.warn(
        { store: store.label, key, ...revisions },
        'the store answered with an older state',
      );
      return seen;
    }
    const state = { aliases: found.value, etag: found.etag };
    this.#seen.set(key, state);
    return state;
  }

  /**
   * Applies a change to the newest state. It may be called again, and then also on a state that holds its own effect,
   * where the store did more than it answered: it must be of no effect there.
   */
  async change(of: AdapterName, change: AliasChange, call?: StoreCall): Promise<Aliases> {
    let fault: StoreError | undefined;
    for (let attempt = 1; attempt <= MAX_TRIES; attempt++) {
      const found = await this.#load(of, call);
      const now = found?.value ?? emptyAliases(of);
      const next = await change(now);
      if (next === now) return now;
      const written = aliasesSchema.parse({ ...next, revision: now.revision + 1 });
      try {
        await this.#put(written, found, call);
        return written;
      } catch (error) {
        // One that failed may have been done all the same; twice, the store is down.
        const isLost = error instanceof StoreError && error.kind === 'conflict';
        const isFirstFault = error instanceof StoreError && error.kind === 'unavailable' && !fault;
        if (!isLost && !isFirstFault) throw error;
        if (isFirstFault) fault = error;
      }
      await this.#pause(attempt, call?.signal);
    }
    throw new ServeError('overloaded', 'Too many others change these aliases at this moment.');
  }

  #load({ tenant, name }: AdapterName, call?: StoreCall): Promise<Document<Aliases> | undefined> {
    return readDocument(this.#documents, keys.alias(tenant, name), {
      schema: aliasesSchema,
      maxBytes: MAX_ALIASES_BYTES,
      signal: call?.signal,
      faultOf: (found) =>
        found.tenant === tenant && found.name === name
          ? undefined
          : `holds the aliases of ${found.tenant}/${found.name}`,
    });
  }

  async #put(
    aliases: Aliases,
    before: Document<Aliases> | undefined,
    call: StoreCall | undefined,
  ): Promise<void> {
    const condition = before ? { ifMatch: before.etag } : { ifAbsent: true as const };
    const key = keys.alias(aliases.tenant, aliases.name);
    await this.#documents.store.put(key, serializeDocument(aliases), { ...condition, ...call });
  }
}

/** Before the first change; `revision` 0 is never written. */
function emptyAliases({ tenant, name }: AdapterName): Aliases {
  return { schema: 1, tenant, name, revision: 0, aliases: {}, previous: {}, removing: [] };
}
