// Resolves model names for a tenant, to the base or to adapters that it may use. Folders and stores are behind the finders.
// Whether an adapter's tensors fit the base is checked when it is loaded.
import { fieldError, ServeError } from '../../src/common/errors.ts';
import { largest } from '../../src/common/long-arrays.ts';
import { type Page, type PageQuery, unknownAfter } from '../../src/common/page.ts';
import type { AdapterAbout } from '../../src/contracts/adapter-about.ts';
import { mayUseAdapter, SHARED_OWNER, type Tenant } from '../../src/contracts/tenant.ts';
import { MAX_RANK } from '../../src/contracts/training-settings.ts';
import { checkTotalRank } from '../peft/refusal.ts';
import type { VersionManifest } from '../repository/manifest.ts';
import { showFolderAbout } from './folders.ts';
import {
  MAX_TERM_WEIGHT,
  type NamedAdapter,
  type NamedTerm,
  parseModelName,
  roundWeight,
} from './model-name.ts';
import type { NamePageQuery } from './name-lists.ts';
import {
  type AdapterPart,
  contentDigest,
  pinnedName,
  type ResolvedAdapter,
  type ResolvedModel,
  rankOfPart,
} from './resolved.ts';

/** A model as the API lists it. */
export interface ModelEntry {
  readonly id: string;
  /** Unix seconds. */
  readonly created: number;
  /** The id of the base. Absent for the base itself. */
  readonly parent?: string;
  /** The name with its current version (`pinnedName`). */
  readonly root: string;
  /** The tenant that owns it. Absent for the base. */
  readonly owner?: string;
  /** The owner's text about it. Absent: there is none. */
  readonly about?: AdapterAbout;
}

/** Chooses among the versions of a split alias. */
export interface ResolveChoice {
  /** Equal values get the same version. */
  readonly sticky?: string;
}

/** Finds adapters by name. The caller has checked that the tenant may use the owner's adapters of this name. */
export interface AdapterFinder {
  /** Finds an adapter; undefined if there is none. */
  find(
    owner: string,
    adapter: NamedAdapter,
    choice: ResolveChoice,
  ): Promise<FoundAdapter | undefined>;
  /** Lists a page of the names that can be used without a version or alias, and the fine-tuned models of each name. */
  list(owner: string, query: NamePageQuery): Promise<ListedPage>;
}

/** The adapters of a page of names. */
export interface ListedPage {
  readonly adapters: readonly ListedAdapter[];
  /** The last name of the page. Undefined if no name follows. */
  readonly last: string | undefined;
}

/** An adapter as a finder lists it. */
export interface ListedAdapter {
  readonly name: string;
  readonly owner: string;
  /** The name with its current version (`pinnedName`). */
  readonly root: string;
  /** Unix seconds. */
  readonly created: number;
  /** Digest of the base it was trained on, if known. */
  readonly baseDigest?: string;
  /** The last part of a fine-tuned model's name, if the entry is one. */
  readonly fineTunedId?: string;
  readonly about?: AdapterAbout;
}

/** An adapter as a finder finds it. */
export interface FoundAdapter {
  readonly part: Omit<AdapterPart, 'weight'>;
  /** Unix seconds. */
  readonly created: number;
}

/** A finder whose adapters can be removed. */
export interface AdapterArchive extends AdapterFinder {
  /** Returns what the owner says about a name; undefined if it says nothing. */
  about(owner: string, name: string): Promise<AdapterAbout | undefined>;
  /** Removes a name, a version or an alias. Resolves with false if it does not exist. */
  remove(owner: string, adapter: NamedAdapter | string): Promise<boolean>;
}

/** The served base. */
export interface BaseModel {
  readonly id: string;
  /** The base's other names. */
  readonly names: readonly string[];
  /** Digest of its artifact, hex. */
  readonly digest: string;
}

