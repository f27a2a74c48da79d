// The table of all metrics, one row each; /metrics and OTLP show what is in it. vLLM's names are those that routers (Gateway
// API Inference Extension), autoscalers (KEDA) and dashboards look for. Names with gen_ai.* are OpenTelemetry's. All others
// are lorikeet's own or the usual ones of a process. Knows no values.
import { GEN_AI } from './gen-ai.ts';
import { counter, gauge, histogram, type Instrument } from './instrument.ts';

const LATENCY_S = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160,
];
const PER_TOKEN_S = [0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5];
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

/** All metrics by id. */
export const INSTRUMENTS = {
  // For routers and autoscalers.
  requestsRunning: gauge(
    'vllm:num_requests_running',
    '{request}',
    'Sequences that have a KV slot.',
    MODEL,
  ),
  requestsWaiting: gauge(
    'vllm:num_requests_waiting',
    '{request}',
    'Sequences that wait for a KV slot or an adapter.',
    MODEL,
  ),
  kvCacheUsage: gauge(
    'vllm:kv_cache_usage_perc',
    '1',
    'Share of the KV cache in use, 0 to 1.',
    MODEL,
  ),
  loraRequests: gauge(
    'vllm:lora_requests_info',
    's',
    'Names of the adapters that are attached to the engine and of those that requests wait for; the value is the Unix time of the last change.',
    ['max_lora', 'running_lora_adapters', 'waiting_lora_adapters'],
  ),
  cacheConfig: gauge(
    'vllm:cache_config_info',
    '1',
    'Size of the KV cache; a block is a KV slot, which holds one sequence.',
    ['model_name', 'block_size', 'num_gpu_blocks', 'cache_dtype'],
  ),
  // Work, as the engine counts it.
  promptTokens: counter(
    'vllm:prompt_tokens_total',
    '{token}',
    'Prompt tokens, computed or from the prefix cache.',
    MODEL,
  ),
  generationTokens: counter('vllm:generation_tokens_total', '{token}', 'Generated tokens.', MODEL),
  drafts: counter(
    'vllm:spec_decode_num_drafts_total',
    '{row}',
    'Drafts of several tokens that a run verified.',
    MODEL,
  ),
  draftTokens: counter(
    'vllm:spec_decode_num_draft_tokens_total',
    '{token}',
    'Tokens of drafts.',
    MODEL,
  ),
  acceptedDraftTokens: counter(
    'vllm:spec_decode_num_accepted_tokens_total',
    '{token}',
    'Tokens of drafts that were accepted.',
    MODEL,
  ),
  forcedTokens: counter(
    'lorikeet_forced_tokens_total',
    '{token}',
    'Tokens that a grammar forced and that needed no step of their own.',
    MODEL,
  ),
  prefixQueries: counter(
    'vllm:prefix_cache_queries_total',
    '{token}',
    'Tokens of the prompts that were looked up in the prefix cache.',
    MODEL,
  ),
  prefixHits: counter(
    'vllm:prefix_cache_hits_total',
    '{token}',
    'Prompt tokens that the prefix cache had.',
    MODEL,
  ),
  prefixBytes: gauge('lorikeet_prefix_cache_bytes', 'By', 'Bytes in the prefix cache.', NONE),
  prefixCapacity: gauge(
    'lorikeet_prefix_cache_capacity_bytes',
    'By',
    'The most bytes of the prefix cache; 0 if it is off.',
    NONE,
  ),
  prefixEvictions: counter(
    'lorikeet_prefix_cache_evictions_total',
    '{block}',
    'Blocks of 16 tokens evicted from the prefix cache.',
    NONE,
  ),
  steps: counter('lorikeet_engine_steps_total', '{step}', 'Engine steps.', NONE),
  nonFiniteRows: counter(
    'lorikeet_non_finite_rows_total',
    '{row}',
    'Rows that ended because their logits were not finite.',
    NONE,
  ),
  // Requests.
  requestSuccess: counter(
    'vllm:request_success_total',
    '{request}',
    'Finished sequences, by the reason; abort means that the client left.',
    ['model_name', 'finished_reason'],
  ),
  timeToFirstToken: histogram(
    'vllm:time_to_first_token_seconds',
    's',
    'Time from the request to the first token of a sequence.',
    MODEL,
    LATENCY_S,
  ),
  timePerOutputToken: histogram(
    'vllm:time_per_output_token_seconds',
    's',
    'Time between two tokens of a sequence.',
    MODEL,
    PER_TOKEN_S,
  ),
  requestLatency: histogram(
    'vllm:e2e_request_latency_seconds',
    's',
    'Time from the request to the end of a sequence.',
    MODEL,
    LATENCY_S,
  ),
  queueTime: histogram(
    'vllm:request_queue_time_seconds',
    's',
    'Time from the request to the start of its prefill, including the load of its adapter.',
    MODEL,
    LATENCY_S,
  ),
  prefillTime: histogram(
    'vllm:request_prefill_time_seconds',
    's',
    'Time from the start of the prefill to the first token.',
    MODEL,
    LATENCY_S,
  ),
  decodeTime: histogram(
    'vllm:request_decode_time_seconds',
    's',
    'Time from the first token to the end of the sequence.',
    MODEL,
    LATENCY_S,
  ),
  inferenceTime: histogram(
    'vllm:request_inference_time_seconds',
    's',
    'Time from the start of the prefill to the end of the sequence.',
    MODEL,
    LATENCY_S,
  ),
  genAiDuration: histogram(
    'gen_ai.server.request.duration',
    's',
    'Time from the request to the end of its answer.',
    [...GEN_AI_LABELS, GEN_AI.errorType],
    GEN_AI_DURATION_S,
  ),
  genAiFirstToken: histogram(
    'gen_ai.server.time_to_first_token',
    's',
    'Time from the request to its first token, for successful answers.',
    GEN_AI_LABELS,
    GEN_AI_FIRST_TOKEN_S,
  ),
  genAiPerToken: histogram(
    'gen_ai.server.time_per_output_token',
    's',
    'Mean time per token after the first, for successful answers.',
    GEN_AI_LABELS,
    GEN_AI_PER_TOKEN_S,
  ),
  genAiTokens: histogram(
    'gen_ai.client.token.usage',
    '{token}',
    'Tokens per request.',
    [...GEN_AI_LABELS, GEN_AI.tokenType],
    GEN_AI_TOKENS,
  ),
  // Usage. The busiest tenants and adapters have their names, all others are "other".
  tenantRequests: counter(
    'lorikeet_tenant_requests_total',
    '{request}',
    'Generation requests, by tenant and outcome (ok, aborted or an error code).',
    [...TENANT, 'outcome'],
  ),
  tenantTokens: counter(
    'lorikeet_tenant_tokens_total',
    '{token}',
    'Tokens, by tenant and type (input or output).',
    [...TENANT, 'type'],
  ),
  adapterRequests: counter(
    'lorikeet_adapter_requests_total',
    '{request}',
    'Generation requests with an adapter, by its owner, its name and the outcome.',
    [...ADAPTER, 'outcome'],
  ),
  adapterTokens: counter(
    'lorikeet_adapter_tokens_total',
    '{token}',
    'Tokens of requests with an adapter, by type (input or output).',
    [...ADAPTER, 'type'],
  ),
  // The tiers of adapters.
  cacheHits: counter(
    'lorikeet_adapter_cache_hits_total',
    '{adapter}',
    'Lookups that found the adapter in a tier (ram or disk).',
    TIER,
  ),
  cacheMisses: counter(
    'lorikeet_adapter_cache_misses_total',
    '{adapter}',
    'Lookups that did not find the adapter in a tier.',
    TIER,
  ),
  cacheEvictions: counter(
    'lorikeet_adapter_cache_evictions_total',
    '{adapter}',
    'Adapters evicted from a tier.',
    TIER,
  ),
  cacheLoads: counter(
    'lorikeet_adapter_cache_loads_total',
    '{adapter}',
    'Finished loads into a tier, by outcome (ok or failed).',
    [...TIER, 'outcome'],
  ),
  cacheBytes: gauge('lorikeet_adapter_cache_bytes', 'By', 'Bytes of adapters in a tier.', TIER),
  cacheAdapters: gauge(
    'lorikeet_adapter_cache_adapters',
    '{adapter}',
    'Adapters in a tier; slot means attached to the engine.',
    TIER,
  ),
  fetches: gauge(
    'lorikeet_adapter_fetches',
    '{adapter}',
    'Adapters that are being fetched from the store or wait for a fetch.',
    NONE,
  ),
  storePaused: gauge(
    'lorikeet_store_breaker_open',
    '1',
    'Whether fetches from the store are paused because it does not answer.',
    NONE,
  ),
  loadDuration: histogram(
    'lorikeet_adapter_load_duration_seconds',
    's',
    'Time until a request had its adapter in memory, by the tier that had it.',
    TIER,
    LATENCY_S,
  ),
  // The server.
  httpResponses: counter(
    'lorikeet_http_responses_total',
    '{request}',
    'HTTP responses, by route, status and error code.',
    ['method', 'route', 'status', 'code'],
  ),
  engineReady: gauge('lorikeet_engine_ready', '1', 'Whether the engine process is ready.', NONE),
  engineMemory: gauge(
    'lorikeet_engine_resident_memory_bytes',
    'By',
    'Resident memory of the engine process.',
    NONE,
  ),
  startPhase: gauge(
    'lorikeet_start_phase_seconds',
    's',
    'Duration of each phase of the start, by process (server or engine).',
    ['process', 'phase'],
  ),
  build: gauge(
    'lorikeet_build_info',
    '1',
    'Version of the server and its base; the value is always 1.',
    ['version', 'node', 'model_name', 'base_digest'],
  ),
  engine: gauge(
    'lorikeet_engine_info',
    '1',
    'How the engine computes: provider, formats of weights and KV cache, and the fewest token rows of a run for which int8 weights take the row form; the value is always 1.',
    ['provider', 'weights', 'kv', 'row_form_from'],
  ),
  processor: gauge(
    'lorikeet_processor_info',
    '1',
    'The processor, its cores and its instruction sets, the fastest for 8-bit products first; the value is always 1.',
    ['model', 'cores', 'features'],
  ),
  // The server process, with the names that dashboards for Node look for.
  cpu: counter('process_cpu_seconds_total', 's', 'CPU time of the server process.', NONE),
  residentMemory: gauge(
    'process_resident_memory_bytes',
    'By',
    'Resident memory of the server process.',
    NONE,
  ),
  startTime: gauge(
    'process_start_time_seconds',
    's',
    'Unix time of the start of the server process.',
    NONE,
  ),
  logLinesDropped: counter(
    'lorikeet_log_lines_dropped_total',
    '{line}',
    'Lines of the log that were dropped because their reader was too slow or gone.',
    NONE,
  ),
  heapUsed: gauge('nodejs_heap_size_used_bytes', 'By', 'Used heap of the server process.', NONE),
  externalMemory: gauge(
    'nodejs_external_memory_bytes',
    'By',
    'Memory outside the heap that JavaScript objects hold.',
    NONE,
  ),
  loopLagP50: gauge(
    'nodejs_eventloop_lag_p50_seconds',
    's',
    'Median event loop delay since the last scrape.',
    NONE,
  ),
  loopLagP99: gauge(
    'nodejs_eventloop_lag_p99_seconds',
    's',
    '99th percentile of the event loop delay since the last scrape.',
    NONE,
  ),
  loopLagMax: gauge(
    'nodejs_eventloop_lag_max_seconds',
    's',
    'Longest event loop delay since the last scrape.',
    NONE,
  ),
} satisfies Record<string, Instrument>;

