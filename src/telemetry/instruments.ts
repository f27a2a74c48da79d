// Every metric that lorikeet gives, a row each: what /metrics and OTLP show comes from this table. The names of vLLM are
// those that routers (Gateway API Inference Extension), autoscalers (KEDA) and dashboards look for; gen_ai.* are
// OpenTelemetry's; all others are ours or the usual ones of a process. Knows no values.
import { GEN_AI } from './gen-ai.ts';

export interface Instrument {
  readonly kind: 'counter' | 'gauge' | 'histogram';
  /** With dots: OpenTelemetry's form, of which Prometheus's is made. Without: the same in both. */
  readonly name: string;
  /** UCUM. */
  readonly unit: 's' | 'By' | '1' | '{token}' | '{request}' | '{adapter}' | '{row}' | '{step}';
  readonly help: string;
  readonly labels: readonly string[];
  /** Of a histogram: upper bounds, ascending, without infinity. */
  readonly buckets?: readonly number[];
}

const LATENCY_S = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160,
];
const PER_TOKEN_S = [0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5];
/** As the conventions advise, each. */
const GEN_AI_DURATION_S = Array.from({ length: 14 }, (_, i) => 2 ** i / 100);
const GEN_AI_FIRST_TOKEN_S = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
];
const GEN_AI_PER_TOKEN_S = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5];
const GEN_AI_TOKENS = Array.from({ length: 14 }, (_, i) => 4 ** i);

const MODEL = ['model_name'] as const;
const TENANT = ['tenant'] as const;
/** `adapter` is its name without version; its owner is the other half of it. */
const ADAPTER = ['tenant', 'adapter'] as const;
const TIER = ['tier'] as const;
const NONE = [] as const;
const GEN_AI_LABELS = [GEN_AI.operation, GEN_AI.provider, GEN_AI.requestModel] as const;

const counter = instrument('counter');
const gauge = instrument('gauge');