/** The base and the finders of a registry. */
interface RegistryOptions {
  readonly base: BaseModel;
  /** Adapters that the operator shares with all tenants. The first match wins. */
  readonly local?: readonly AdapterFinder[];
  readonly store?: AdapterArchive;
  /** The largest rank of an adapter, or of all terms of a composition together. Default: the largest that a file may have. */
  readonly maxRank?: number;
  /** The package's demo adapters. Any other adapter of the same name takes precedence. */
  readonly bundled?: AdapterFinder;
  /** Returns Unix milliseconds. */
  readonly now?: () => number;
}

/** The place of a model in a list: by name, then by its fine-tuned id. */
type ListPlace = Pick<ListedAdapter, 'name' | 'fineTunedId'>;

interface ListPart {
  readonly from: string;
  readonly limit: number;
  /** Only models after this one are listed. */
  readonly place: ListPlace | undefined;
  /** By id. The first finder's model stays. */
  readonly found: Map<string, ListedAdapter>;
}

/** Names that are read for a page, even if it is shorter: some are not listed, because they were trained on another base. */
const MIN_READ_NAMES = 100;

interface RequestedModel {
  /** The requested name, with `default` replaced. */
  readonly id: string;
  /** Empty for the base. */
  readonly terms: readonly NamedTerm[];
}

/** Resolves model names. Every miss throws the same `ServeError` (`model_not_found`). */
export class Registry {
  readonly #options: RegistryOptions;
  readonly #base: BaseModel;
  readonly #baseNames: ReadonlySet<string>;
  readonly #startedS: number;

  constructor(options: RegistryOptions) {
    const { base, now = Date.now } = options;
    this.#options = options;
    this.#base = base;
    this.#baseNames = new Set(['base', base.id, ...base.names]);
    this.#startedS = Math.floor(now() / 1000);
  }

