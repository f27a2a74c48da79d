// The numbers of the status page, read from /metrics, or from /health without an admin key, and their rates over time.
import { parsePrometheus, quantileBetween, total } from './prometheus.js';

/**
 * A tier of the adapter cache. Counts are since the start of the server.
 * @typedef {object} Tier
 * @property {string} name
 * @property {number} adapters
 * @property {number} [bytes]
 * @property {number} [hits]
 * @property {number} [misses]
 * @property {number} [evictions]
 * @property {number} [failed]
 */

/**
 * The prefix cache. Tokens are since the start of the engine.
 * @typedef {object} PrefixCache
 * @property {number} queryTokens of the prompts that were looked up
 * @property {number} hitTokens those that were cached
 * @property {number} bytes
 * @property {number} capacityBytes 0: it is off
 */

/**
 * The server at one moment.
 * @typedef {object} ServerStats
 * @property {boolean} isReady
 * @property {number} running
 * @property {number} waiting
 * @property {number} slots
 * @property {number} kvUsage 0 to 1
 * @property {number} promptTokens since the start of the engine
 * @property {number} generatedTokens since the start of the engine
 * @property {number} engineBytes
 * @property {PrefixCache} prefixCache
 * @property {readonly Tier[]} tiers
 * @property {AdminStats} [admin] only with an admin key
 */

/**
 * @typedef {object} AdminStats
 * @property {import('./prometheus.js').Samples} samples
 * @property {number} serverBytes
 * @property {number} startedS Unix seconds
 * @property {readonly string[]} attached names of the adapters in slots
 * @property {readonly string[]} waiting names of the adapters that requests wait for
 * @property {number} fetching adapters that are being downloaded
 * @property {boolean} isStorePaused
 * @property {readonly Usage[]} adapters busiest first
 * @property {Usage} base requests without an adapter, of all tenants
 */

/** @typedef {{ adapter: string, tenant: string, requests: number, input: number, output: number }} Usage */

/** Reads the stats from the text of /metrics. @param {string} text @returns {ServerStats} */
export function statsOfMetrics(text) {
  const samples = parsePrometheus(text);
  const sum = summer(samples);
  const loras = samples.get('vllm:lora_requests_info')?.[0]?.labels ?? {};
  const cache = samples.get('vllm:cache_config_info')?.[0]?.labels ?? {};
  return {
    isReady: sum('lorikeet_engine_ready') === 1,
    running: sum('vllm:num_requests_running'),
    waiting: sum('vllm:num_requests_waiting'),
    slots: Number(cache['num_gpu_blocks'] ?? 0),
    kvUsage: sum('vllm:kv_cache_usage_perc'),
    promptTokens: sum('vllm:prompt_tokens_total'),
    generatedTokens: sum('vllm:generation_tokens_total'),
    engineBytes: sum('lorikeet_engine_resident_memory_bytes'),
    prefixCache: {
      queryTokens: sum('vllm:prefix_cache_queries_total'),
      hitTokens: sum('vllm:prefix_cache_hits_total'),
      bytes: sum('lorikeet_prefix_cache_bytes'),
      capacityBytes: sum('lorikeet_prefix_cache_capacity_bytes'),
    },
    tiers: ['slot', 'ram', 'disk'].map((tier) => ({
      name: tier,
      adapters: sum('lorikeet_adapter_cache_adapters', { tier }),
      ...(tier !== 'slot' && {
        bytes: sum('lorikeet_adapter_cache_bytes', { tier }),
        hits: sum('lorikeet_adapter_cache_hits_total', { tier }),
        misses: sum('lorikeet_adapter_cache_misses_total', { tier }),
        evictions: sum('lorikeet_adapter_cache_evictions_total', { tier }),
        failed: sum('lorikeet_adapter_cache_loads_total', { tier, outcome: 'failed' }),
      }),
    })),
    admin: {
      samples,
      serverBytes: sum('process_resident_memory_bytes'),
      startedS: sum('process_start_time_seconds'),
      attached: splitNames(loras['running_lora_adapters']),
      waiting: splitNames(loras['waiting_lora_adapters']),
      fetching: sum('lorikeet_adapter_fetches'),
      isStorePaused: sum('lorikeet_store_breaker_open') === 1,
      adapters: adapterUsages(samples),
      base: baseUsage(samples),
    },
  };
}

/**
 * The part of /health that this page reads.
 * @typedef {object} Health
 * @property {string} status
 * @property {EngineHealth | null} engine
 */

/**
 * @typedef {object} EngineHealth
 * @property {number} running
 * @property {number} waiting
 * @property {number} slotCount
 * @property {number} kvUsage
 * @property {number} promptTokens
 * @property {number} generatedTokens
 * @property {number} residentMemoryBytes
 * @property {number} prefixQueryTokens
 * @property {number} prefixHitTokens
 * @property {Pick<PrefixCache, 'bytes' | 'capacityBytes'>} prefixCache
 * @property {readonly string[]} attachedAdapters
 * @property {Omit<Tier, 'name'>} adapterCache
 */

/** Reads the stats from the body of /health. @param {Health} health @returns {ServerStats} */
export function statsOfHealth({ status, engine }) {
  const cache = engine?.adapterCache;
  return {
    isReady: status === 'ready',
    running: engine?.running ?? 0,
    waiting: engine?.waiting ?? 0,
    slots: engine?.slotCount ?? 0,
    kvUsage: engine?.kvUsage ?? 0,
    promptTokens: engine?.promptTokens ?? 0,
    generatedTokens: engine?.generatedTokens ?? 0,
    engineBytes: engine?.residentMemoryBytes ?? 0,
    prefixCache: {
      queryTokens: engine?.prefixQueryTokens ?? 0,
      hitTokens: engine?.prefixHitTokens ?? 0,
      bytes: engine?.prefixCache.bytes ?? 0,
      capacityBytes: engine?.prefixCache.capacityBytes ?? 0,
    },
    tiers: [
      { name: 'slot', adapters: engine?.attachedAdapters.length ?? 0 },
      { ...cache, name: 'ram', adapters: cache?.adapters ?? 0 },
    ],
  };
}

