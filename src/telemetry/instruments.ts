// The table of all metrics, one row each; /metrics and OTLP show these. Routers (Gateway API Inference Extension), autoscalers
// (KEDA) and dashboards look for vLLM's names. gen_ai.* are OpenTelemetry's names. All others are lorikeet's names, or common
// names for processes.
import { GEN_AI } from './gen-ai.ts';

// The description of a metric, and functions that describe groups of them.

/** A metric. */
export interface Instrument {
  readonly kind: 'counter' | 'gauge' | 'histogram';
  /** A dotted name is OpenTelemetry's; Prometheus's name is derived from it. Other names are the same in both. */
  readonly name: string;
  /** A UCUM unit. */
  readonly unit:
    | 's'
    | 'By'
    | '1'
    | '{token}'
    | '{request}'
    | '{adapter}'
    | '{row}'
    | '{line}'
    | '{step}'
    | '{block}';
  readonly help: string;
  readonly labels: readonly string[];
  /** The upper bounds of a histogram's buckets, ascending and without infinity. */
  readonly buckets?: readonly number[];
}

/** Metrics of one group by id: the name, a space and the help text. */
type Rows<Id extends string> = Readonly<Record<Id, string>>;

/** Describes counters with the same unit and labels. */
const counters = group('counter');
/** Describes gauges with the same unit and labels. */
const gauges = group('gauge');

function group<Kind extends 'counter' | 'gauge'>(kind: Kind) {
  return <const Labels extends readonly string[], Id extends string>(
    unit: Instrument['unit'],
    labels: Labels,
    rows: Rows<Id>,
  ) => describe(rows, { kind, unit, labels });
}

/** Describes histograms with the same unit, labels and buckets. */
function histograms<const Labels extends readonly string[], Id extends string>(
  unit: Instrument['unit'],
  labels: Labels,
  buckets: readonly number[],
  rows: Rows<Id>,
) {
  return describe(rows, { kind: 'histogram' as const, unit, labels, buckets });
}

function describe<Id extends string, Shared>(rows: Rows<Id>, shared: Shared) {
  const entries = Object.entries<string>(rows).map(([id, row]) => {
    const end = row.indexOf(' ');
    return [id, { ...shared, name: row.slice(0, end), help: row.slice(end + 1) }];
  });
  return Object.fromEntries(entries) as Record<Id, Shared & { name: string; help: string }>;
}

const LATENCY_S = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160,
];
/** A large model on a few cores takes seconds for a token. The largest bounds are vLLM's. */
const PER_TOKEN_S = [
  ...[0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5],
  ...[5, 7.5, 10, 20, 40, 80],
];
/** The buckets that OpenTelemetry's conventions recommend. */
const GEN_AI_DURATION_S = Array.from({ length: 14 }, (_, i) => 2 ** i / 100);
const GEN_AI_FIRST_TOKEN_S = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
];
const GEN_AI_PER_TOKEN_S = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5];
const GEN_AI_TOKENS = Array.from({ length: 14 }, (_, i) => 4 ** i);

const MODEL = ['model_name'] as const;
const TENANT = ['tenant'] as const;
/** `tenant` is the adapter's owner and `adapter` its name without version. */
const ADAPTER = ['tenant', 'adapter'] as const;
const TIER = ['tier'] as const;
const NONE = [] as const;
const GEN_AI_LABELS = [GEN_AI.operation, GEN_AI.provider, GEN_AI.requestModel] as const;

