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

export const INSTRUMENTS = {
  // What routers and autoscalers read.
  requestsRunning: {
    kind: 'gauge',
    name: 'vllm:num_requests_running',
    unit: '{request}',
    help: 'Sequences that own a KV slot.',
    labels: MODEL,
  },
  requestsWaiting: {
    kind: 'gauge',
    name: 'vllm:num_requests_waiting',
    unit: '{request}',
    help: 'Sequences that wait for a KV slot or for their adapter.',
    labels: MODEL,
  },
  kvCacheUsage: {
    kind: 'gauge',
    name: 'vllm:kv_cache_usage_perc',
    unit: '1',
    help: 'Share of KV positions in use, 0 to 1.',
    labels: MODEL,
  },
  loraRequests: {
    kind: 'gauge',
    name: 'vllm:lora_requests_info',
    unit: 's',
    help: 'Adapters that are attached to the engine and that are waited for, by name; the value is the Unix time of the last change.',
    labels: ['max_lora', 'running_lora_adapters', 'waiting_lora_adapters'],
  },
  cacheConfig: {
    kind: 'gauge',
    name: 'vllm:cache_config_info',
    unit: '1',
    help: 'The KV cache: a block is a KV slot, which holds one sequence.',
    labels: ['model_name', 'block_size', 'num_gpu_blocks', 'cache_dtype'],
  },
  // Work, in the engine's own count.
  promptTokens: {
    kind: 'counter',
    name: 'vllm:prompt_tokens_total',
    unit: '{token}',
    help: 'Prompt tokens that were prefilled.',
    labels: MODEL,
  },
  generationTokens: {
    kind: 'counter',
    name: 'vllm:generation_tokens_total',
    unit: '{token}',
    help: 'Tokens that were generated.',
    labels: MODEL,
  },
  steps: {
    kind: 'counter',
    name: 'lorikeet_engine_steps_total',
    unit: '{step}',
    help: 'Steps of the engine.',
    labels: NONE,
  },
  nonFiniteRows: {
    kind: 'counter',
    name: 'lorikeet_non_finite_rows_total',
    unit: '{row}',
    help: 'Rows that were ended because their logits were not finite.',
    labels: NONE,
  },
  // Requests.
  requestSuccess: {
    kind: 'counter',
    name: 'vllm:request_success_total',
    unit: '{request}',
    help: 'Sequences that ended well, by why they ended; abort: the client left.',
    labels: ['model_name', 'finished_reason'],
  },
  timeToFirstToken: {
    kind: 'histogram',
    name: 'vllm:time_to_first_token_seconds',
    unit: 's',
    help: 'From the request to the first token of a sequence.',
    labels: MODEL,
    buckets: LATENCY_S,
  },
  timePerOutputToken: {
    kind: 'histogram',
    name: 'vllm:time_per_output_token_seconds',
    unit: 's',
    help: 'Between two tokens of a sequence.',
    labels: MODEL,
    buckets: PER_TOKEN_S,
  },
  requestLatency: {
    kind: 'histogram',
    name: 'vllm:e2e_request_latency_seconds',
    unit: 's',
    help: 'From the request to the end of a sequence.',
    labels: MODEL,
    buckets: LATENCY_S,
  },
  queueTime: {
    kind: 'histogram',
    name: 'vllm:request_queue_time_seconds',
    unit: 's',
    help: 'From the request to the start of its prefill, the load of its adapter included.',
    labels: MODEL,
    buckets: LATENCY_S,
  },
  prefillTime: {
    kind: 'histogram',
    name: 'vllm:request_prefill_time_seconds',
    unit: 's',
    help: 'From the start of the prefill to the first token.',
    labels: MODEL,
    buckets: LATENCY_S,
  },
  decodeTime: {
    kind: 'histogram',
    name: 'vllm:request_decode_time_seconds',
    unit: 's',
    help: 'From the first token to the end.',
    labels: MODEL,
    buckets: LATENCY_S,
  },
  inferenceTime: {
    kind: 'histogram',
    name: 'vllm:request_inference_time_seconds',
    unit: 's',
    help: 'From the start of the prefill to the end.',
    labels: MODEL,
    buckets: LATENCY_S,
  },
  genAiDuration: {
    kind: 'histogram',
    name: 'gen_ai.server.request.duration',
    unit: 's',
    help: 'From the request to the end of its answer.',
    labels: [...GEN_AI_LABELS, GEN_AI.errorType],
    buckets: GEN_AI_DURATION_S,
  },
  genAiFirstToken: {
    kind: 'histogram',
    name: 'gen_ai.server.time_to_first_token',
    unit: 's',
    help: 'From the request to its first token; answers that succeeded.',
    labels: GEN_AI_LABELS,
    buckets: GEN_AI_FIRST_TOKEN_S,
  },
  genAiPerToken: {
    kind: 'histogram',
    name: 'gen_ai.server.time_per_output_token',
    unit: 's',
    help: 'Mean time of a token after the first; answers that succeeded.',
    labels: GEN_AI_LABELS,
    buckets: GEN_AI_PER_TOKEN_S,
  },
  genAiTokens: {
    kind: 'histogram',
    name: 'gen_ai.client.token.usage',
    unit: '{token}',
    help: 'Tokens of a request.',
    labels: [...GEN_AI_LABELS, GEN_AI.tokenType],
    buckets: GEN_AI_TOKENS,
  },
  // Who uses it: the busiest by name, all others as "other".
  tenantRequests: {
    kind: 'counter',
    name: 'lorikeet_tenant_requests_total',
    unit: '{request}',
    help: 'Requests to generate, by tenant and outcome (ok, aborted or an error code).',
    labels: [...TENANT, 'outcome'],
  },
  tenantTokens: {
    kind: 'counter',
    name: 'lorikeet_tenant_tokens_total',
    unit: '{token}',
    help: 'Tokens, by tenant and type (input or output).',
    labels: [...TENANT, 'type'],
  },
  adapterRequests: {
    kind: 'counter',
    name: 'lorikeet_adapter_requests_total',
    unit: '{request}',
    help: 'Requests to generate with an adapter, by its owner and name, and outcome.',
    labels: [...ADAPTER, 'outcome'],
  },
  adapterTokens: {
    kind: 'counter',
    name: 'lorikeet_adapter_tokens_total',
    unit: '{token}',
    help: 'Tokens of requests with an adapter, by type (input or output).',
    labels: [...ADAPTER, 'type'],
  },
  // Adapters on their way through the tiers.
  cacheHits: {
    kind: 'counter',
    name: 'lorikeet_adapter_cache_hits_total',
    unit: '{adapter}',
    help: 'Adapters that were found in a tier (ram or disk).',
    labels: TIER,
  },
  cacheMisses: {
    kind: 'counter',
    name: 'lorikeet_adapter_cache_misses_total',
    unit: '{adapter}',
    help: 'Adapters that were not in a tier.',
    labels: TIER,
  },
  cacheEvictions: {
    kind: 'counter',
    name: 'lorikeet_adapter_cache_evictions_total',
    unit: '{adapter}',
    help: 'Adapters that made room in a tier.',
    labels: TIER,
  },
  cacheLoads: {
    kind: 'counter',
    name: 'lorikeet_adapter_cache_loads_total',
    unit: '{adapter}',
    help: 'Loads into a tier that ended, by outcome (ok or failed).',
    labels: [...TIER, 'outcome'],
  },
  cacheBytes: {
    kind: 'gauge',
    name: 'lorikeet_adapter_cache_bytes',
    unit: 'By',
    help: 'Bytes of adapters in a tier.',
    labels: TIER,
  },
  cacheAdapters: {
    kind: 'gauge',
    name: 'lorikeet_adapter_cache_adapters',
    unit: '{adapter}',
    help: 'Adapters in a tier (slot: attached to the engine).',
    labels: TIER,
  },
  loadDuration: {
    kind: 'histogram',
    name: 'lorikeet_adapter_load_duration_seconds',
    unit: 's',
    help: 'Until a request had its adapter in memory, by the tier where it was found.',
    labels: TIER,
    buckets: LATENCY_S,
  },
  // The server.
  httpResponses: {
    kind: 'counter',
    name: 'lorikeet_http_responses_total',
    unit: '{request}',
    help: "HTTP answers, by route, status and the error's code.",
    labels: ['method', 'route', 'status', 'code'],
  },
  engineReady: {
    kind: 'gauge',
    name: 'lorikeet_engine_ready',
    unit: '1',
    help: 'Whether the engine process answers.',
    labels: NONE,
  },
  engineMemory: {
    kind: 'gauge',
    name: 'lorikeet_engine_resident_memory_bytes',
    unit: 'By',
    help: 'Memory of the engine process.',
    labels: NONE,
  },
  build: {
    kind: 'gauge',
    name: 'lorikeet_build_info',
    unit: '1',
    help: 'What runs: always 1.',
    labels: ['version', 'node', 'model_name', 'base_digest'],
  },
  // The server's process, by the names that dashboards of Node look for.
  cpu: {
    kind: 'counter',
    name: 'process_cpu_seconds_total',
    unit: 's',
    help: 'CPU time of the server process.',
    labels: NONE,
  },
  residentMemory: {
    kind: 'gauge',
    name: 'process_resident_memory_bytes',
    unit: 'By',
    help: 'Memory of the server process.',
    labels: NONE,
  },
  startTime: {
    kind: 'gauge',
    name: 'process_start_time_seconds',
    unit: 's',
    help: 'Unix time at which the server process began.',
    labels: NONE,
  },
  heapUsed: {
    kind: 'gauge',
    name: 'nodejs_heap_size_used_bytes',
    unit: 'By',
    help: 'Used heap of the server process.',
    labels: NONE,
  },
  externalMemory: {
    kind: 'gauge',
    name: 'nodejs_external_memory_bytes',
    unit: 'By',
    help: 'Memory outside of the heap that JavaScript holds.',
    labels: NONE,
  },
  loopLagP50: {
    kind: 'gauge',
    name: 'nodejs_eventloop_lag_p50_seconds',
    unit: 's',
    help: 'Median delay of the event loop since the scrape before.',
    labels: NONE,
  },
  loopLagP99: {
    kind: 'gauge',
    name: 'nodejs_eventloop_lag_p99_seconds',
    unit: 's',
    help: '99th percentile of the delay of the event loop since the scrape before.',
    labels: NONE,
  },
  loopLagMax: {
    kind: 'gauge',
    name: 'nodejs_eventloop_lag_max_seconds',
    unit: 's',
    help: 'Longest delay of the event loop since the scrape before.',
    labels: NONE,
  },
} as const satisfies Record<string, Instrument>;

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

const PROMETHEUS_SUFFIX: Partial<Record<Instrument['unit'], string>> = { s: '_seconds' };

/** By OpenTelemetry's rules: dots become underscores, the unit is a suffix. */
export function toPrometheusName({ name, unit }: Instrument): string {
  if (!name.includes('.')) return name;
  return `${toPrometheusLabel(name)}${PROMETHEUS_SUFFIX[unit] ?? ''}`;
}

export function toPrometheusLabel(name: string): string {
  return name.replaceAll('.', '_');
}
