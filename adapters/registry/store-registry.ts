// Adapters by name in a store: aliases as they were at most a poll time ago, versions as they were published. A known
// name goes on being served while the store fails. It authorizes nobody: it looks where it is told to.
import { ServeError } from '../../src/common/errors.ts';
import type { Logger } from '../../src/common/log.ts';
import { mapBounded } from '../../src/common/map-bounded.ts';
import { orAfter } from '../../src/common/waiting.ts';
import {
  type Aliases,
  FINE_TUNED_ALIAS,
  LATEST,
  NAME_PATTERN,
  pointerOf,
  type VersionManifest,
  versionsOf,
} from '../repository/manifest.ts';
import type { AdapterRepository } from '../repository/repository.ts';
import { logStoreFault } from '../store/alerts.ts';
import { StoreError } from '../store/store.ts';
import { chooseVersion } from './canary.ts';
import type { AdapterName } from './model-name.ts';
import { type PollCall, PolledCache } from './polled-cache.ts';
import type { AdapterArchive, FoundAdapter, ListedAdapter, ResolveChoice } from './registry.ts';
import { pinnedName } from './resolved.ts';

export interface StoreRegistryOptions {
  /** How old an alias may be. */
  readonly pollMs: number;
  /**
   * Makes a version ready that an alias in use has moved to, before requests are sent to it; never longer than the
   * poll time allows. Rejections are dropped: the first request for it will say what is wrong.
   */
  warm?(part: FoundAdapter['part']): Promise<void>;
  readonly log?: Logger;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

/** A store that has not answered by then counts as failed. */
const READ_TIMEOUT_MS = 5_000;
/** For the names of an owner, each of which takes a read: 5000 of them from a store 50 ms away. */
const NAMES_TIMEOUT_MS = 20_000;
/** A list may be this old: it costs two reads for each name. */
const LIST_AGE_MS = 30_000;
/** Names that are listed: the reads of more would take a minute from a store 50 ms away. */
const MAX_LISTED = 10_000;

/** What one list has met so far. */
interface ListCall {
  /** Grows without bounds once an answer was older than that: a list is many reads, and the store is not waited for twice. */
  maxAgeMs: number;
  /** That the store did not answer for a name that was never read. */
  outage?: unknown;
}

export class StoreAdapters implements AdapterArchive {
  readonly #repository: AdapterRepository;
  readonly #options: StoreRegistryOptions;
  readonly #aliases: PolledCache<Aliases>;
  readonly #manifests: PolledCache<VersionManifest>;
  readonly #names: PolledCache<string[]>;
  readonly #now: () => number;

  constructor(repository: AdapterRepository, options: StoreRegistryOptions) {
    const { pollMs, now = () => performance.now() } = options;
    this.#now = now;
    this.#repository = repository;
    this.#options = options;
    const polled = { pollMs, now };
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
    { name, selector, origin }: AdapterName,
    { sticky = '' }: ResolveChoice,
  ): Promise<FoundAdapter | undefined> {
    if (!NAME_PATTERN.test(name)) return undefined;
    const key = `${owner}/${name}`;
    if (selector.kind === 'version') {
      const manifest = await this.#manifests.get(`${key}/${selector.version}`);
      return manifest && toFound(manifest);
    }
    const { alias } = selector;
    const pointer = await this.#pointerOf(key, alias, origin !== undefined);
    if (!pointer) return undefined;
    const version = chooseVersion(pointer, `${key}:${alias}`, sticky);
    return toFound(await this.#manifestOf(`${key}/${version}`), alias);
  }

  /** A fine-tuned model that is not known here was maybe published elsewhere a moment ago: it is looked for again. */
  async #pointerOf(key: string, alias: string, isFineTuned: boolean) {
    const known = pointerOf((await this.#aliases.get(key))?.aliases ?? {}, alias);
    if (known || !isFineTuned) return known;
    return pointerOf((await this.#aliases.renew(key))?.aliases ?? {}, alias);
  }

  /** While the store does not answer: what was read before. Rejects where that is nothing, though there are names. */
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

  /** An `ft:` name is a fine-tuned model: its versions go with it, and `latest` goes back to the version before. */
  async remove(owner: string, adapter: AdapterName | string): Promise<boolean> {
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
      await orAfter(this.#warm(key, known, next), slackMs, undefined);
    return next;
  }

  /** Readies the versions that have come to aliases whose versions before were used here. */
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

  /** A version that an alias leads to: it cannot be removed meanwhile, so it is read once. */
  async #manifestOf(key: string): Promise<VersionManifest> {
    const isKnown = this.#manifests.peek(key)?.value !== undefined;
    const manifest = await this.#manifests.get(key, isKnown ? Number.POSITIVE_INFINITY : undefined);
    if (manifest) return manifest;
    logStoreFault(this.#options.log, 'missing', { version: key }, 'an alias leads nowhere');
    throw new ServeError('adapter_unavailable', 'adapter unavailable: its version is missing');
  }

  async #listName(key: string, call: ListCall): Promise<ListedAdapter[]> {
    try {
      const aliases = (await this.#aliases.get(key, call.maxAgeMs))?.aliases ?? {};
      const { readMs = 0 } = this.#aliases.peek(key) ?? {};
      if (this.#now() - readMs > LIST_AGE_MS) call.maxAgeMs = Number.POSITIVE_INFINITY;
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
      return []; // a fault of one is no reason to hide the others; it is in the log
    }
  }

  /** What the store itself says is in the repository's log. */
  async #reading<T>(
    read: (call: { signal: AbortSignal }) => Promise<T>,
    timeoutMs = READ_TIMEOUT_MS,
  ): Promise<T> {
    try {
      return await read({ signal: AbortSignal.timeout(timeoutMs) });
    } catch (cause) {
      if (cause instanceof ServeError) throw cause;
      this.#options.log?.warn({ timeoutMs }, 'the adapter store did not answer');
      const message = 'adapter unavailable: the store did not answer in time';
      throw new ServeError('adapter_unavailable', message, { cause });
    }
  }

  /** Somebody here has published or removed versions of the name: the next request reads it again. */
  forget(owner: string, name: string): void {
    this.#names.forget(owner);
    this.#aliases.forget(`${owner}/${name}`);
    this.#manifests.forgetAll(`${owner}/${name}/`);
  }
}

function toFound(manifest: VersionManifest, alias?: string): FoundAdapter {
  const { tenant: owner, name, digest, created_at: created } = manifest;
  const place = { kind: 'version', manifest, ...(alias !== undefined && { alias }) } as const;
  return { part: { owner, name, digest, place }, created };
}

function toListed(manifest: VersionManifest, alias: string): ListedAdapter {
  const { tenant: owner, name, created_at: created, base_digest: baseDigest } = manifest;
  const root = pinnedName([{ ...toFound(manifest).part, weight: 1 }]);
  const base = baseDigest === undefined ? {} : { baseDigest };
  const model = alias === LATEST ? {} : { fineTunedId: alias };
  return { name, owner, root, created, ...base, ...model };
}

/** The store did not answer; what it answered may be damaged or missing. */
function isOutage(error: unknown): boolean {
  const { cause } = error as Error;
  if (cause instanceof StoreError) return cause.kind === 'unavailable';
  return cause instanceof DOMException && cause.name === 'TimeoutError';
}