/** The id of a metric. */
export type InstrumentId = keyof typeof INSTRUMENTS;
type IdOf<Kind> = {
  [I in InstrumentId]: (typeof INSTRUMENTS)[I]['kind'] extends Kind ? I : never;
}[InstrumentId];
/** The id of a counter. */
export type CounterId = IdOf<'counter'>;
/** The id of a histogram. */
export type HistogramId = IdOf<'histogram'>;
/** The id of a metric whose value can be set: a gauge, or a counter that another process counts. */
export type SettableId = IdOf<'counter' | 'gauge'>;
/** The label values of a metric. */
export type LabelsOf<I extends InstrumentId> = Readonly<
  Record<(typeof INSTRUMENTS)[I]['labels'][number], string>
>;

const PROMETHEUS_SUFFIX: Partial<Record<Instrument['unit'], string>> = { s: '_seconds' };

/** Returns the name in Prometheus: by OpenTelemetry's rules dots become underscores and the unit becomes a suffix. */
export function toPrometheusName({ name, unit }: Instrument): string {
  if (!name.includes('.')) return name;
  return `${toPrometheusLabel(name)}${PROMETHEUS_SUFFIX[unit] ?? ''}`;
}

/** Returns the name of a label in Prometheus. */
export function toPrometheusLabel(name: string): string {
  return name.replaceAll('.', '_');
}
