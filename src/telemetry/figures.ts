// Sets the metrics of the engine, the disk and this process when metrics are read. The engine identifies adapters by keys, but
// routers need names, so this file remembers the names in requests.
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { LRUCache } from 'lru-cache';
import { describeProcessor } from '../common/processor.ts';
import { standardError } from '../common/standard-error.ts';
import {
  type AdapterTierStats,
  BLOCK_TOKENS,
  type DiskTierStats,
  type EngineStats,
} from '../contracts/engine.ts';
import type { Metrics } from './metrics.ts';

/** The engine's state when metrics are read. */
export interface EngineReading {
  readonly isReady: boolean;
  /** Undefined if the engine did not answer in time. */
  readonly figures: EngineStats | undefined;
}

/** The most adapters whose names are remembered. Routers only read the names of adapters in slots, which are far fewer. */
const MAX_KEYS = 4096;
/** One adapter can be requested by its name, a version and an alias. */
const MAX_NAMES_PER_KEY = 4;
/** A list of names shares an answer of 20 kB with a second one and the other metrics, and pickers read it every 50 ms. */
const MAX_LIST_LENGTH = 6_000;

const NO_LOAD = { running: 0, waiting: 0, kvUsage: 0 };

/** The names in requests for each of the engine's adapter keys. */
export class AdapterNames {
  readonly #names = new LRUCache<string, Set<string>>({ max: MAX_KEYS });

  /** Remembers a name. Ignores names with commas, because they would look like two. */
  remember(key: string, name: string): void {
    if (name.includes(',')) return;
    const names = this.#names.get(key) ?? new Set();
    names.delete(name);
    names.add(name);
    const [oldest] = names;
    if (names.size > MAX_NAMES_PER_KEY) names.delete(oldest!);
    this.#names.set(key, names);
  }

