// Names → what they stand for, for one tenant: the base, or the adapters whose names it may use, by content. Composes
// the places where adapters are found; knows neither folders nor stores, and no weights: whether tensors fit the
// model is found when they are loaded.
import { ServeError } from '../../src/common/errors.ts';
import { mayUseAdapter, SHARED_OWNER, type Tenant } from '../../src/contracts/tenant.ts';
import { MAX_RANK } from '../../src/contracts/training-settings.ts';
import { refuseRank } from '../peft/refusal.ts';
import {
  type AdapterName,
  MAX_WEIGHT,
  type NamedTerm,
  parseModelName,
  roundWeight,
} from './model-name.ts';
import {
  type AdapterPart,
  contentDigest,
  pinnedName,
  type ResolvedAdapter,
  type ResolvedModel,
  rankOf,
} from './resolved.ts';

export interface ModelEntry {
  readonly id: string;
  /** Unix seconds. */
  readonly created: number;
  /** An adapter's base; absent for the base itself. */
  readonly parent?: string;
  /** What it stands for now: of a published name, its version. */
  readonly root: string;
  /** Whose it is; absent for the base. */
  readonly owner?: string;
}

export interface ResolveChoice {
  /** Requests with equal text get the same version of an alias that is split. */
  readonly sticky?: string;
}

/** All throw `ServeError`: the same `model_not_found` for every miss. */
export interface Registry {
  /** Also throws `adapter_invalid`, `base_mismatch`, `adapter_unavailable`. */
  resolve(tenant: Tenant, model: string, choice?: ResolveChoice): Promise<ResolvedModel>;
  /** One model in any form of its name; throws as `resolve`. */
  describe(tenant: Tenant, model: string): Promise<ModelEntry>;
  /** What this tenant may name: the base first, then adapters by name. */
  list(tenant: Tenant): Promise<ModelEntry[]>;
  /** Removes what the tenant itself has published: a name, one version, or one alias. */
  remove(tenant: Tenant, model: string): Promise<void>;
}

/** Where adapters are found by name. Whoever asks may use the owner's adapters of that name. */
export interface AdapterFinder {
  /** Undefined: there is none. */
  find(
    owner: string,
    adapter: AdapterName,
    choice: ResolveChoice,
  ): Promise<FoundAdapter | undefined>;
  /** What is found by a name alone, and the fine-tuned models of each name. */
  list(owner: string): Promise<ListedAdapter[]>;
}

export interface ListedAdapter {
  readonly name: string;
  readonly owner: string;
  /** What the name stands for now (`pinnedName`). */
  readonly root: string;
  /** Unix seconds. */
  readonly created: number;
  /** Of the base that it was made for, where that is known. */
  readonly baseDigest?: string;
  /** The last part of a fine-tuned model's name: the entry is that model. */
  readonly fineTunedId?: string;
}

export interface FoundAdapter {
  readonly part: Omit<AdapterPart, 'weight'>;
  /** Unix seconds. */
  readonly created: number;
}

/** A finder whose adapters can be removed by their owner. */
export interface AdapterArchive extends AdapterFinder {
  /** What the name stands for: all of it, a version, or an alias. False: there is none. */
  remove(owner: string, adapter: AdapterName | string): Promise<boolean>;
}

export interface BaseModel {
  readonly id: string;
  /** Its other names. */
  readonly names: readonly string[];
  /** Of its artifact, hex. */
  readonly digest: string;
}

export interface RegistryOptions {
  readonly base: BaseModel;
  /** What this machine's operator gives to everybody, first come first found. */
  readonly local?: readonly AdapterFinder[];
  readonly store?: AdapterArchive;
  /** Of an adapter, and of a composition's terms together; default: the most that a file may have. */
  readonly maxRank?: number;
  /** Comes with the package; every other adapter of the same name wins. */
  readonly bundled?: AdapterFinder;
  /** Unix milliseconds. */
  readonly now?: () => number;
}

interface Asked {
  /** `default` replaced by what it means. */
  readonly id: string;
  /** None: the base. */
  readonly terms: readonly NamedTerm[];
}

export function createRegistry(options: RegistryOptions): Registry {
  return new ComposedRegistry(options);
}

class ComposedRegistry implements Registry {
  readonly #base: BaseModel;
  readonly #baseNames: ReadonlySet<string>;
  readonly #local: readonly AdapterFinder[];
  readonly #store: AdapterArchive | undefined;
  readonly #bundled: AdapterFinder | undefined;
  readonly #maxRank: number;
  readonly #startedS: number;

  constructor(options: RegistryOptions) {
    const { base, local = [], store, bundled, maxRank = MAX_RANK, now = Date.now } = options;
    this.#base = base;
    this.#baseNames = new Set(['base', base.id, ...base.names]);
    this.#local = local;
    this.#store = store;
    this.#maxRank = maxRank;
    this.#bundled = bundled;
    this.#startedS = Math.floor(now() / 1000);
  }

