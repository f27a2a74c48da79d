// Finds adapters by name in a store. Aliases are at most one poll interval old, and known names are still served while the
// store fails. Authorization is up to the caller, who says whose adapters to use.
import { createHash } from 'node:crypto';
import { ServeError } from '../../src/common/errors.ts';
import type { Logger } from '../../src/common/log.ts';
import { mapBounded } from '../../src/common/map-bounded.ts';
import { type Clock, deadline, orAfter, systemClock } from '../../src/common/waiting.ts';
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
import { StoreError } from '../store/store.ts';
import type { NamedAdapter } from './model-name.ts';
import { type PollCall, PolledCache } from './polled-cache.ts';
import type { AdapterArchive, FoundAdapter, ListedAdapter, ResolveChoice } from './registry.ts';
import { pinnedName } from './resolved.ts';

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
  readonly log?: Logger;
  readonly clock?: Clock;
}

/** A store that takes longer than this counts as failed. */
const READ_TIMEOUT_MS = 5_000;
/** Each name of an owner takes one read: enough for 5000 names in a store 50 ms away. */
const NAMES_TIMEOUT_MS = 20_000;
/** The maximum age of a list, which takes two reads per name. */
const LIST_AGE_MS = 30_000;
/** The most names to list. More would take a minute from a store 50 ms away. */
const MAX_LISTED = 10_000;

/** The store did not answer in time. */
class ReadTimeout extends Error {
  override name = 'ReadTimeout';
}

/** The state of one list. */
interface ListCall {
  /** Becomes infinite after a slow read: a list takes many reads, and should wait for a failing store only once. */
  maxAgeMs: number;
  /** The store's error for a name that was never read. */
  outage?: unknown;
}

/** Finds, lists and removes the adapters in a store, through caches of aliases, manifests and lists. */
export class StoreAdapters implements AdapterArchive {
  readonly #repository: AdapterRepository;
  readonly #options: StoreRegistryOptions;
  readonly #aliases: PolledCache<Aliases>;
  readonly #manifests: PolledCache<VersionManifest>;
  readonly #names: PolledCache<string[]>;
  readonly #clock: Clock;

  constructor(repository: AdapterRepository, options: StoreRegistryOptions) {
    const { pollMs, maxRemembered, clock = systemClock } = options;
    this.#clock = clock;
    this.#repository = repository;
    this.#options = options;
    const polled = { pollMs, maxRemembered, clock };
    this.#aliases = new PolledCache({
      ...polled,
      read: (key, known, call) => this.#readAliases(key, known, call),
    });
    this.#manifests = new PolledCache({ ...polled, read: (key) => this.#readManifest(key) });
    this.#names = new PolledCache({
      ...polled,
      read: (owner) => this.#reading((call) => repository.listNames(owner, call), NAMES_TIMEOUT_MS),
    });
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

  /** Lists earlier results if the store does not answer. Rejects if there are names but no earlier results. */
  async list(owner: string): Promise<ListedAdapter[]> {
    const names = (await this.#names.get(owner)) ?? [];
    const call: ListCall = { maxAgeMs: LIST_AGE_MS };
    const listed = await mapBounded(names.slice(0, MAX_LISTED), (name) =>
      this.#listName(`${owner}/${name}`, call),
    );
    const models = listed.flat();
    if (models.length === 0 && call.outage) throw call.outage;
    return models;
  }

  /** Removing an `ft:` name removes a fine-tuned model with its versions, and returns `latest` to the version before. */
  async remove(owner: string, adapter: NamedAdapter | string): Promise<boolean> {
    const repository = this.#repository;
    const of = { tenant: owner, name: typeof adapter === 'string' ? adapter : adapter.name };
    this.forget(owner, of.name);
    try {
      if (typeof adapter === 'string') {
        if (!(await repository.listNames(owner)).includes(adapter)) return false;
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

  async #listName(key: string, call: ListCall): Promise<ListedAdapter[]> {
    try {
      const aliases = (await this.#aliases.get(key, call.maxAgeMs))?.aliases ?? {};
      const { readMs = 0 } = this.#aliases.peek(key) ?? {};
      if (this.#clock.now() - readMs > LIST_AGE_MS) call.maxAgeMs = Number.POSITIVE_INFINITY;
      const shown = Object.entries(aliases).filter(
        ([alias]) => alias === LATEST || FINE_TUNED_ALIAS.test(alias),
      );
      const models: ListedAdapter[] = [];
      for (const [alias, pointer] of shown) {
        const manifest = await this.#manifestOf(`${key}/${chooseVersion(pointer, key, '')}`);
        models.push(toListed(manifest, alias));
      }
      return models;
    } catch (error) {
      if (isOutage(error)) call.outage = error;
      return []; // the fault is in the log, and the other names are still listed
    }
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
    this.#names.forget(owner);
    this.#aliases.forget(`${owner}/${name}`);
    this.#manifests.forgetAll(`${owner}/${name}/`);
  }
}

function toFound(manifest: VersionManifest, alias?: string): FoundAdapter {
  const { tenant: owner, name, digest, created_at: created } = manifest;
  const location = { kind: 'version', manifest, ...(alias !== undefined && { alias }) } as const;
  return { part: { owner, name, digest, location }, created };
}

function toListed(manifest: VersionManifest, alias: string): ListedAdapter {
  const { tenant: owner, name, created_at: created, base_digest: baseDigest } = manifest;
  const root = pinnedName([{ ...toFound(manifest).part, weight: 1 }]);
  const base = baseDigest === undefined ? {} : { baseDigest };
  const model = alias === LATEST ? {} : { fineTunedId: alias };
  return { name, owner, root, created, ...base, ...model };
}

/** Whether the store did not answer. A damaged or missing object is an answer. */
function isOutage(error: unknown): boolean {
  const { cause } = error as Error;
  if (cause instanceof StoreError) return cause.kind === 'unavailable';
  return cause instanceof ReadTimeout;
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
