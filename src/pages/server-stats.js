// The figures of the status page, from /metrics/status, or from /health without an admin key, and their rates over time.

import { counted, duration } from './format.js';

/** @typedef {import('../contracts/management-api.ts').MetricsStatus} MetricsStatus */
/** The part that every key may see. @typedef {Pick<MetricsStatus, 'is_ready' | 'engine' | 'tiers'>} PublicStatus */
/** @typedef {MetricsStatus | PublicStatus} ServerStatus */
/** @typedef {MetricsStatus['usage'][number]} Usage */
/** @typedef {import('../contracts/engine.ts').EngineStats} EngineStats */
/** @typedef {import('../contracts/management-api.ts').MetricsHistory['samples'][number]} Sample */
/** Token totals; null if the engine was not running. @typedef {Pick<Sample, 'at' | 'prompt_tokens' | 'generated_tokens'>} TokenReading */
/** Tokens per second. @typedef {{ generated: number, prompt: number }} TokenRates */

/** Converts the body of /health. @param {{ status: string, engine: EngineStats | null }} health @returns {PublicStatus} */
export function statusOfHealth({ status, engine }) {
  const isReady = status === 'ready';
  if (!engine) return { is_ready: isReady, engine, tiers: [] };
  return {
    is_ready: isReady,
    engine: {
      running: engine.running,
      waiting: engine.waiting,
      slots: engine.slotCount,
      kv_usage: engine.kvUsage,
      prompt_tokens: engine.promptTokens,
      generated_tokens: engine.generatedTokens,
      memory_bytes: engine.residentMemoryBytes,
      prefix_query_tokens: engine.prefixQueryTokens,
      prefix_hit_tokens: engine.prefixHitTokens,
      prefix_bytes: engine.prefixCache.bytes,
      prefix_capacity_bytes: engine.prefixCache.capacityBytes,
    },
    tiers: [
      { tier: 'slot', adapters: engine.attachedAdapters.length },
      { tier: 'ram', ...engine.adapterCache },
    ],
  };
}

/** Returns what the server does with adapters, one sentence each. @param {Pick<MetricsStatus, 'attached' | 'awaited' | 'fetching' | 'is_store_paused'>} status */
export function adapterFacts({ attached, awaited, fetching, is_store_paused: isPaused }) {
  // Requests also wait for adapters in slots: for a free KV slot.
  const loading = awaited.filter((name) => !attached.includes(name));
  return [
    attached.length > 0 && `Attached: ${attached.join(', ')}.`,
    loading.length > 0 && `Waiting to load: ${loading.join(', ')}.`,
    fetching > 0 && `Downloading ${counted(fetching, 'adapter')} from the store.`,
    isPaused && 'The store does not answer. The server keeps trying.',
  ].filter((fact) => fact !== false);
}

/** The time span of the chart. */
const SPAN_S = 3_600;

/**
 * Returns the rates between two readings; undefined if one has no totals or the engine has restarted.
 * @param {TokenReading | undefined} before
 * @param {TokenReading | undefined} after
 * @returns {TokenRates | undefined}
 */
export function ratesBetween(before, after) {
  if (before?.prompt_tokens == null || before.generated_tokens == null) return undefined;
  if (after?.prompt_tokens == null || after.generated_tokens == null) return undefined;
  const seconds = after.at - before.at;
  const generated = after.generated_tokens - before.generated_tokens;
  const prompt = after.prompt_tokens - before.prompt_tokens;
  if (seconds <= 0 || generated < 0 || prompt < 0) return undefined;
  return { generated: generated / seconds, prompt: prompt / seconds };
}

/**
 * Returns the points of the token chart: the server's history, then the page's own readings, both oldest first. There is
 * a gap for the time without an engine.
 * @param {readonly TokenReading[]} history
 * @param {readonly TokenReading[]} readings
 * @param {number} now Unix seconds
 * @returns {import('./chart.js').Points}
 */
export function ratePoints(history, readings, now) {
  const first = readings[0]?.at ?? Number.POSITIVE_INFINITY;
  const all = [...history.filter(({ at }) => at < first), ...readings].filter(
    ({ at }) => at > now - SPAN_S,
  );
  const rates = all.map((reading, i) => ratesBetween(all[i - 1], reading));
  return [
    all.map(({ at }) => at),
    rates.map((rate) => rate?.generated ?? null),
    rates.map((rate) => rate?.prompt ?? null),
  ];
}

/**
 * Returns the median and the 95th percentile of a latency between two readings as text; undefined if nothing was counted.
 * @param {'time_to_first_token' | 'inter_token_latency'} name
 * @param {MetricsStatus | undefined} before absent for everything since the start
 * @param {MetricsStatus} after
 */
export function latencyBetween(name, before, after) {
  const earlier = before?.[name] ?? [];
  const buckets = after[name].map(({ le, count }, i) => ({
    bound: le ?? Number.POSITIVE_INFINITY,
    count: count - (earlier[i]?.count ?? 0),
  }));
  if ((buckets.at(-1)?.count ?? 0) <= 0) return undefined;
  return { median: quantileOf(buckets, 0.5), p95: quantileOf(buckets, 0.95) };
}

/**
 * Estimates a quantile as Prometheus does: values are spread evenly in a bucket. Of the last bucket only the lower bound is
 * known.
 * @param {readonly { bound: number, count: number }[]} buckets cumulative, and not empty
 * @param {number} quantile
 * @returns {string}
 */
function quantileOf(buckets, quantile) {
  const rank = quantile * (buckets.at(-1)?.count ?? 0);
  const i = buckets.findIndex(({ count }) => count >= rank);
  const { bound = 0, count = 0 } = buckets[i] ?? {};
  const below = buckets[i - 1] ?? { bound: 0, count: 0 };
  if (bound === Number.POSITIVE_INFINITY) return `> ${duration(below.bound)}`;
  const share = count === below.count ? 1 : (rank - below.count) / (count - below.count);
  return duration(below.bound + (bound - below.bound) * share);
}