export const INSTRUMENTS = {
  // What routers and autoscalers read.
  requestsRunning: gauge(
    'vllm:num_requests_running',
    '{request}',
    'Sequences that own a KV slot.',
    MODEL,
  ),
  requestsWaiting: gauge(
    'vllm:num_requests_waiting',
    '{request}',
    'Sequences that wait for a KV slot or for their adapter.',
    MODEL,
  ),
  kvCacheUsage: gauge(
    'vllm:kv_cache_usage_perc',
    '1',
    'Share of KV positions in use, 0 to 1.',
    MODEL,
  ),
  loraRequests: gauge(
    'vllm:lora_requests_info',
    's',
    'Adapters that are attached to the engine and that are waited for, by name; the value is the Unix time of the last change.',
    ['max_lora', 'running_lora_adapters', 'waiting_lora_adapters'],
  ),
  cacheConfig: gauge(
    'vllm:cache_config_info',
    '1',
    'The KV cache: a block is a KV slot, which holds one sequence.',
    ['model_name', 'block_size', 'num_gpu_blocks', 'cache_dtype'],
  ),
  // Work, in the engine's own count.
  promptTokens: counter(
    'vllm:prompt_tokens_total',
    '{token}',
    'Prompt tokens that were prefilled.',
    MODEL,
  ),
  generationTokens: counter(
    'vllm:generation_tokens_total',
    '{token}',
    'Tokens that were generated.',
    MODEL,
  ),
  steps: counter('lorikeet_engine_steps_total', '{step}', 'Steps of the engine.', NONE),
  nonFiniteRows: counter(
    'lorikeet_non_finite_rows_total',
    '{row}',
    'Rows that were ended because their logits were not finite.',
    NONE,
  ),
  // Requests.
  requestSuccess: counter(
    'vllm:request_success_total',
    '{request}',
    'Sequences that ended well, by why they ended; abort: the client left.',
    ['model_name', 'finished_reason'],
  ),
  timeToFirstToken: histogram(
    'vllm:time_to_first_token_seconds',
    's',
    'From the request to the first token of a sequence.',
    MODEL,
    LATENCY_S,
  ),
  timePerOutputToken: histogram(
    'vllm:time_per_output_token_seconds',
    's',
    'Between two tokens of a sequence.',
    MODEL,
    PER_TOKEN_S,
  ),
  requestLatency: histogram(
    'vllm:e2e_request_latency_seconds',
    's',
    'From the request to the end of a sequence.',
    MODEL,
    LATENCY_S,
  ),
  queueTime: histogram(
    'vllm:request_queue_time_seconds',
    's',
    'From the request to the start of its prefill, the load of its adapter included.',
    MODEL,
    LATENCY_S,
  ),
  prefillTime: histogram(
    'vllm:request_prefill_time_seconds',
    's',
    'From the start of the prefill to the first token.',
    MODEL,
    LATENCY_S,
  ),
  decodeTime: histogram(
    'vllm:request_decode_time_seconds',
    's',
    'From the first token to the end.',
    MODEL,
    LATENCY_S,
  ),
  inferenceTime: histogram(
    'vllm:request_inference_time_seconds',
    's',
    'From the start of the prefill to the end.',
    MODEL,
    LATENCY_S,
  ),
  genAiDuration: histogram(
    'gen_ai.server.request.duration',
    's',
    'From the request to the end of its answer.',
    [...GEN_AI_LABELS, GEN_AI.errorType],
    GEN_AI_DURATION_S,
  ),
  genAiFirstToken: histogram(
    'gen_ai.server.time_to_first_token',
    's',
    'From the request to its first token; answers that succeeded.',
    GEN_AI_LABELS,
    GEN_AI_FIRST_TOKEN_S,
  ),
  genAiPerToken: histogram(
    'gen_ai.server.time_per_output_token',
    's',
    'Mean time of a token after the first; answers that succeeded.',
    GEN_AI_LABELS,
    GEN_AI_PER_TOKEN_S,
  ),
  genAiTokens: histogram(
    'gen_ai.client.token.usage',
    '{token}',
    'Tokens of a request.',
    [...GEN_AI_LABELS, GEN_AI.tokenType],
    GEN_AI_TOKENS,
  ),
  // Who uses it: the busiest by name, all others as "other".
  tenantRequests: counter(
    'lorikeet_tenant_requests_total',
    '{request}',
    'Requests to generate, by tenant and outcome (ok, aborted or an error code).',
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
    'Requests to generate with an adapter, by its owner and name, and outcome.',
    [...ADAPTER, 'outcome'],
  ),
  adapterTokens: counter(
    'lorikeet_adapter_tokens_total',
    '{token}',
    'Tokens of requests with an adapter, by type (input or output).',
    [...ADAPTER, 'type'],
  ),
  // Adapters on their way through the tiers.
  cacheHits: counter(
    'lorikeet_adapter_cache_hits_total',
    '{adapter}',
    'Adapters that were found in a tier (ram or disk).',
    TIER,
  ),
  cacheMisses: counter(
    'lorikeet_adapter_cache_misses_total',
    '{adapter}',
    'Adapters that were not in a tier.',
    TIER,
  ),
  cacheEvictions: counter(
    'lorikeet_adapter_cache_evictions_total',
    '{adapter}',
    'Adapters that made room in a tier.',
    TIER,
  ),
  cacheLoads: counter(
    'lorikeet_adapter_cache_loads_total',
    '{adapter}',
    'Loads into a tier that ended, by outcome (ok or failed).',
    [...TIER, 'outcome'],
  ),
  cacheBytes: gauge('lorikeet_adapter_cache_bytes', 'By', 'Bytes of adapters in a tier.', TIER),
  cacheAdapters: gauge(
    'lorikeet_adapter_cache_adapters',
    '{adapter}',
    'Adapters in a tier (slot: attached to the engine).',
    TIER,
  ),
  fetches: gauge(
    'lorikeet_adapter_fetches',
    '{adapter}',
    'Adapters that are being fetched from the store, or wait for it.',
    NONE,
  ),
  storePaused: gauge(
    'lorikeet_store_breaker_open',
    '1',
    'Whether the store is not asked for a while, as it does not answer.',
    NONE,
  ),
  loadDuration: histogram(
    'lorikeet_adapter_load_duration_seconds',
    's',
    'Until a request had its adapter in memory, by the tier where it was found.',
    TIER,
    LATENCY_S,
  ),
  // The server.
  httpResponses: counter(
    'lorikeet_http_responses_total',
    '{request}',
    "HTTP answers, by route, status and the error's code.",
    ['method', 'route', 'status', 'code'],
  ),
  engineReady: gauge('lorikeet_engine_ready', '1', 'Whether the engine process answers.', NONE),
  engineMemory: gauge(
    'lorikeet_engine_resident_memory_bytes',
    'By',
    'Memory of the engine process.',
    NONE,
  ),
  startPhase: gauge(
    'lorikeet_start_phase_seconds',
    's',
    'What a process did until it was ready (server or engine), in order.',
    ['process', 'phase'],
  ),
  build: gauge('lorikeet_build_info', '1', 'What runs: always 1.', [
    'version',
    'node',
    'model_name',
    'base_digest',
  ]),
  // The server's process, by the names that dashboards of Node look for.
  cpu: counter('process_cpu_seconds_total', 's', 'CPU time of the server process.', NONE),
  residentMemory: gauge(
    'process_resident_memory_bytes',
    'By',
    'Memory of the server process.',
    NONE,
  ),
  startTime: gauge(
    'process_start_time_seconds',
    's',
    'Unix time at which the server process began.',
    NONE,
  ),
  heapUsed: gauge('nodejs_heap_size_used_bytes', 'By', 'Used heap of the server process.', NONE),
  externalMemory: gauge(
    'nodejs_external_memory_bytes',
    'By',
    'Memory outside of the heap that JavaScript holds.',
    NONE,
  ),
  loopLagP50: gauge(
    'nodejs_eventloop_lag_p50_seconds',
    's',
    'Median delay of the event loop since the scrape before.',
    NONE,
  ),
  loopLagP99: gauge(
    'nodejs_eventloop_lag_p99_seconds',
    's',
    '99th percentile of the delay of the event loop since the scrape before.',
    NONE,
  ),
  loopLagMax: gauge(
    'nodejs_eventloop_lag_max_seconds',
    's',
    'Longest delay of the event loop since the scrape before.',
    NONE,
  ),
} satisfies Record<string, Instrument>;

