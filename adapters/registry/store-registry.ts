// Finds adapters by name in a store. Aliases are at most one poll interval old, and known names are still served while the
// store fails. Authorization is up to the caller, who says whose adapters to use.
import { createHash } from 'node:crypto';
import { entryLimit } from '../../src/common/entry-limit.ts';
import { ServeError } from '../../src/common/errors.ts';
import type { Logger } from '../../src/common/log.ts';
import { type Clock, deadline, orAfter, systemClock } from '../../src/common/waiting.ts';
import type { AdapterAbout } from '../../src/contracts/adapter-about.ts';
import {
  type Aliases,
  type AliasPointer,
  FINE_TUNED_ALIAS,
  LATEST,
  NAME_PATTERN,
  pointerOf,
  type VersionManifest,
  versionsOf,
} from '../repository/manifest.ts';
import type { AdapterRepository } from '../repository/repository.ts';
import { logStoreFault } from '../store/guarded-store.ts';
import { ChangeFeed } from './change-feed.ts';
import type { NamedAdapter } from './model-name.ts';
import { type ListedName, NameLists, type NamePage, type NamePageQuery } from './name-lists.ts';
import { type PollCall, PolledCache } from './polled-cache.ts';
import type {
  AdapterArchive,
  FoundAdapter,
  ListedAdapter,
  ListedPage,
  ResolveChoice,
} from './registry.ts';

/** How adapters in a store are read. */
export interface StoreRegistryOptions {
  /** The maximum age of an alias. */
  readonly pollMs: number;
  /**
   * Prepares a version that an alias in use has moved to, before requests reach it; it may take as long as the poll interval.
   * Rejections are dropped, because the first request will get the same error.
   */
  warm?(part: FoundAdapter['part']): Promise<void>;
  /** The number of names to remember, see `PolledCache`. */
  readonly maxRemembered?: number;
  /** Whether to store indexes and to remove old announcements, which others may do as well. Default: true. */
  readonly isTidy?: boolean;
  readonly log?: Logger;
  readonly clock?: Clock;
}

/** A store that takes longer than this counts as failed. */
const READ_TIMEOUT_MS = 5_000;
/** The store did not answer in time. */
class ReadTimeout extends Error {
  override name = 'ReadTimeout';
}

/** Finds, lists and removes the adapters in a store, through caches of aliases, manifests and lists. */
export class StoreAdapters implements AdapterArchive {
  readonly #repository: AdapterRepository;
  readonly #options: StoreRegistryOptions;
  readonly #aliases: PolledCache<Aliases>;
  readonly #manifests: PolledCache<VersionManifest>;
  readonly #lists: NameLists;
  readonly #clock: Clock;