  async resolve(tenant: Tenant, model: string, choice: ResolveChoice = {}): Promise<ResolvedModel> {
    const { id, terms } = this.#read(tenant, model);
    if (terms.length === 0) return { kind: 'base', id: this.#base.id };
    const resolved = toResolved(id, terms, await this.#findAll(tenant, terms, choice));
    refuseRank(resolved.parts.map(rankOf), this.#maxRank);
    return resolved;
  }

  async describe(tenant: Tenant, model: string): Promise<ModelEntry> {
    const { id, terms } = this.#read(tenant, model);
    if (terms.length === 0) return this.#baseEntry();
    const found = await this.#findAll(tenant, terms, {});
    const { parts } = toResolved(id, terms, found);
    const created = Math.max(...found.map((one) => one.created));
    const { owner } = parts[0]!;
    return { id, created, parent: this.#base.id, root: pinnedName(parts), owner };
  }

  async list(tenant: Tenant): Promise<ModelEntry[]> {
    const lists = await Promise.all(
      this.#places(tenant).map(({ finder, owner }) => finder.list(owner)),
    );
    const byId = new Map<string, ListedAdapter>();
    for (const one of lists.flat()) {
      const id = this.#listedId(one);
      if (!byId.has(id)) byId.set(id, one);
    }
    const entries = [...byId.values()]
      .filter(({ name }) => !this.#baseNames.has(name) && mayUseAdapter(tenant, name))
      .filter(({ name, baseDigest }) => parseModelName(name) && this.#fits(baseDigest))
      .map((one): ModelEntry => {
        const { created, root, owner } = one;
        return { id: this.#listedId(one), created, parent: this.#base.id, root, owner };
      });
    return [this.#baseEntry(), ...entries.sort((a, b) => (a.id < b.id ? -1 : 1))];
  }

  async remove(tenant: Tenant, model: string): Promise<void> {
    const { terms } = this.#read(tenant, model);
    const [only] = terms;
    if (terms.length !== 1 || only!.weight !== 1) throw modelNotFound();
    const { adapter } = only!;
    const owner = this.#ownerOf(tenant, adapter) ?? tenant.id;
    if (!this.#store || owner !== tenant.id) throw modelNotFound();
    const isName = model === adapter.name;
    if (!(await this.#store.remove(tenant.id, isName ? model : adapter))) throw modelNotFound();
  }

  #listedId({ name, owner, fineTunedId }: ListedAdapter): string {
    if (fineTunedId === undefined) return name;
    const suffix = name === fineTunedId ? '' : name;
    return `ft:${this.#base.id}:${owner}:${suffix}:${fineTunedId}`;
  }

  #read(tenant: Tenant, model: string): Asked {
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

  /** What is foreign is not even looked for, so that it cannot be told from what is not there. */
  async #find(tenant: Tenant, adapter: AdapterName, choice: ResolveChoice): Promise<FoundAdapter> {
    const only = this.#ownerOf(tenant, adapter);
    for (const { finder, owner } of this.#places(tenant)) {
      if (only !== undefined && only !== owner) continue;
      const found = mayUseAdapter(tenant, adapter.name)
        ? await finder.find(owner, adapter, choice)
        : undefined;
      if (!found) continue;
      const { place } = found.part;
      if (place.kind === 'version' && !this.#fits(place.manifest.base_digest)) throw baseMismatch();
      return found;
    }
    throw modelNotFound();
  }

  /** In the order in which names win. */
  #places(tenant: Tenant): { finder: AdapterFinder; owner: string }[] {
    const store = this.#store ? [this.#store] : [];
    const bundled = this.#bundled ? [this.#bundled] : [];
    return [
      ...store.map((finder) => ({ finder, owner: tenant.id })),
      ...[...this.#local, ...store, ...bundled].map((finder) => ({ finder, owner: SHARED_OWNER })),
    ];
  }

  /** Whose adapter an `ft:` name asks for; undefined where a name does not say; throws where it is another's. */
  #ownerOf(tenant: Tenant, { origin }: AdapterName): string | undefined {
    if (!origin) return undefined;
    const isOwn = origin.tenant === tenant.id || origin.tenant === SHARED_OWNER;
    if (!isOwn || !this.#baseNames.has(origin.base)) throw modelNotFound();
    return origin.tenant;
  }

  /** Where nobody said, its tensors' shapes decide when they are loaded. */
  #fits(baseDigest: string | undefined): boolean {
    return baseDigest === undefined || baseDigest === this.#base.digest;
  }

  #baseEntry(): ModelEntry {
    return { id: this.#base.id, created: this.#startedS, root: this.#base.id };
  }
}

function toResolved(
  id: string,
  terms: readonly NamedTerm[],
  found: readonly FoundAdapter[],
): ResolvedAdapter {
  const parts = addEqual(found.map(({ part }, i) => ({ ...part, weight: terms[i]!.weight })));
  return { kind: 'adapter', id, digest: contentDigest(parts), parts };
}

/**
 * Terms of the same owner and content are one term with the sum of their weights, in the place of the first:
 * `zen+0.5*zen` is `1.5*zen`. A sum of 0 stays: it is loaded and changes nothing, as `0*zen` does.
 */
function addEqual(parts: readonly AdapterPart[]): AdapterPart[] {
  const byContent = new Map<string, AdapterPart>();
  for (const part of parts) {
    const key = `${part.owner}/${part.digest}`;
    const weight = roundWeight((byContent.get(key)?.weight ?? 0) + part.weight);
    byContent.set(key, { ...(byContent.get(key) ?? part), weight });
  }
  return [...byContent.values()].map(withinWeights);
}

function withinWeights(part: AdapterPart): AdapterPart {
  const { name, weight } = part;
  if (Math.abs(weight) <= MAX_WEIGHT) return part;
  const message = `model: the weights of ${name} add up to ${weight}, the limit is ${MAX_WEIGHT}`;
  throw new ServeError('invalid_request', message, { param: 'model' });
}

/** One body for all misses: unknown, malformed, foreign. */
function modelNotFound(): ServeError {
  const message = 'The model does not exist or you do not have access to it.';
  return new ServeError('model_not_found', message, { param: 'model' });
}

function baseMismatch(): ServeError {
  const message = 'The adapter was made for another base model than the one that is served.';
  return new ServeError('base_mismatch', message, { param: 'model' });
}
