// The aliases of a name, in one document that changes by compare-and-swap. An alias leads only to versions that exist, and can
// be rolled back.
import { LRUCache } from 'lru-cache';
import { entryLimit } from '../../src/common/entry-limit.ts';
import { ServeError } from '../../src/common/errors.ts';
import { largest } from '../../src/common/long-arrays.ts';
import {
  type DocumentKind,
  type DocumentStore,
  readDocument,
  updateDocument,
} from '../store/documents.ts';
import type { Etag, StoreCall } from '../store/store.ts';
import type { ChangeLog, ChangeNotice } from './changes.ts';
import {
  type AdapterName,
  type Aliases,
  type AliasName,
  type AliasPointer,
  aliasesSchema,
  CHECKPOINT_ALIAS,
  checkAlias,
  keys,
  LATEST,
  MAX_ALIASES_BYTES,
  pointerOf,
  pointerSchema,
  type SignatureKeys,
  versionsOf,
} from './manifest.ts';
import { noVersion, type VersionStore } from './versions.ts';

/** Names whose last state is remembered, 1 KB each. */
const MAX_REMEMBERED = 10_000;

/** The parts of a repository that its operations use. */
export interface RepositoryParts {
  readonly documents: DocumentStore;
  readonly versions: VersionStore;
  readonly aliases: AliasStore;
  readonly changes: ChangeLog;
  /** Returns Unix milliseconds. */
  readonly now: () => number;
  /** Absent: manifests are not signed. */
  readonly signatureKeys?: SignatureKeys | undefined;
}

/** Returns the state after a change, or the same object if nothing changes. */
type AliasChange = (now: Aliases) => Aliases | Promise<Aliases>;

