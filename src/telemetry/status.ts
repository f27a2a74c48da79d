// Reads what the status page shows from the metrics, so that each figure is counted once and the pages parse no text format.
import type { MetricsStatus } from '../contracts/management-api.ts';
import { type HistogramId, INSTRUMENTS, type SettableId } from './instruments.ts';
import type { Metrics } from './metrics.ts';

const ENGINE = {
  running: 'requestsRunning',
  waiting: 'requestsWaiting',
  steps: 'steps',
  kv_usage: 'kvCacheUsage',
  prompt_tokens: 'promptTokens',
  generated_tokens: 'generationTokens',
  memory_bytes: 'engineMemory',
  cpu_s: 'engineCpu',
  prefix_query_tokens: 'prefixQueries',
  prefix_hit_tokens: 'prefixHits',
  prefix_bytes: 'prefixBytes',
  prefix_capacity_bytes: 'prefixCapacity',
} as const;
const TIER = {
  adapters: 'cacheAdapters',
  bytes: 'cacheBytes',
  hits: 'cacheHits',
  misses: 'cacheMisses',
  evictions: 'cacheEvictions',
} as const;

/** Reads the figures. Trainers and the rest of the machine are not among the metrics. */
export async function readStatus(
  metrics: Metrics,
): Promise<Omit<MetricsStatus, 'trainer_cpu_s' | 'machine_cpu_s'>> {
  await metrics.collect();
  const slots = metrics.sum('kvSlots');
  const loras = metrics.find('loraRequests')[0]?.labels;
  return {
    object: 'metrics.status',
    is_ready: metrics.sum('engineReady') === 1,
    engine: slots > 0 ? { slots, ...sums(metrics, ENGINE) } : null,
    tiers: [
      { tier: 'slot', adapters: metrics.sum('cacheAdapters', { tier: 'slot' }) },
      readTier(metrics, 'ram'),
      readTier(metrics, 'disk'),
    ],
    server: sums(metrics, {
      memory_bytes: 'residentMemory',
      started_at: 'startTime',
      cpu_s: 'cpu',
    }),
    attached: splitNames(loras?.running_lora_adapters),
    awaited: splitNames(loras?.waiting_lora_adapters),
    fetching: metrics.sum('fetches'),
    is_store_paused: metrics.sum('storePaused') === 1,
    usage: readUsage(metrics),
    ...readTotals(metrics),
  };
}

/** Reads the latencies and errors since the server started. */
export function readTotals(
  metrics: Metrics,
): Pick<MetricsStatus, 'time_to_first_token' | 'inter_token_latency' | 'errors'> {
  return {
    time_to_first_token: readBuckets(metrics, 'timeToFirstToken'),
    inter_token_latency: readBuckets(metrics, 'timePerOutputToken'),
    errors: readErrors(metrics),
  };
}

const MAX_ERRORS = 20;

/** Returns the refused and failed requests by code, the most frequent first. */
function readErrors(metrics: Metrics): MetricsStatus['errors'] {
  const codes = new Set(metrics.find('httpResponses').map(({ labels }) => labels.code));
  codes.delete('');
  const errors = [...codes].map((code) => ({
    code,
    count: metrics.sum('httpResponses', { code }),
  }));
  return errors.sort((a, b) => b.count - a.count).slice(0, MAX_ERRORS);
}

/** Reads one total for each name. */
function sums<Name extends string>(
  metrics: Metrics,
  ids: Readonly<Record<Name, SettableId>>,
  labels: Readonly<Record<string, string>> = {},
): Record<Name, number> {
  const all = Object.entries<SettableId>(ids);
  const values = all.map(([name, id]) => [name, metrics.sum(id, labels)]);
  return Object.fromEntries(values);
}

function readTier(metrics: Metrics, tier: 'ram' | 'disk'): MetricsStatus['tiers'][number] {
  const failed = metrics.sum('cacheLoads', { tier, outcome: 'failed' });
  return { tier, ...sums(metrics, TIER, { tier }), failed };
}

/** Returns the base first, then the adapters. The base's usage is everything minus the adapters' usage. */
function readUsage(metrics: Metrics): MetricsStatus['usage'] {
  const adapters = metrics.find('adapterTokens', { type: 'input' }).map(({ labels }) => {
    const { tenant, adapter } = labels;
    const sum = (id: Counted, of = {}) => metrics.sum(`adapter${id}`, { tenant, adapter, ...of });
    return { model: adapter, tenant, ...usageOf(sum) };
  });
  const base = usageOf((id, labels) =>
    Math.max(0, metrics.sum(`tenant${id}`, labels) - metrics.sum(`adapter${id}`, labels)),
  );
  const model = metrics.find('build')[0]!.labels.model_name;
  const tokens = (usage: typeof base) => usage.input_tokens + usage.output_tokens;
  return [{ model, tenant: null, ...base }, ...adapters.sort((a, b) => tokens(b) - tokens(a))];
}

type Counted = 'Requests' | 'Tokens';

function usageOf(sum: (id: Counted, labels?: { type: string }) => number) {
  return {
    requests: sum('Requests'),
    input_tokens: sum('Tokens', { type: 'input' }),
    output_tokens: sum('Tokens', { type: 'output' }),
  };
}

/** Buckets are cumulative, as in Prometheus. One model is served, so there is one series. */
function readBuckets(metrics: Metrics, id: HistogramId) {
  let count = 0;
  return (metrics.find(id)[0]?.distribution?.counts ?? []).map((n, i) => {
    count += n;
    return { le: INSTRUMENTS[id].buckets[i] ?? null, count };
  });
}

function splitNames(list: string | undefined): string[] {
  return list ? list.split(',') : [];
}