/** All metrics by id, each as its name and its help text. */
export const INSTRUMENTS = {
  // For routers and autoscalers.
  ...gauges('{request}', MODEL, {
    requestsRunning: 'vllm:num_requests_running Sequences that have a KV slot.',
    requestsWaiting:
      'vllm:num_requests_waiting Sequences that wait for a KV slot or an adapter. Those that arrived during a step do not count if a slot is free.',
  }),
  ...gauges('1', MODEL, {
    kvCacheUsage: 'vllm:kv_cache_usage_perc Share of the KV cache in use, 0 to 1.',
    oldKvCacheUsage: "vllm:gpu_cache_usage_perc The same under vLLM's former name.",
  }),
  ...gauges('s', ['max_lora', 'running_lora_adapters', 'waiting_lora_adapters'], {
    loraRequests:
      'vllm:lora_requests_info Names of the adapters that are attached to the engine or were used last and are in memory, and of the adapters that requests wait for; the value is the Unix time of the last change.',
  }),
  ...gauges('1', ['model_name', 'block_size', 'num_gpu_blocks', 'cache_dtype'], {
    cacheConfig:
      'vllm:cache_config_info Size of the prefix cache in blocks of block_size tokens; 0 blocks if it is off.',
  }),
  ...gauges('1', NONE, {
    kvSlots: 'lorikeet_kv_slots KV slots, each of which holds one sequence.',
  }),
  // Work, as counted by the engine.
  ...counters('{token}', MODEL, {
    promptTokens: 'vllm:prompt_tokens_total Prompt tokens, computed or from the prefix cache.',
    generationTokens: 'vllm:generation_tokens_total Generated tokens.',
    draftTokens: 'vllm:spec_decode_num_draft_tokens_total Tokens of drafts.',
    acceptedDraftTokens:
      'vllm:spec_decode_num_accepted_tokens_total Tokens of drafts that were accepted.',
    forcedTokens:
      'lorikeet_forced_tokens_total Tokens that a grammar forced and that needed no separate step.',
    prefixQueries:
      'vllm:prefix_cache_queries_total Tokens of the prompts that were looked up in the prefix cache.',
    prefixHits: 'vllm:prefix_cache_hits_total Prompt tokens that the prefix cache had.',
    oldPrefixQueries: "vllm:gpu_prefix_cache_queries_total The queries under vLLM's former name.",
    oldPrefixHits: "vllm:gpu_prefix_cache_hits_total The hits under vLLM's former name.",
  }),
  ...counters('{row}', MODEL, {
    drafts: 'vllm:spec_decode_num_drafts_total Drafts of several tokens that a run verified.',
  }),
  ...gauges('By', NONE, {
    prefixBytes: 'lorikeet_prefix_cache_bytes Bytes in the prefix cache.',
    prefixCapacity:
      'lorikeet_prefix_cache_capacity_bytes Capacity of the prefix cache; 0 if it is off.',
  }),
  ...counters('{block}', NONE, {
    prefixEvictions:
      'lorikeet_prefix_cache_evictions_total Blocks of 16 tokens evicted from the prefix cache.',
  }),
  ...counters('{step}', NONE, {
    steps: 'lorikeet_engine_steps_total Engine steps.',
  }),
  ...counters('{row}', NONE, {
    nonFiniteRows:
      'lorikeet_non_finite_rows_total Rows that ended because their logits were not finite.',
  }),
  // Requests.
  ...counters('{request}', ['model_name', 'finished_reason'], {
    requestSuccess:
      'vllm:request_success_total Finished sequences, by the reason; abort means that the client left.',
  }),
  ...histograms('s', MODEL, LATENCY_S, {
    timeToFirstToken:
      'vllm:time_to_first_token_seconds Time from the request to the first token of a sequence.',
    requestLatency:
      'vllm:e2e_request_latency_seconds Time from the request to the end of a sequence.',
    queueTime:
      'vllm:request_queue_time_seconds Time from the request to the start of its prefill, including the load of its adapter.',
    prefillTime:
      'vllm:request_prefill_time_seconds Time from the start of the prefill to the first token.',
    decodeTime:
      'vllm:request_decode_time_seconds Time from the first token to the end of the sequence.',
    inferenceTime:
      'vllm:request_inference_time_seconds Time from the start of the prefill to the end of the sequence.',
  }),
  ...histograms('s', MODEL, PER_TOKEN_S, {
    timePerOutputToken: 'vllm:time_per_output_token_seconds Time between two tokens of a sequence.',
  }),
  ...histograms('s', [...GEN_AI_LABELS, GEN_AI.errorType], GEN_AI_DURATION_S, {
    genAiDuration: 'gen_ai.server.request.duration Time from the request to the end of its answer.',
  }),
  ...histograms('s', GEN_AI_LABELS, GEN_AI_FIRST_TOKEN_S, {
    genAiFirstToken:
      'gen_ai.server.time_to_first_token Time from the request to its first token, for successful responses.',
  }),
  ...histograms('s', GEN_AI_LABELS, GEN_AI_PER_TOKEN_S, {
    genAiPerToken:
      'gen_ai.server.time_per_output_token Mean time per token after the first, for successful responses.',
  }),
  ...histograms('{token}', [...GEN_AI_LABELS, GEN_AI.tokenType], GEN_AI_TOKENS, {
    genAiTokens: 'gen_ai.client.token.usage Tokens per request.',
  }),
  // Usage. Only the busiest tenants and adapters appear by name; all others are "other".
  ...counters('{request}', [...TENANT, 'outcome'], {
    tenantRequests:
      'lorikeet_tenant_requests_total Generation requests, by tenant and outcome (ok, aborted or an error code).',
  }),
  ...counters('{token}', [...TENANT, 'type'], {
    tenantTokens: 'lorikeet_tenant_tokens_total Tokens, by tenant and type (input or output).',
  }),
  ...counters('{request}', [...ADAPTER, 'outcome'], {
    adapterRequests:
      'lorikeet_adapter_requests_total Generation requests with an adapter, by its owner, its name and the outcome.',
  }),
  ...counters('{token}', [...ADAPTER, 'type'], {
    adapterTokens:
      'lorikeet_adapter_tokens_total Tokens of requests with an adapter, by type (input or output).',
  }),
  // The tiers of adapters.
  ...counters('{adapter}', TIER, {
    cacheHits:
      'lorikeet_adapter_cache_hits_total Lookups that found the adapter in a tier (ram or disk).',
    cacheMisses:
      'lorikeet_adapter_cache_misses_total Lookups that did not find the adapter in a tier.',
    cacheEvictions: 'lorikeet_adapter_cache_evictions_total Adapters evicted from a tier.',
  }),
  ...counters('{adapter}', [...TIER, 'outcome'], {
    cacheLoads:
      'lorikeet_adapter_cache_loads_total Finished loads into a tier, by outcome (ok or failed).',
  }),
  ...gauges('By', TIER, {
    cacheBytes: 'lorikeet_adapter_cache_bytes Bytes of adapters in a tier.',
  }),
  ...gauges('{adapter}', TIER, {
    cacheAdapters:
      'lorikeet_adapter_cache_adapters Adapters in a tier; slot means attached to the engine.',
  }),
  ...gauges('{adapter}', NONE, {
    fetches:
      'lorikeet_adapter_fetches Adapters that are being fetched from the store or are waiting for it.',
  }),
  ...gauges('1', NONE, {
    storePaused:
      'lorikeet_store_breaker_open Whether fetches from the store are paused because it does not answer.',
  }),
  ...histograms('s', TIER, LATENCY_S, {
    loadDuration:
      'lorikeet_adapter_load_duration_seconds Time until a request had its adapter in memory, by the tier that had it.',
  }),
  ...gauges('1', NONE, {
    limitsShared:
      'lorikeet_limits_shared Whether servers share the limits of tenants; 0 while the ledger of --limits does not answer.',
  }),
  // The HTTP server.
  ...counters('{request}', ['method', 'route', 'status', 'code'], {
    httpResponses: 'lorikeet_http_responses_total HTTP responses, by route, status and error code.',
  }),
  ...gauges('1', NONE, {
    engineReady: 'lorikeet_engine_ready Whether the engine process is ready.',
  }),
  ...counters('s', NONE, {
    engineCpu: 'lorikeet_engine_cpu_seconds_total CPU time of the engine process.',
  }),
  ...gauges('By', NONE, {
    engineMemory: 'lorikeet_engine_resident_memory_bytes Resident memory of the engine process.',
  }),
  ...gauges('s', ['process', 'phase'], {
    startPhase:
      'lorikeet_start_phase_seconds Duration of each phase of the start, by process (server or engine).',
  }),
  ...gauges('1', ['version', 'node', 'model_name', 'base_digest'], {
    build: 'lorikeet_build_info Version of the server and its base; the value is always 1.',
  }),
  ...gauges('1', ['provider', 'weights', 'kv', 'int8_operator'], {
    engine:
      'lorikeet_engine_info How the engine computes: provider, formats of weights and KV cache, and the instruction set of its own operator for int8 weights; the value is always 1.',
  }),
  ...gauges('1', ['model', 'cores', 'features'], {
    processor:
      'lorikeet_processor_info The CPU, its cores and its instruction sets, the fastest for 8-bit products first; the value is always 1.',
  }),
  // The server process, under the names that dashboards for Node look for.
  ...counters('s', NONE, {
    cpu: 'process_cpu_seconds_total CPU time of the server process.',
  }),
  ...gauges('By', NONE, {
    residentMemory: 'process_resident_memory_bytes Resident memory of the server process.',
    heapUsed: 'nodejs_heap_size_used_bytes Used heap of the server process.',
    externalMemory:
      'nodejs_external_memory_bytes Memory outside the heap that JavaScript objects hold.',
  }),
  ...gauges('s', NONE, {
    startTime: 'process_start_time_seconds Unix time of the start of the server process.',
    loopLagP50: 'nodejs_eventloop_lag_p50_seconds Median event loop delay since the last scrape.',
    loopLagP99:
      'nodejs_eventloop_lag_p99_seconds 99th percentile of the event loop delay since the last scrape.',
    loopLagMax: 'nodejs_eventloop_lag_max_seconds Longest event loop delay since the last scrape.',
  }),
  ...counters('{line}', NONE, {
    logLinesDropped:
      'lorikeet_log_lines_dropped_total Lines of the log that were dropped because their reader was too slow or gone.',
  }),
} satisfies Record<string, Instrument>;

