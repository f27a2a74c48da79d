// From the engine's figures, taken when somebody asks for metrics, to instruments. The engine knows adapters by keys;
// the names that requests used for them are remembered here, for routers.
import { LRUCache } from 'lru-cache';
import type { Metrics } from './metrics.ts';

/** What of the engine's figures is shown. */
export interface EngineFigures {
  readonly running: number;
  readonly waiting: number;
  readonly slotCount: number;
  readonly kvUsage: number;
  readonly steps: number;
  readonly promptTokens: number;
  readonly generatedTokens: number;
  readonly nonFiniteRows: number;
  readonly maxActiveAdapters: number;
  /** Keys of adapters that are attached, ready for the next step. */
  readonly attachedAdapters: readonly string[];
  /** Keys of adapters that sequences without a KV slot wait for or with. */
  readonly waitingAdapters: readonly string[];
  readonly residentMemoryBytes: number;
  readonly adapterCache: TierFigures;
}

/** What the engine says of itself, when it is asked. */
export interface EngineReading {
  readonly isReady: boolean;
  /** Undefined where it did not answer in time. */
  readonly figures: EngineFigures | undefined;
}

/** Of one tier of the adapters' caches; totals since its process began. */
export interface TierFigures {
  readonly bytes: number;
  readonly adapters: number;
  readonly hits: number;
  readonly misses: number;
  readonly evictions: number;
  readonly loaded: number;
  readonly failed: number;
}

export interface ServedFacts {
  /** The base's name. */
  readonly id: string;
  readonly maxSeqLength: number;
}

/** Adapters whose names are known; a router asks for those of the slots, which are far fewer. */
const MAX_KEYS = 4096;
/** Name, version and alias of one adapter may be asked for in turn. */
const MAX_NAMES_PER_KEY = 4;

const NO_LOAD = { running: 0, waiting: 0, kvUsage: 0 };

export class AdapterNames {
  readonly #names = new LRUCache<string, Set<string>>({ max: MAX_KEYS });

  /** A name with a comma could not be told from two. */
  remember(key: string, name: string): void {
    if (name.includes(',')) return;
    const names = this.#names.get(key) ?? new Set();
    names.delete(name);
    names.add(name);
    const [oldest] = names;
    if (names.size > MAX_NAMES_PER_KEY) names.delete(oldest!);
    this.#names.set(key, names);
  }

  of(keys: readonly string[]): string {
    return [...new Set(keys.flatMap((key) => [...(this.#names.get(key) ?? [])]))].sort().join(',');
  }
}

/** Of the disk tier, and of the store behind it. */
export interface DiskFigures extends TierFigures {
  readonly fetching: number;
  readonly isPaused: boolean;
}

/** Sets the engine's instruments. An engine that is busy keeps its last figures; one that restarts has no load. */
export class EngineMetrics {
  readonly #metrics: Metrics;
  readonly #facts: ServedFacts;
  readonly #names: AdapterNames;
  #loras = { max_lora: '', running_lora_adapters: '', waiting_lora_adapters: '' };
  #changedS: number;

  constructor(metrics: Metrics, facts: ServedFacts, names: AdapterNames, nowS: number) {
    this.#metrics = metrics;
    this.#facts = facts;
    this.#names = names;
    this.#changedS = nowS;
  }

  set({ isReady, figures }: EngineReading, nowS: number): void {
    const metrics = this.#metrics;
    metrics.set('engineReady', {}, isReady ? 1 : 0);
    const load = isReady ? figures : NO_LOAD;
    const model = { model_name: this.#facts.id };
    if (load) {
      metrics.set('requestsRunning', model, load.running);
      metrics.set('requestsWaiting', model, load.waiting);
      metrics.set('kvCacheUsage', model, load.kvUsage);
    }
    if (!figures) return;
    metrics.set('promptTokens', model, figures.promptTokens);
    metrics.set('generationTokens', model, figures.generatedTokens);
    metrics.set('steps', {}, figures.steps);
    metrics.set('nonFiniteRows', {}, figures.nonFiniteRows);
    metrics.set('engineMemory', {}, figures.residentMemoryBytes);
    metrics.set('cacheAdapters', { tier: 'slot' }, figures.attachedAdapters.length);
    setTier(metrics, 'ram', figures.adapterCache);
    metrics.setOnly('cacheConfig', this.#cacheConfig(figures), 1);
    this.#setLoras(figures, nowS);
  }

  #cacheConfig({ slotCount }: EngineFigures) {
    const { id, maxSeqLength } = this.#facts;
    return {
      model_name: id,
      block_size: String(maxSeqLength),
      num_gpu_blocks: String(slotCount),
      cache_dtype: 'auto',
    };
  }

  /** One series, as the latest is all that a router takes: its value says since when it holds. */
  #setLoras(figures: EngineFigures, nowS: number): void {
    const loras = {
      max_lora: String(figures.maxActiveAdapters),
      running_lora_adapters: this.#names.of(figures.attachedAdapters),
      waiting_lora_adapters: this.#names.of(figures.waitingAdapters),
    };
    if (JSON.stringify(loras) !== JSON.stringify(this.#loras)) this.#changedS = nowS;
    this.#loras = loras;
    this.#metrics.setOnly('loraRequests', loras, this.#changedS);
  }
}

export function setDisk(metrics: Metrics, figures: DiskFigures): void {
  setTier(metrics, 'disk', figures);
  metrics.set('fetches', {}, figures.fetching);
  metrics.set('storePaused', {}, figures.isPaused ? 1 : 0);
}

function setTier(metrics: Metrics, tier: 'ram' | 'disk', figures: TierFigures): void {
  metrics.set('cacheBytes', { tier }, figures.bytes);
  metrics.set('cacheAdapters', { tier }, figures.adapters);
  metrics.set('cacheHits', { tier }, figures.hits);
  metrics.set('cacheMisses', { tier }, figures.misses);
  metrics.set('cacheEvictions', { tier }, figures.evictions);
  metrics.set('cacheLoads', { tier, outcome: 'ok' }, figures.loaded);
  metrics.set('cacheLoads', { tier, outcome: 'failed' }, figures.failed);
}