/** @typedef {Pick<ServerStats, 'promptTokens' | 'generatedTokens'>} TokenTotals */
/** A reading; without stats the engine was not running. @typedef {{ atMs: number, stats: TokenTotals | undefined }} TokenReading */
/** Tokens per second. @typedef {{ generated: number, prompt: number }} TokenRates */

/** The time span of the chart. */
const SPAN_MS = 3_600_000;

/**
 * Returns the rates between two readings; undefined if one is missing or the engine has restarted.
 * @param {TokenReading | undefined} before
 * @param {TokenReading | undefined} after
 * @returns {TokenRates | undefined}
 */
export function ratesBetween(before, after) {
  if (!before?.stats || !after?.stats) return undefined;
  const seconds = (after.atMs - before.atMs) / 1000;
  const generated = after.stats.generatedTokens - before.stats.generatedTokens;
  const prompt = after.stats.promptTokens - before.stats.promptTokens;
  if (seconds <= 0 || generated < 0 || prompt < 0) return undefined;
  return { generated: generated / seconds, prompt: prompt / seconds };
}

/**
 * Converts the server's samples of the last hour to readings.
 * @param {import('../contracts/management-api.ts').MetricsHistory} history
 * @returns {TokenReading[]}
 */
export function readingsOfHistory({ samples }) {
  return samples.map(({ at, prompt_tokens: promptTokens, generated_tokens: generatedTokens }) => ({
    atMs: at * 1000,
    stats:
      promptTokens === null || generatedTokens === null
        ? undefined
        : { promptTokens, generatedTokens },
  }));
}

/**
 * Returns the points of the token chart: the server's history, then the page's own readings, both oldest first. There is
 * a gap for the time without an engine.
 * @param {readonly TokenReading[]} history
 * @param {readonly TokenReading[]} readings
 * @param {number} nowMs
 * @returns {import('./chart.js').Points}
 */
export function ratePoints(history, readings, nowMs) {
  const firstMs = readings[0]?.atMs ?? Number.POSITIVE_INFINITY;
  const all = [...history.filter(({ atMs }) => atMs < firstMs), ...readings].filter(
    ({ atMs }) => atMs > nowMs - SPAN_MS,
  );
  const rates = all.map((reading, i) => ratesBetween(all[i - 1], reading));
  return [
    all.map(({ atMs }) => atMs / 1000),
    rates.map((rate) => rate?.generated ?? null),
    rates.map((rate) => rate?.prompt ?? null),
  ];
}

/**
 * Returns the median and the 95th percentile of a histogram between two readings; undefined if nothing was counted.
 * @param {string} name
 * @param {AdminStats | undefined} before
 * @param {AdminStats} after
 */
export function latencyBetween(name, before, after) {
  const options = { name, before: before?.samples, after: after.samples };
  const median = quantileBetween({ ...options, quantile: 0.5 });
  const p95 = quantileBetween({ ...options, quantile: 0.95 });
  return median === undefined || p95 === undefined ? undefined : { median, p95 };
}

/** @param {string | undefined} list */
function splitNames(list) {
  return list ? list.split(',') : [];
}

/** Sums samples; 0 if there are none. @param {import('./prometheus.js').Samples} samples */
function summer(samples) {
  /** @param {string} name @param {Readonly<Record<string, string>>} [labels] */
  return (name, labels) => total(samples, name, labels) ?? 0;
}

/** By adapter and tenant, the busiest first. @param {import('./prometheus.js').Samples} samples @returns {Usage[]} */
function adapterUsages(samples) {
  /** @type {Map<string, Usage>} */
  const usages = new Map();
  /** @param {Readonly<Record<string, string>>} labels */
  const usageOf = ({ tenant = '', adapter = '' }) => {
    const key = `${tenant} ${adapter}`;
    const usage = usages.get(key) ?? { adapter, tenant, requests: 0, input: 0, output: 0 };
    usages.set(key, usage);
    return usage;
  };
  for (const { labels, value } of samples.get('lorikeet_adapter_tokens_total') ?? []) {
    if (labels['type'] === 'input') usageOf(labels).input += value;
    else usageOf(labels).output += value;
  }
  for (const { labels, value } of samples.get('lorikeet_adapter_requests_total') ?? []) {
    usageOf(labels).requests += value;
  }
  return [...usages.values()].sort((a, b) => b.input + b.output - a.input - a.output);
}

/** Returns the traffic of all tenants minus the adapters' traffic. @param {import('./prometheus.js').Samples} samples @returns {Usage} */
function baseUsage(samples) {
  const sum = summer(samples);
  const build = samples.get('lorikeet_build_info')?.[0]?.labels ?? {};
  /** @param {string} kind @param {Readonly<Record<string, string>>} [labels] */
  const rest = (kind, labels) => {
    const ofAdapters = sum(`lorikeet_adapter_${kind}_total`, labels);
    return Math.max(0, sum(`lorikeet_tenant_${kind}_total`, labels) - ofAdapters);
  };
  return {
    adapter: `${build['model_name'] ?? 'base'} (base)`,
    tenant: 'all',
    requests: rest('requests'),
    input: rest('tokens', { type: 'input' }),
    output: rest('tokens', { type: 'output' }),
  };
}