/** The metrics that routers and autoscalers read. None has the name of a tenant as a label. */
export const ROUTER_METRICS = [
  ...(['engineReady', 'requestsRunning', 'requestsWaiting', 'kvSlots'] as const),
  ...(['kvCacheUsage', 'oldKvCacheUsage', 'loraRequests', 'cacheConfig'] as const),
  ...(['promptTokens', 'generationTokens', 'requestSuccess'] as const),
  ...(['prefixQueries', 'prefixHits', 'oldPrefixQueries', 'oldPrefixHits'] as const),
  ...(['timeToFirstToken', 'timePerOutputToken', 'queueTime'] as const),
] satisfies readonly InstrumentId[];

/** The id of a metric. */
export type InstrumentId = keyof typeof INSTRUMENTS;
type IdOf<Kind> = {
  [I in InstrumentId]: (typeof INSTRUMENTS)[I]['kind'] extends Kind ? I : never;
}[InstrumentId];
/** The id of a counter. */
export type CounterId = IdOf<'counter'>;
/** The id of a histogram. */
export type HistogramId = IdOf<'histogram'>;
/** The id of a metric whose value can be set: a gauge, or a counter that another process maintains. */
export type SettableId = IdOf<'counter' | 'gauge'>;
/** The label values of a metric. */
export type LabelsOf<I extends InstrumentId> = Readonly<
  Record<(typeof INSTRUMENTS)[I]['labels'][number], string>
>;

const PROMETHEUS_SUFFIX: Partial<Record<Instrument['unit'], string>> = { s: '_seconds' };

/** Returns the name in Prometheus. By OpenTelemetry's rules, dots become underscores and the unit becomes a suffix. */
export function toPrometheusName({ name, unit }: Instrument): string {
  if (!name.includes('.')) return name;
  return `${toPrometheusLabel(name)}${PROMETHEUS_SUFFIX[unit] ?? ''}`;
}

/** Returns the name of a label in Prometheus. */
export function toPrometheusLabel(name: string): string {
  return name.replaceAll('.', '_');
}