  /** Resolves a model. Besides `model_not_found`, throws `adapter_invalid`, `base_mismatch` and `adapter_unavailable`. */
  async resolve(tenant: Tenant, model: string, choice: ResolveChoice = {}): Promise<ResolvedModel> {
    const { id, terms } = this.#parse(tenant, model);
    if (terms.length === 0) return { kind: 'base', id: this.#base.id };
    const resolved = toResolved(id, terms, await this.#findAll(tenant, terms, choice));
    checkTotalRank(resolved.parts.map(rankOfPart), this.#options.maxRank ?? MAX_RANK);
    return resolved;
  }

  /** Describes one model, by any form of its name. Throws like `resolve`. */
  async describe(tenant: Tenant, model: string): Promise<ModelEntry> {
    const { id, terms } = this.#parse(tenant, model);
    if (terms.length === 0) return this.#baseEntry();
    const adapters = await this.#findAll(tenant, terms, {});
    const { parts } = toResolved(id, terms, adapters);
    const created = largest(adapters.map((one) => one.created));
    const [{ owner, name, location }] = parts as [AdapterPart];
    const about =
      parts.length > 1
        ? undefined
        : location.kind === 'folder'
          ? await showFolderAbout(location.directory)
          : await this.#options.store?.about(owner, name);
    const entry = { id, created, parent: this.#base.id, root: pinnedName(parts), owner };
    return { ...entry, ...(about && { about }) };
  }

  /**
   * Lists a page of the models that the tenant may use: the base first, then adapters by name, each before its fine-tuned
   * models. `after` is the id of the last model of the page before. Throws `ServeError` (400) if it cannot be one.
   */
  async list(tenant: Tenant, { after, limit }: PageQuery): Promise<Page<ModelEntry>> {
    const place = this.#placeAfter(after);
    const found = new Map<string, ListedAdapter>();
    for (let from = place?.name ?? ''; ; ) {
      const end = await this.#listFrom(tenant, { from, limit, place, found });
      if (end === undefined || found.size > limit) break;
      from = end;
    }
    const sorted = [...found].sort(([, a], [, b]) => comparePlaces(a, b));
    const entries = sorted.map(([id, { created, root, owner, about }]): ModelEntry => {
      return { id, created, parent: this.#base.id, root, owner, ...(about && { about }) };
    });
    const items = after === undefined ? [this.#baseEntry(), ...entries] : entries;
    return { items: items.slice(0, limit), hasMore: items.length > limit };
  }

  /** Adds models to `found`. Returns the name up to which it has all, or undefined if there are no more. */
  async #listFrom(
    tenant: Tenant,
    { from, limit, place, found }: ListPart,
  ): Promise<string | undefined> {
    const accept = (name: string) =>
      !this.#baseNames.has(name) && mayUseAdapter(tenant, name) && !!parseModelName(name);
    const query = { from, limit: Math.max(limit + 1, MIN_READ_NAMES), accept };
    const pages = await Promise.all(
      this.#finders(tenant).map(({ finder, owner }) => finder.list(owner, query)),
    );
    const [end] = pages.flatMap(({ last }) => last ?? []).sort();
    for (const one of pages.flatMap(({ adapters }) => adapters)) {
      const isOutside = (end !== undefined && one.name > end) || !accept(one.name);
      if (isOutside || !this.#fits(one.baseDigest)) continue;
      if (place && comparePlaces(one, place) <= 0) continue;
      const id = this.#listedId(one);
      if (!found.has(id)) found.set(id, one);
    }
    return end;
  }

  #placeAfter(after: string | undefined): ListPlace | undefined {
    if (after === undefined || after === this.#base.id) return undefined;
    const named = parseModelName(after);
    const [only, ...others] = named?.kind === 'adapters' ? named.terms : [];
    if (!only || others.length > 0) throw unknownAfter();
    const { name, origin, selector } = only.adapter;
    const isModel = origin && selector.kind === 'alias';
    return { name, ...(isModel && { fineTunedId: selector.alias }) };
  }

  /** Removes a name, a version or an alias that the tenant itself has published. */
  async remove(tenant: Tenant, model: string): Promise<void> {
    const { terms } = this.#parse(tenant, model);
    const [only] = terms;
    if (terms.length !== 1 || only!.weight !== 1) throw modelNotFound();
    const { adapter } = only!;
    const owner = this.#ownerOf(tenant, adapter) ?? tenant.id;
    const { store } = this.#options;
    const isName = model === adapter.name;
    const isRemoved =
      owner === tenant.id && (await store?.remove(tenant.id, isName ? model : adapter));
    if (!isRemoved) throw modelNotFound();
  }

  #listedId({ name, owner, fineTunedId }: ListedAdapter): string {
    if (fineTunedId === undefined) return name;
    const suffix = name === fineTunedId ? '' : name;
    return `ft:${this.#base.id}:${owner}:${suffix}:${fineTunedId}`;
  }

  #parse(tenant: Tenant, model: string): RequestedModel {
    const isBase = (name: string) => this.#baseNames.has(name);
    const id = model === 'default' ? (tenant.defaultModel ?? this.#base.id) : model;
    const named = isBase(id) ? undefined : parseModelName(id);
    if (isBase(id) || named?.kind === 'default') return { id: this.#base.id, terms: [] };
    if (named?.kind !== 'adapters') throw modelNotFound();
    return { id, terms: named.terms };
  }

  #findAll(tenant: Tenant, terms: readonly NamedTerm[], choice: ResolveChoice) {
    return Promise.all(terms.map(({ adapter }) => this.#find(tenant, adapter, choice)));
  }

  /**
   * Does not look for adapters that the tenant may not use, so neither the response nor its timing reveals whether they exist.
   */
  async #find(tenant: Tenant, adapter: NamedAdapter, choice: ResolveChoice): Promise<FoundAdapter> {
    const only = this.#ownerOf(tenant, adapter);
    for (const { finder, owner } of this.#finders(tenant)) {
      if (only !== undefined && only !== owner) continue;
      const match = mayUseAdapter(tenant, adapter.name)
        ? await finder.find(owner, adapter, choice)
        : undefined;
      if (!match) continue;
      const { location } = match.part;
      const isForeign = location.kind === 'version' && !this.#fits(location.manifest.base_digest);
      if (isForeign) throw baseMismatch(location.manifest, this.#base);
      return match;
    }
    throw modelNotFound();
  }

  /** Lists the finders in order of precedence. */
  #finders(tenant: Tenant): { finder: AdapterFinder; owner: string }[] {
    const { local = [], store, bundled } = this.#options;
    const shared = [...local, store, bundled].map((finder) => ({ finder, owner: SHARED_OWNER }));
    return [{ finder: store, owner: tenant.id }, ...shared].flatMap(({ finder, owner }) =>
      finder ? [{ finder, owner }] : [],
    );
  }

  /** Returns the owner in an `ft:` name; undefined for other names. Throws if the owner is another tenant. */
  #ownerOf(tenant: Tenant, { origin }: NamedAdapter): string | undefined {
    if (!origin) return undefined;
    const isOwn = origin.tenant === tenant.id || origin.tenant === SHARED_OWNER;
    if (!isOwn || !this.#baseNames.has(origin.base)) throw modelNotFound();
    return origin.tenant;
  }

  /** Whether the adapter was trained on this base. If that is unknown, the tensor shapes decide when it is loaded. */
  #fits(baseDigest: string | undefined): boolean {
    return baseDigest === undefined || baseDigest === this.#base.digest;
  }

  #baseEntry(): ModelEntry {
    return { id: this.#base.id, created: this.#startedS, root: this.#base.id };
  }
}

function comparePlaces(a: ListPlace, b: ListPlace): number {
  const [{ fineTunedId: idA = '' }, { fineTunedId: idB = '' }] = [a, b];
  if (a.name !== b.name) return a.name < b.name ? -1 : 1;
  return idA < idB ? -1 : Number(idA > idB);
}

function toResolved(
  id: string,
  terms: readonly NamedTerm[],
  adapters: readonly FoundAdapter[],
): ResolvedAdapter {
  const parts = addEqual(adapters.map(({ part }, i) => ({ ...part, weight: terms[i]!.weight })));
  return { kind: 'adapter', id, digest: contentDigest(parts), parts };
}

/**
 * Merges terms with the same owner and content by adding their weights: `zen+0.5*zen` is `1.5*zen`. A term whose weights add up
 * to 0 stays; it is loaded and changes nothing, like `0*zen`.
 */
function addEqual(parts: readonly AdapterPart[]): AdapterPart[] {
  const byContent = new Map<string, AdapterPart>();
  for (const part of parts) {
    const key = `${part.owner}/${part.digest}`;
    const weight = roundWeight((byContent.get(key)?.weight ?? 0) + part.weight);
    byContent.set(key, { ...(byContent.get(key) ?? part), weight });
  }
  return [...byContent.values()].map(checkWeight);
}

function checkWeight(part: AdapterPart): AdapterPart {
  const { name, weight } = part;
  if (Math.abs(weight) <= MAX_TERM_WEIGHT) return part;
  const fault = `the weights of ${name} add up to ${weight}; the limit is ${MAX_TERM_WEIGHT}`;
  throw fieldError('model', fault);
}

/** Returns the same error for unknown names, malformed names and other tenants' names. */
function modelNotFound(): ServeError {
  const message =
    'The model does not exist or you do not have access to it. GET /v1/models lists the models that you can use.';
  return new ServeError('model_not_found', message, { param: 'model' });
}

function baseMismatch(
  { name, version, base_digest = '' }: VersionManifest,
  { id, digest }: BaseModel,
): ServeError {
  const message =
    `${name}@${version} was trained on the base with the digest ${base_digest.slice(0, 12)}, but this server serves ${id} ` +
    `with the digest ${digest.slice(0, 12)}. Use a server of that base, or train the adapter again on this one.`;
  return new ServeError('base_mismatch', message, { param: 'model' });
}