/** Reads and changes the aliases of names. */
export class AliasStore {
  readonly #documents: DocumentStore;
  readonly #changes: ChangeLog;
  /** The newest state that a reader was given, by key. */
  readonly #newest = new LRUCache<string, { aliases: Aliases; etag: Etag }>(
    entryLimit(MAX_REMEMBERED),
  );

  constructor(documents: DocumentStore, changes: ChangeLog) {
    this.#documents = documents;
    this.#changes = changes;
  }

  /** Reads the aliases; undefined if there are none. Never returns an older state than before. */
  async read(
    of: AdapterName,
    call?: StoreCall,
  ): Promise<{ aliases: Aliases; etag: Etag } | undefined> {
    const { key, kind } = aliasesDocument(of);
    const document = await readDocument(this.#documents, key, kind, call);
    if (!document) {
      this.#newest.delete(key); // somebody deleted it by hand; lorikeet never does
      return undefined;
    }
    const { value: aliases, etag } = document;
    const newest = this.#newest.get(key);
    if (newest && newest.aliases.revision > aliases.revision) {
      const { log, store } = this.#documents;
      const revisions = { seen: newest.aliases.revision, found: aliases.revision };
      log?.warn(
        { store: store.label, key, ...revisions },
        'the store answered with an older state',
      );
      return newest;
    }
    this.#newest.set(key, { aliases, etag });
    return { aliases, etag };
  }

  /**
   * Applies a change to the newest state by compare-and-swap. The change may be called again, even on a state that already
   * includes its effect; it must return that state then. Resolves with the state after the change, which is announced to other
   * servers, by `notice` if it is part of a larger change.
   */
  async change(
    of: AdapterName,
    change: AliasChange,
    { notice = this.#changes.begin(of), ...call }: StoreCall & { notice?: ChangeNotice } = {},
  ): Promise<Aliases> {
    const { key, kind } = aliasesDocument(of);
    const written = await updateDocument(
      this.#documents,
      key,
      kind,
      async (found) => {
        const now = found ?? emptyAliases(of);
        const next = await change(now);
        if (next === now) return found;
        await notice.intend(call);
        return aliasesSchema.parse({ ...next, revision: now.revision + 1 });
      },
      call,
    );
    await notice.done(call);
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

/**
 * Points an alias to versions that exist; `undefined` removes it. With `from` it stays unless it still leads to that version.
 * Throws `ServeError` (400, 404).
 */
export async function moveAlias(
  parts: RepositoryParts,
  name: AdapterName,
  alias: string,
  pointer: AliasPointer | undefined,
  { from, ...call }: StoreCall & { readonly from?: number } = {},
): Promise<Aliases> {
  const of = checkAlias(name, alias);
  const change = (next: AliasChange) => {
    const isThere = ({ aliases }: Aliases) => {
      const now = pointerOf(aliases, of.alias);
      return from === undefined || (now !== undefined && versionsOf(now).includes(from));
    };
    return parts.aliases.change(of, (now) => (isThere(now) ? next(now) : now), call);
  };
  if (!pointer) return change((now) => withoutPointer(now, of.alias));
  const checked = pointerSchema.safeParse(pointer);
  if (!checked.success) {
    const message = `The alias cannot point there: ${checked.error.issues[0]!.message}.`;
    throw new ServeError('invalid_request', message, { param: 'split' });
  }
  return change((now) => withTarget(parts, of, now, checked.data, call));
}

/**
 * Returns an alias to its target before the last change. A second rollback undoes the first. Throws `ServeError` (400) if the
 * alias had no target before.
 */
export async function rollback(
  parts: RepositoryParts,
  name: AdapterName,
  alias: string,
  call: StoreCall = {},
): Promise<Aliases> {
  const of = checkAlias(name, alias);
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
  { versions }: RepositoryParts,
  of: AliasName,
  now: Aliases,
  pointer: AliasPointer,
  call: StoreCall,
): Promise<Aliases> {
  const current = pointerOf(now.aliases, of.alias);
  if (current && isSamePointer(current, pointer)) return now;
  for (const version of versionsOf(pointer)) {
    const isRemoving = now.removing.includes(version);
    const isThere = !isRemoving && (await versions.manifest({ ...of, version }, call));
    if (!isThere) throw noVersion({ ...of, version });
  }
  return withPointer(now, of.alias, pointer);
}

// Changes to the aliases of a name, as pure functions. A change with nothing to do returns the same object.

/**
 * Points an alias to a target, and keeps its former target for a rollback. Further steps of a split keep the target from before
 * the split, so that a rollback ends it. A change back to that target is a rollback, however it was made.
 */
function withPointer(now: Aliases, alias: string, pointer: AliasPointer): Aliases {
  const before = pointerOf(now.aliases, alias);
  if (before && isSamePointer(before, pointer)) return now;
  const last = pointerOf(now.previous, alias);
  const wasRolledBack = now.rolled_back?.includes(alias) ?? false;
  const isReturn = last !== undefined && isSamePointer(last, pointer);
  const isStep =
    last !== undefined && !wasRolledBack && before !== undefined && isWithin(pointer, before);
  return {
    ...now,
    aliases: { ...now.aliases, [alias]: pointer },
    previous: before && (isReturn || !isStep) ? { ...now.previous, [alias]: before } : now.previous,
    rolled_back: [...unmarked(now, alias), ...(isReturn && !wasRolledBack ? [alias] : [])],
  };
}

/** The other aliases whose last change was a rollback. */
function unmarked({ rolled_back: marked = [] }: Aliases, alias: string): string[] {
  return marked.filter((one) => one !== alias);
}

/** Whether a target has no versions besides those of a split. */
function isWithin(pointer: AliasPointer, before: AliasPointer): boolean {
  const versions = versionsOf(before);
  return 'split' in before && versionsOf(pointer).every((version) => versions.includes(version));
}

/** Removes an alias. */
function withoutPointer(now: Aliases, alias: string): Aliases {
  if (!pointerOf(now.aliases, alias) && !pointerOf(now.previous, alias)) return now;
  const { [alias]: _removed, ...aliases } = now.aliases;
  const { [alias]: _before, ...previous } = now.previous;
  return { ...now, aliases, previous, rolled_back: unmarked(now, alias) };
}

/**
 * Points aliases to a version that was just published, unless they have pointed to it or to a later one before. A slow or
 * repeated publication therefore undoes neither a later one nor a rollback.
 */
export function withPublished(now: Aliases, aliases: readonly string[], version: number): Aliases {
  if (now.removing.includes(version)) return now;
  let next = now;
  for (const alias of aliases) {
    const known = [pointerOf(now.aliases, alias), pointerOf(now.previous, alias)];
    const furthest = largest([
      0,
      ...known.flatMap((pointer) => (pointer ? versionsOf(pointer) : [])),
    ]);
    if (furthest < version) next = withPointer(next, alias, { version });
  }
  return next;
}

/**
 * Marks versions as being removed, so no alias can be moved or rolled back to them. Throws `ServeError` (400) if one points
 * there.
 */
export function withRemoving(now: Aliases, versions: readonly number[]): Aliases {
  const isAffected = (pointer: AliasPointer) =>
    versionsOf(pointer).some((v) => versions.includes(v));
  const users = Object.entries(now.aliases).flatMap(([alias, to]) =>
    isAffected(to) ? [alias] : [],
  );
  if (users.length > 0) {
    const which = versions.map((version) => `${now.name}@${version}`).join(', ');
    const message = `${which} is in use: point ${users.join(', ')} elsewhere first.`;
    throw new ServeError('invalid_request', message, { param: 'version' });
  }
  if (versions.every((version) => now.removing.includes(version))) return now;
  const previous = Object.fromEntries(
    Object.entries(now.previous).filter(([, pointer]) => !isAffected(pointer)),
  );
  const removing = [...new Set([...now.removing, ...versions])];
  const marked = now.rolled_back?.filter((alias) => alias in previous);
  return { ...now, previous, removing, ...(marked && { rolled_back: marked }) };
}

/** Lists the aliases of a fine-tuned model and of its checkpoints. */
export function modelAliases({ aliases }: Aliases, alias: string): string[] {
  const isCheckpoint = (one: string) => one.startsWith(`${alias}.`) && CHECKPOINT_ALIAS.test(one);
  return Object.keys(aliases).filter((one) => one === alias || isCheckpoint(one));
}

/**
 * Removes a fine-tuned model with these versions. If `latest` points to one of them it moves to `fallback`, or is removed if
 * there is none. Throws `ServeError` (400) if another alias points to one of them.
 */
export function withoutModel(
  now: Aliases,
  alias: string,
  { removed, fallback }: { removed: readonly number[]; fallback: number | undefined },
): Aliases {
  let next = now;
  for (const own of modelAliases(now, alias)) next = withoutPointer(next, own);
  const latest = pointerOf(next.aliases, LATEST);
  if (latest && 'version' in latest && removed.includes(latest.version)) {
    next = withoutPointer(next, LATEST);
    if (fallback !== undefined) next = withPointer(next, LATEST, { version: fallback });
  }
  return withRemoving(next, removed);
}

/** Records that versions have been removed. */
export function withRemoved(now: Aliases, versions: readonly number[]): Aliases {
  const removing = now.removing.filter((version) => !versions.includes(version));
  return removing.length === now.removing.length ? now : { ...now, removing };
}

/** Removes all aliases of a name, and the text about it. Its revision continues. */
export function withoutAll(now: Aliases, versions: readonly number[]): Aliases {
  const { about, rolled_back, ...others } = now;
  const isEmpty = !about && Object.keys({ ...now.aliases, ...now.previous }).length === 0;
  if (isEmpty && versions.every((version) => now.removing.includes(version))) return now;
  const removing = [...new Set([...now.removing, ...versions])];
  return { ...others, aliases: {}, previous: {}, removing };
}

/** Whether an alias leads to the version. */
export function reaches({ aliases }: Aliases, version: number): boolean {
  return Object.values(aliases).some((pointer) => versionsOf(pointer).includes(version));
}

/** Whether two targets are equal. */
function isSamePointer(a: AliasPointer, b: AliasPointer): boolean {
  const text = (pointer: AliasPointer) =>
    'version' in pointer
      ? `${pointer.version}`
      : pointer.split.map(({ version, percent }) => `${version}:${percent}`).join();
  return text(a) === text(b);
}