  constructor(repository: AdapterRepository, options: StoreRegistryOptions) {
    const { pollMs, maxRemembered, isTidy = true, clock = systemClock } = options;
    this.#clock = clock;
    this.#repository = repository;
    this.#options = options;
    const polled = { pollMs, clock, ...(maxRemembered && { limit: entryLimit(maxRemembered) }) };
    const feed = new ChangeFeed({
      changes: repository.changes,
      ...(isTidy && { settle: (old) => repository.settleChanges(old) }),
      pollMs,
      clock,
    });
    this.#aliases = new PolledCache({
      ...polled,
      feed,
      read: (key, known, call) => this.#readAliases(key, known, call),
    });
    this.#manifests = new PolledCache({
      ...polled,
      feed,
      nameOf: (key) => key.slice(0, key.lastIndexOf('/')),
      read: (key) => this.#readManifest(key),
    });
    this.#lists = new NameLists(repository, { feed, pollMs, clock, isTidy });
  }

  async find(
    owner: string,
    { name, selector, origin }: NamedAdapter,
    { sticky = '' }: ResolveChoice,
  ): Promise<FoundAdapter | undefined> {
    if (!NAME_PATTERN.test(name)) return undefined;
    const key = `${owner}/${name}`;
    if (selector.kind === 'version') {
      const manifest = await this.#manifests.get(`${key}/${selector.version}`);
      return manifest && toFound(manifest);
    }
    const { alias } = selector;
    const pointer = await this.#targetOf(key, alias, origin !== undefined);
    if (!pointer) return undefined;
    const version = chooseVersion(pointer, `${key}:${alias}`, sticky);
    return toFound(await this.#manifestOf(`${key}/${version}`), alias);
  }

  /** Reads again if a fine-tuned model is unknown, because another server may just have published it. */
  async #targetOf(key: string, alias: string, isFineTuned: boolean) {
    const known = pointerOf((await this.#aliases.get(key))?.aliases ?? {}, alias);
    if (known || !isFineTuned) return known;
    return pointerOf((await this.#aliases.renew(key))?.aliases ?? {}, alias);
  }

  /** Lists earlier results if the store does not answer. Rejects if there are none. */
  async list(owner: string, query: NamePageQuery): Promise<ListedPage> {
    const { names, isLast } = await this.#lists.page(owner, query);
    return { adapters: names.flatMap(toListed), last: isLast ? undefined : names.at(-1)?.name };
  }

  /** Returns a page of names with everything that lists show of them. Rejects as `list`. */
  page(owner: string, query: NamePageQuery): Promise<NamePage> {
    return this.#lists.page(owner, query);
  }

  async about(owner: string, name: string): Promise<AdapterAbout | undefined> {
    return (await this.#aliases.get(`${owner}/${name}`))?.about;
  }

  /** Removing an `ft:` name removes a fine-tuned model with its versions, and returns `latest` to the version before. */
  async remove(owner: string, adapter: NamedAdapter | string): Promise<boolean> {
    const repository = this.#repository;
    const of = { tenant: owner, name: typeof adapter === 'string' ? adapter : adapter.name };
    this.forget(owner, of.name);
    try {
      if (typeof adapter === 'string') {
        if (!(await repository.readEntry(of))) return false;
        await repository.removeName(of);
        return true;
      }
      const { selector, origin } = adapter;
      if (selector.kind === 'version') {
        if (!(await repository.readManifest(owner, of.name, selector.version))) return false;
        await repository.removeVersion(of, selector.version);
        return true;
      }
      if (origin) return await repository.removeModel(of, selector.alias);
      const before = await repository.readAliases(owner, of.name);
      if (!pointerOf(before?.aliases.aliases ?? {}, selector.alias)) return false;
      await repository.moveAlias(of, selector.alias, undefined);
      return true;
    } finally {
      this.forget(owner, of.name);
    }
  }

  async #readAliases(
    key: string,
    known: Aliases | undefined,
    { slackMs }: PollCall,
  ): Promise<Aliases | undefined> {
    const [owner, name] = key.split('/') as [string, string];
    const read = await this.#reading((call) => this.#repository.readAliases(owner, name, call));
    const next = read?.aliases;
    if (known && next && slackMs > 0)
      await orAfter(this.#warm(key, known, next), slackMs, undefined, this.#clock);
    return next;
  }

  /** Prepares the new versions of aliases whose old versions are in use here. */
  async #warm(key: string, before: Aliases, after: Aliases): Promise<void> {
    const { warm } = this.#options;
    if (!warm) return;
    const versions = Object.entries(after.aliases).flatMap(([alias, pointer]) => {
      const known = pointerOf(before.aliases, alias);
      const old = known ? versionsOf(known) : [];
      const isUsed = old.some((version) => this.#manifests.peek(`${key}/${version}`)?.value);
      return isUsed ? versionsOf(pointer).filter((version) => !old.includes(version)) : [];
    });
    await Promise.allSettled(
      [...new Set(versions)].map(async (version) =>
        warm(toFound(await this.#manifestOf(`${key}/${version}`)).part),
      ),
    );
  }

  #readManifest(key: string): Promise<VersionManifest | undefined> {
    const [owner, name, version] = key.split('/') as [string, string, string];
    return this.#reading((call) =>
      this.#repository.readManifest(owner, name, Number(version), call),
    );
  }

  /** Reads the manifest of an alias's version once, because such a version cannot be removed. */
  async #manifestOf(key: string): Promise<VersionManifest> {
    const isKnown = this.#manifests.peek(key)?.value !== undefined;
    const manifest = await this.#manifests.get(key, isKnown ? Number.POSITIVE_INFINITY : undefined);
    if (manifest) return manifest;
    logStoreFault(this.#options.log, 'missing', { version: key }, 'an alias leads nowhere');
    throw new ServeError(
      'adapter_unavailable',
      'adapter unavailable: the version that its alias points to is missing from the store. Move the alias, or publish again.',
    );
  }

  /** Reads within a time limit. The repository logs the store's own errors. */
  async #reading<T>(
    read: (call: { signal: AbortSignal }) => Promise<T>,
    timeoutMs = READ_TIMEOUT_MS,
  ): Promise<T> {
    using late = deadline(timeoutMs, new ReadTimeout(), { clock: this.#clock });
    try {
      return await read({ signal: late.signal });
    } catch (cause) {
      if (cause instanceof ServeError) throw cause;
      this.#options.log?.warn({ timeoutMs }, 'the adapter store did not answer');
      const message = 'adapter unavailable: the store did not answer in time. Try again.';
      throw new ServeError('adapter_unavailable', message, { cause });
    }
  }

  /** Forgets a name that this server has changed. The next request reads it again. */
  forget(owner: string, name: string): void {
    this.#lists.changed(owner, name);
    this.#aliases.forget(`${owner}/${name}`);
    this.#manifests.forgetAll(`${owner}/${name}/`);
  }
}

function toFound(manifest: VersionManifest, alias?: string): FoundAdapter {
  const { tenant: owner, name, digest, created_at: created } = manifest;
  const location = { kind: 'version', manifest, ...(alias !== undefined && { alias }) } as const;
  return { part: { owner, name, digest, location }, created };
}

/** Lists the forms of a name that can be used without a version. */
function toListed({
  owner,
  name,
  entry: { aliases, versions, about },
}: ListedName): ListedAdapter[] {
  return Object.entries(aliases).flatMap(([alias, pointer]) => {
    if (alias !== LATEST && !FINE_TUNED_ALIAS.test(alias)) return [];
    const version = chooseVersion(pointer, `${owner}/${name}`, '');
    const found = versions.find((one) => one.version === version);
    if (!found) return [];
    const { created_at: created, base_digest: baseDigest } = found;
    const base = baseDigest === undefined ? {} : { baseDigest };
    const model = alias === LATEST ? {} : { fineTunedId: alias };
    const text = about && { about };
    return [{ name, owner, root: `${name}@${version}`, created, ...text, ...base, ...model }];
  });
}

/**
 * Chooses a version of a split alias by a hash of `sticky`: equal texts get equal versions, and over many texts the shares
 * hold. If the last share grows, requests move only to it. `of` names the alias, which makes the choices of two aliases
 * independent.
 */
export function chooseVersion(pointer: AliasPointer, of: string, sticky: string): number {
  if ('version' in pointer) return pointer.version;
  const hash = createHash('sha256').update(`${of}\0${sticky}`).digest();
  const point = (hash.readUIntBE(0, 6) / 2 ** 48) * 100;
  let end = 0;
  for (const { version, percent } of pointer.split) {
    end += percent;
    if (point < end) return version;
  }
  return pointer.split.at(-1)!.version; // the shares may add up to a hair below 100
}
