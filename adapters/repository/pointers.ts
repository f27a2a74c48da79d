// The aliases of a name, changed by compare-and-swap: whoever lost a race reads again and decides again. What a change
// is for is an argument; it knows no publications.
import { LRUCache } from 'lru-cache';
import {
  type DocumentKind,
  type DocumentStore,
  readDocument,
  updateDocument,
} from '../store/documents.ts';
import type { Etag, StoreCall } from '../store/store.ts';
import { type Aliases, aliasesSchema, keys, MAX_ALIASES_BYTES } from './manifest.ts';
import type { AdapterName } from './options.ts';

/** Names whose last state is remembered, 1 KB each. */
const MAX_REMEMBERED = 10_000;

/** The state after a change; the same object where nothing is to be done. */
export type AliasChange = (now: Aliases) => Aliases | Promise<Aliases>;

export class AliasPointers {
  readonly #documents: DocumentStore;
  /** The newest state that a reader was given, by key. */
  readonly #seen = new LRUCache<string, { aliases: Aliases; etag: Etag }>({ max: MAX_REMEMBERED });

  constructor(documents: DocumentStore) {
    this.#documents = documents;
  }

  /** A store that answers with an older state than it did before is not believed. */
  async read(
    of: AdapterName,
    call?: StoreCall,
  ): Promise<{ aliases: Aliases; etag: Etag } | undefined> {
    const [key, kind] = aliasesOf(of);
    const found = await readDocument(this.#documents, key, kind, call);
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
   * Applies a change to the newest state, by compare-and-swap. It may be called again, also on a state that holds its own
   * effect already: then it must return that state.
   */
  async change(of: AdapterName, change: AliasChange, call?: StoreCall): Promise<Aliases> {
    const [key, kind] = aliasesOf(of);
    const written = await updateDocument(
      this.#documents,
      key,
      kind,
      async (found) => {
        const now = found ?? emptyAliases(of);
        const next = await change(now);
        if (next === now) return found;
        return aliasesSchema.parse({ ...next, revision: now.revision + 1 });
      },
      call,
    );
    return written ?? emptyAliases(of);
  }
}

/** Where the aliases of a name are, and how. */
function aliasesOf({ tenant, name }: AdapterName): [key: string, kind: DocumentKind<Aliases>] {
  const faultOf = (found: Aliases) =>
    found.tenant === tenant && found.name === name
      ? undefined
      : `holds the aliases of ${found.tenant}/${found.name}`;
  const kind = { schema: aliasesSchema, maxBytes: MAX_ALIASES_BYTES, faultOf };
  return [keys.alias(tenant, name), kind];
}

/** Before the first change; `revision` 0 is never written. */
function emptyAliases({ tenant, name }: AdapterName): Aliases {
  return { schema: 1, tenant, name, revision: 0, aliases: {}, previous: {}, removing: [] };
}
