// The aliases of a name, in one document: read, and changed by compare-and-swap. An alias leads only to versions that
// exist, and can be rolled back. The changes themselves are in `alias-changes.ts`.
import { LRUCache } from 'lru-cache';
import { entryLimit } from '../../src/common/entry-limit.ts';
import { ServeError } from '../../src/common/errors.ts';
import {
  type DocumentKind,
  type DocumentStore,
  readDocument,
  updateDocument,
} from '../store/documents.ts';
import type { Etag, StoreCall } from '../store/store.ts';
import { isSamePointer, withoutPointer, withPointer } from './alias-changes.ts';
import {
  type AdapterName,
  type Aliases,
  type AliasName,
  type AliasPointer,
  aliasesSchema,
  keys,
  MAX_ALIASES_BYTES,
  pointerOf,
  pointerSchema,
  versionsOf,
} from './manifest.ts';
import type { SignatureKeys } from './signatures.ts';
import { noVersion, readManifest } from './versions.ts';

/** Names whose last state is remembered, 1 KB each. */
const MAX_REMEMBERED = 10_000;

/** The documents, aliases and clock of a repository, for its operations. */
export interface RepositoryParts {
  readonly documents: DocumentStore;
  readonly aliases: AliasStore;
  /** Returns Unix milliseconds. */
  readonly now: () => number;
  /** Absent: manifests are not signed. */
  readonly signatureKeys?: SignatureKeys | undefined;
}

/** Returns the state after a change, or the same object if nothing changes. */
export type AliasChange = (now: Aliases) => Aliases | Promise<Aliases>;

/** Reads and changes the aliases of names. */
export class AliasStore {
  readonly #documents: DocumentStore;
  /** The newest state that a reader was given, by key. */
  readonly #seen = new LRUCache<string, { aliases: Aliases; etag: Etag }>(
    entryLimit(MAX_REMEMBERED),
  );

  constructor(documents: DocumentStore) {
    this.#documents = documents;
  }

  /** Reads the aliases; undefined if there are none. Never returns an older state than it has returned before. */
  async read(
    of: AdapterName,
    call?: StoreCall,
  ): Promise<{ aliases: Aliases; etag: Etag } | undefined> {
    const { key, kind } = aliasesDocument(of);
    const found = await readDocument(this.#documents, key, kind, call);
    if (!found) {
      this.#seen.delete(key); // somebody deleted it by hand: this program never does
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
   * Applies a change to the newest state by compare-and-swap. The change may be called again, also on a state that holds
   * its own effect already: then it must return that state. Resolves with the state after the change.
   */
  async change(of: AdapterName, change: AliasChange, call?: StoreCall): Promise<Aliases> {
    const { key, kind } = aliasesDocument(of);
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

function aliasesDocument({ tenant, name }: AdapterName): {
  key: string;
  kind: DocumentKind<Aliases>;
} {
  const faultOf = (found: Aliases) =>
    found.tenant === tenant && found.name === name
      ? undefined
      : `holds the aliases of ${found.tenant}/${found.name}`;
  return {
    key: keys.alias(tenant, name),
    kind: { schema: aliasesSchema, maxBytes: MAX_ALIASES_BYTES, faultOf },
  };
}

/** The state before the first change. Revision 0 is never written. */
function emptyAliases({ tenant, name }: AdapterName): Aliases {
  return { schema: 1, tenant, name, revision: 0, aliases: {}, previous: {}, removing: [] };
}

/** Leads an alias to versions that exist; `undefined` removes it. Throws `ServeError` (400, 404). */
export async function setAlias(
  parts: RepositoryParts,
  of: AliasName,
  pointer: AliasPointer | undefined,
  call: StoreCall,
): Promise<Aliases> {
  if (!pointer) return parts.aliases.change(of, (now) => withoutPointer(now, of.alias), call);
  const checked = pointerSchema.safeParse(pointer);
  if (!checked.success) {
    const message = `The alias cannot lead there: ${checked.error.issues[0]!.message}.`;
    throw new ServeError('invalid_request', message, { param: 'split' });
  }
  return parts.aliases.change(of, (now) => withTarget(parts, of, now, checked.data, call), call);
}

/** Returns an alias to its target before the last change. Throws `ServeError` (400) if it led nowhere. */
export async function rollbackAlias(
  parts: RepositoryParts,
  of: AliasName,
  call: StoreCall,
): Promise<Aliases> {
  let target: AliasPointer | undefined;
  return parts.aliases.change(
    of,
    async (now) => {
      target ??= pointerOf(now.previous, of.alias); // a second call may see the state after the rollback
      if (!target) {
        const message = `The alias ${of.alias} of ${of.name} has no previous version.`;
        throw new ServeError('invalid_request', message, { param: 'alias' });
      }
      return withTarget(parts, of, now, target, call);
    },
    call,
  );
}

async function withTarget(
  { documents }: RepositoryParts,
  of: AliasName,
  now: Aliases,
  pointer: AliasPointer,
  call: StoreCall,
): Promise<Aliases> {
  const current = pointerOf(now.aliases, of.alias);
  if (current && isSamePointer(current, pointer)) return now;
  for (const version of versionsOf(pointer)) {
    const isRemoving = now.removing.includes(version);
    const isThere = !isRemoving && (await readManifest(documents, { ...of, version }, call));
    if (!isThere) throw noVersion({ ...of, version });
  }
  return withPointer(now, of.alias, pointer);
}