  /**
   * Returns names of the adapters, separated by commas. If there are too many, leaves out the older names of each, then the last
   * adapters.
   */
  of(keys: readonly string[], max: number): string {
    const lists = keys.map((key) => [...(this.#names.get(key) ?? [])].reverse());
    const ranked = Array.from({ length: MAX_NAMES_PER_KEY }, (_, age) =>
      lists.flatMap((names) => names[age] ?? []),
    );
    const chosen: string[] = [];
    let length = 0;
    for (const name of new Set(ranked.flat())) {
      length += name.length + 1;
      if (chosen.length === max || length > MAX_LIST_LENGTH) break;
      chosen.push(name);
    }
    return chosen.sort().join(',');
  }
}

/**
 * Returns a function that sets the engine's metrics. A busy engine keeps its last figures; a restarting one has no load.
 * @param id the base's name
 * @param nowS returns Unix seconds
 */
export function createEngineMetrics(
  metrics: Metrics,
  id: string,
  names: AdapterNames,
  nowS: () => number,
): (reading: EngineReading) => void {
  const model = { model_name: id };
  let loras = { max_lora: '', running_lora_adapters: '', waiting_lora_adapters: '' };
  let changedS = nowS();
  /** There is a single series, because routers only read the latest. Its value is the time of the last change. */
  const setLoras = (figures: EngineStats) => {
    const before = JSON.stringify(loras);
    const { attachedAdapters, residentAdapters, maxActiveAdapters: max } = figures;
    // A resident adapter attaches within a step, so for a router it is as good as attached.
    const loaded = [...new Set([...attachedAdapters, ...residentAdapters.toReversed()])];
    loras = {
      max_lora: String(max),
      running_lora_adapters: names.of(loaded, max),
      waiting_lora_adapters: names.of(figures.waitingAdapters, max),
    };
    if (JSON.stringify(loras) !== before) changedS = nowS();
    metrics.setOnly('loraRequests', loras, changedS);
  };
  return ({ isReady, figures }) => {
    metrics.set('engineReady', {}, isReady ? 1 : 0);
    const load = isReady ? figures : NO_LOAD;
    if (load) {
      metrics.set('requestsRunning', model, load.running);
      metrics.set('requestsWaiting', model, load.waiting);
      for (const name of ['kvCacheUsage', 'oldKvCacheUsage'] as const)
        metrics.set(name, model, load.kvUsage);
    }
    if (!figures) return;
    metrics.set('promptTokens', model, figures.promptTokens);
    metrics.set('generationTokens', model, figures.generatedTokens);
    metrics.set('drafts', model, figures.drafts);
    metrics.set('draftTokens', model, figures.draftTokens);
    metrics.set('acceptedDraftTokens', model, figures.acceptedDraftTokens);
    metrics.set('forcedTokens', model, figures.forcedTokens);
    for (const name of ['prefixQueries', 'oldPrefixQueries'] as const)
      metrics.set(name, model, figures.prefixQueryTokens);
    for (const name of ['prefixHits', 'oldPrefixHits'] as const)
      metrics.set(name, model, figures.prefixHitTokens);
    metrics.set('prefixBytes', {}, figures.prefixCache.bytes);
    metrics.set('prefixCapacity', {}, figures.prefixCache.capacityBytes);
    metrics.set('prefixEvictions', {}, figures.prefixCache.evictions);
    metrics.set('kvSlots', {}, figures.slotCount);
    metrics.set('steps', {}, figures.steps);
    metrics.set('nonFiniteRows', {}, figures.nonFiniteRows);
    metrics.set('engineMemory', {}, figures.residentMemoryBytes);
    metrics.set('engineCpu', {}, figures.cpuSeconds);
    metrics.set('cacheAdapters', { tier: 'slot' }, figures.attachedAdapters.length);
    setTier(metrics, 'ram', figures.adapterCache);
    const cache = {
      block_size: String(BLOCK_TOKENS),
      num_gpu_blocks: String(figures.prefixCache.capacityBlocks),
      cache_dtype: 'auto',
    };
    metrics.setOnly('cacheConfig', { ...model, ...cache }, 1);
    setLoras(figures);
  };
}

/** Sets the metrics of the disk tier. */
export function setDisk(metrics: Metrics, figures: DiskTierStats): void {
  setTier(metrics, 'disk', figures);
  metrics.set('fetches', {}, figures.fetching);
  metrics.set('storePaused', {}, figures.isPaused ? 1 : 0);
}

function setTier(metrics: Metrics, tier: 'ram' | 'disk', figures: AdapterTierStats): void {
  metrics.set('cacheBytes', { tier }, figures.bytes);
  metrics.set('cacheAdapters', { tier }, figures.adapters);
  metrics.set('cacheHits', { tier }, figures.hits);
  metrics.set('cacheMisses', { tier }, figures.misses);
  metrics.set('cacheEvictions', { tier }, figures.evictions);
  metrics.set('cacheLoads', { tier, outcome: 'ok' }, figures.loaded);
  metrics.set('cacheLoads', { tier, outcome: 'failed' }, figures.failed);
}

const NANOSECONDS = 1e-9;
/** The interval of the timer that measures the event loop's delay. */
const LAG_INTERVAL_MS = 10;

/** Returns how late the timer fired, given the time between two of its turns in nanoseconds. */
function toLagS(turnNs: number): number {
  return Math.max(0, turnNs * NANOSECONDS - LAG_INTERVAL_MS / 1000);
}

/** Sets this process's CPU time, memory and event loop lag whenever metrics are read. */
export function watchProcess(metrics: Metrics): void {
  const lag = monitorEventLoopDelay({ resolution: LAG_INTERVAL_MS });
  lag.enable();
  metrics.set('startTime', {}, (Date.now() - process.uptime() * 1000) / 1000);
  metrics.onCollect(() => {
    const { model, cores, features } = describeProcessor();
    const labels = { model, cores: String(cores), features: features?.join(',') ?? 'unknown' };
    metrics.set('processor', labels, 1);
    const { user, system } = process.cpuUsage();
    const memory = process.memoryUsage();
    metrics.set('cpu', {}, (user + system) / 1e6);
    metrics.set('residentMemory', {}, memory.rss);
    metrics.set('logLinesDropped', {}, standardError.dropped);
    metrics.set('heapUsed', {}, memory.heapUsed);
    metrics.set('externalMemory', {}, memory.external);
    metrics.set('loopLagP50', {}, toLagS(lag.percentile(50)));
    metrics.set('loopLagP99', {}, toLagS(lag.percentile(99)));
    metrics.set('loopLagMax', {}, toLagS(lag.max));
    lag.reset();
  });
}