export type InstrumentId = keyof typeof INSTRUMENTS;
type IdOf<Kind> = {
  [I in InstrumentId]: (typeof INSTRUMENTS)[I]['kind'] extends Kind ? I : never;
}[InstrumentId];
export type CounterId = IdOf<'counter'>;
export type HistogramId = IdOf<'histogram'>;
/** Of what is set and not added to; the totals of another process are, too. */
export type SettableId = IdOf<'counter' | 'gauge'>;
export type LabelsOf<I extends InstrumentId> = Readonly<
  Record<(typeof INSTRUMENTS)[I]['labels'][number], string>
>;

function instrument<K extends 'counter' | 'gauge'>(kind: K) {
  return <const L extends readonly string[]>(
    name: string,
    unit: Instrument['unit'],
    help: string,
    labels: L,
  ) => ({ kind, name, unit, help, labels });
}

function histogram<const L extends readonly string[]>(
  name: string,
  unit: Instrument['unit'],
  help: string,
  labels: L,
  buckets: readonly number[],
) {
  return { kind: 'histogram' as const, name, unit, help, labels, buckets };
}

const PROMETHEUS_SUFFIX: Partial<Record<Instrument['unit'], string>> = { s: '_seconds' };

/** By OpenTelemetry's rules: dots become underscores, the unit is a suffix. */
export function toPrometheusName({ name, unit }: Instrument): string {
  if (!name.includes('.')) return name;
  return `${toPrometheusLabel(name)}${PROMETHEUS_SUFFIX[unit] ?? ''}`;
}

export function toPrometheusLabel(name: string): string {
  return name.replaceAll('.', '_');
}
