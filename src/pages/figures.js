// What the status page shows of the server at one moment: from /metrics, or, where the reader's key is no admin's, what
// /health tells everybody. Pure.
import { parseMetrics, quantileBetween, total } from './prometheus.js';

/**
 * @typedef {object} Tier
 * @property {string} name
 * @property {number} adapters
 * @property {number} [bytes]
 * @property {number} [hits] since the server's start, as all below
 * @property {number} [misses]
 * @property {number} [evictions]
 * @property {number} [failed]
 */

/**
 * @typedef {object} Figures
 * @property {boolean} isReady
 * @property {number} running
 * @property {number} waiting
 * @property {number} slots
 * @property {number} kvUsage 0 to 1
 * @property {number} promptTokens since the engine's start
 * @property {number} generatedTokens the same
 * @property {number} engineBytes
 * @property {readonly Tier[]} tiers
 * @property {Operator} [operator] what only an admin's key is shown
 */

/**
 * @typedef {object} Operator
 * @property {import('./prometheus.js').Samples} samples
 * @property {number} serverBytes
 * @property {number} startedS Unix seconds
 * @property {readonly string[]} attached names of the adapters in slots
 * @property {readonly string[]} awaited
 * @property {number} fetching
 * @property {boolean} isStorePaused
 * @property {readonly Usage[]} busiest adapters
 * @property {Usage} base what no adapter had a part in, of all tenants
 */

/** @typedef {{ adapter: string, tenant: string, requests: number, input: number, output: number }} Usage */

/** @param {string} text of /metrics @returns {Figures} */
export function figuresOfMetrics(text) {
  const samples = parseMetrics(text);
  /** @param {string} name @param {Readonly<Record<string, string>>} [labels] */
  const sum = (name, labels) => total(samples, name, labels) ?? 0;
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
    operator: {
      samples,
      serverBytes: sum('process_resident_memory_bytes'),
      startedS: sum('process_start_time_seconds'),
      attached: names(loras['running_lora_adapters']),
      awaited: names(loras['waiting_lora_adapters']),
      fetching: sum('lorikeet_adapter_fetches'),
      isStorePaused: sum('lorikeet_store_breaker_open') === 1,
      busiest: usages(samples),
      base: baseUsage(samples),
    },
  };
}

/**
 * What is read of /health's answer.
 * @typedef {object} Health
 * @property {string} status
 * @property {HealthOfEngine | null} engine
 */

/**
 * @typedef {object} HealthOfEngine
 * @property {number} running
 * @property {number} waiting
 * @property {number} slotCount
 * @property {number} kvUsage
 * @property {number} promptTokens
 * @property {number} generatedTokens
 * @property {number} residentMemoryBytes
 * @property {readonly string[]} attachedAdapters
 * @property {Omit<Tier, 'name'>} adapterCache
 */

/** @param {Health} health @returns {Figures} */
export function figuresOfHealth({ status, engine }) {
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
    tiers: [
      { name: 'slot', adapters: engine?.attachedAdapters.length ?? 0 },
      { ...cache, name: 'ram', adapters: cache?.adapters ?? 0 },
    ],
  };
}

/** @typedef {{ generated: number, prompt: number }} Rates tokens a second */

/**
 * Between two moments; an engine that began anew has no rate yet.
 * @param {{ atMs: number, figures: Pick<Figures, 'generatedTokens' | 'promptTokens'> } | undefined} before
 * @param {{ atMs: number, figures: Pick<Figures, 'generatedTokens' | 'promptTokens'> }} after
 * @returns {Rates | undefined}
 */
export function ratesBetween(before, after) {
  if (!before) return undefined;
  const seconds = (after.atMs - before.atMs) / 1000;
  const generated = after.figures.generatedTokens - before.figures.generatedTokens;
  const prompt = after.figures.promptTokens - before.figures.promptTokens;
  if (seconds <= 0 || generated < 0 || prompt < 0) return undefined;
  return { generated: generated / seconds, prompt: prompt / seconds };
}

/**
 * Median and 95th percentile of a histogram in seconds, of what came between; undefined where nothing did.
 * @param {string} name
 * @param {Operator | undefined} before
 * @param {Operator} after
 */
export function spread(name, before, after) {
  const options = { name, before: before?.samples, after: after.samples };
  const median = quantileBetween({ ...options, quantile: 0.5 });
  const p95 = quantileBetween({ ...options, quantile: 0.95 });
  return median === undefined || p95 === undefined ? undefined : { median, p95 };
}

/** @param {string | undefined} list */
function names(list) {
  return list ? list.split(',') : [];
}

/** By adapter and owner, the busiest first. @param {import('./prometheus.js').Samples} samples @returns {Usage[]} */
function usages(samples) {
  /** @type {Map<string, Usage>} */
  const found = new Map();
  /** @param {Readonly<Record<string, string>>} labels */
  const of = ({ tenant = '', adapter = '' }) => {
    const key = `${tenant} ${adapter}`;
    const usage = found.get(key) ?? { adapter, tenant, requests: 0, input: 0, output: 0 };
    found.set(key, usage);
    return usage;
  };
  for (const { labels, value } of samples.get('lorikeet_adapter_tokens_total') ?? []) {
    if (labels['type'] === 'input') of(labels).input += value;
    else of(labels).output += value;
  }
  for (const { labels, value } of samples.get('lorikeet_adapter_requests_total') ?? []) {
    of(labels).requests += value;
  }
  return [...found.values()].sort((a, b) => b.input + b.output - a.input - a.output);
}

/** All tenants' traffic less the adapters'. @param {import('./prometheus.js').Samples} samples @returns {Usage} */
function baseUsage(samples) {
  /** @param {string} name @param {Readonly<Record<string, string>>} [labels] */
  const sum = (name, labels) => total(samples, name, labels) ?? 0;
  const used = 'lorikeet_tenant_tokens_total';
  const tokens = 'lorikeet_adapter_tokens_total';
  const build = samples.get('lorikeet_build_info')?.[0]?.labels ?? {};
  /** @param {number} n */
  const atLeast0 = (n) => Math.max(0, n);
  return {
    adapter: `${build['model_name'] ?? 'base'} (base)`,
    tenant: 'all',
    requests: atLeast0(
      sum('lorikeet_tenant_requests_total') - sum('lorikeet_adapter_requests_total'),
    ),
    input: atLeast0(sum(used, { type: 'input' }) - sum(tokens, { type: 'input' })),
    output: atLeast0(sum(used, { type: 'output' }) - sum(tokens, { type: 'output' })),
  };
}
