// The responses of routes that OpenAI's API lacks: tenants, tokens, published adapters, plans of jobs, and load.
import { z } from '@hono/zod-openapi';
import { adapterAboutSchema } from './adapter-about.ts';
import { hyperparametersSchema } from './fine-tuning-api.ts';
import { deletedOf, listOf, unixSeconds } from './openai.ts';

export const meSchema = z
  .object({
    object: z.literal('tenant'),
    id: z.string().describe('The tenant of the key'),
    is_admin: z.boolean().describe('Whether the key may use the admin routes'),
    is_read_only: z.boolean().describe('Whether the key may only send GET requests'),
    needs_key: z.boolean().describe('Whether this server rejects requests without a key'),
  })
  .openapi('Me');
/** The tenant of a request. */
export type Me = z.infer<typeof meSchema>;

const tenantKeySchema = z.object({
  id: z.string().describe('The public part of the key: lorikeet_ID_…'),
  name: z.string().nullable(),
  is_admin: z.boolean(),
  is_read_only: z.boolean(),
  created_at: unixSeconds,
});

const limit = z.int().nullable().describe('Null if unlimited');

const tenantSettingsSchema = z
  .object({
    object: z.literal('tenant.settings'),
    id: z.string().describe('The tenant'),
    default_model: z.string().nullable(),
    allowed_adapters: z.array(z.string()).nullable().describe('Null if it may use all'),
    weight: z.number().describe('Its share of the engine relative to other tenants'),
    limits: z.object({
      requests_per_minute: limit,
      tokens_per_minute: limit,
      concurrent_requests: limit,
    }),
    use: counts('requests', 'tokens', 'running').describe(
      'The last minute, as far as this server knows. Tokens include reserved ones',
    ),
    key_count: z.int(),
    keys: z.array(tenantKeySchema).describe('The newest first, at most 100; without secrets'),
  })
  .openapi('TenantSettings');
/** A tenant, with its limits and its keys. */
export type TenantSettings = z.infer<typeof tenantSettingsSchema>;

export const tenantListSchema = listOf(tenantSettingsSchema).openapi('TenantList');

export const prefetchSchema = z
  .object({
    id: z.string(),
    object: z.literal('adapter.prefetch'),
    adapter: z.string().describe('The digest of the adapter'),
    root: z.string().describe('A model name that always stands for these weights'),
    tier: z.string().describe('The tier that held the adapter: slot, ram, disk or store'),
    load_ms: z.int(),
    keep_warm_until: unixSeconds.nullable(),
  })
  .openapi('Prefetch');

export const tokenizedSchema = z
  .object({
    count: z.int(),
    max_model_len: z.int(),
    tokens: z.array(z.int()),
    token_strs: z.array(z.string()).nullable(),
  })
  .openapi('Tokenized');
/** The tokens of a prompt. */
export type Tokenized = z.infer<typeof tokenizedSchema>;

/** A prompt as a generation would get it, in vLLM's form. */
export const renderedSchema = z
  .object({
    request_id: z.string(),
    model: z.string(),
    token_ids: z.array(z.int()),
  })
  .openapi('Rendered');

export const detokenizedSchema = z.object({ prompt: z.string() }).openapi('Detokenized');

export const tokenizerInfoSchema = z
  .looseObject({ tokenizer_class: z.string() })
  .openapi('TokenizerInfo');

/** Describes an object of counts. */
function counts<const Name extends string>(...names: Name[]) {
  const fields = Object.fromEntries(names.map((name) => [name, z.int()]));
  return z.object(fields as Record<Name, z.ZodInt>);
}

const bucketsSchema = z
  .array(counts('count').extend({ le: z.number().nullable() }))
  .describe('Cumulative counts up to `le` seconds, which is null for infinity');

const cpuSeconds = z.number().describe('CPU time used so far, in seconds');

/** Totals since the server started. */
const totals = {
  time_to_first_token: bucketsSchema,
  inter_token_latency: bucketsSchema,
  errors: z
    .array(counts('count').extend({ code: z.string() }))
    .describe('Refused and failed requests by code, most first'),
};

/** The engine's figures for every key; CPU times are for operators. Totals count from the engine's start. */
export const engineFiguresSchema = counts(
  'running',
  'waiting',
  'slots',
  'steps',
  'prompt_tokens',
  'generated_tokens',
  'memory_bytes',
  'prefix_query_tokens',
  'prefix_hit_tokens',
  'prefix_bytes',
  'prefix_capacity_bytes',
).extend({ kv_usage: z.number().describe('Share of the KV cache, 0 to 1') });
/** The engine's figures. */
export type EngineFigures = z.infer<typeof engineFiguresSchema>;

export const tiersSchema = z
  .array(
    counts('bytes', 'hits', 'misses', 'evictions', 'failed')
      .partial()
      .extend({ tier: z.enum(['slot', 'ram', 'disk']), adapters: z.int() }),
  )
  .describe('The adapter cache; slots only have `adapters`');
/** The tiers of the adapter cache. */
export type Tiers = z.infer<typeof tiersSchema>;

export const metricsStatusSchema = z
  .object({
    object: z.literal('metrics.status'),
    is_ready: z.boolean(),
    engine: engineFiguresSchema
      .extend({ cpu_s: cpuSeconds })
      .nullable()
      .describe('Totals since the engine started; null until it has answered'),
    tiers: tiersSchema,
    server: counts('memory_bytes').extend({ started_at: z.number(), cpu_s: cpuSeconds }),
    trainer_cpu_s: cpuSeconds
      .nullable()
      .describe('The trainers on this machine; null if there are none'),
    machine_cpu_s: cpuSeconds
      .nullable()
      .describe('All processes on all cores of this machine; null if the system does not tell'),
    attached: z
      .array(z.string())
      .describe('Names of the adapters in slots, then of the ones in memory that were used last'),
    awaited: z.array(z.string()).describe('Adapters that requests wait for'),
    fetching: z.int().describe('Fetches from the store, running or waiting'),
    is_store_paused: z.boolean().describe('Whether the store does not answer'),
    usage: z
      .array(
        counts('requests', 'input_tokens', 'output_tokens').extend({
          model: z.string(),
          tenant: z.string().nullable().describe('Its owner; null for the base'),
        }),
      )
      .describe('The base, then the adapters, most tokens first'),
    ...totals,
  })
  .openapi('MetricsStatus');
/** The figures of the status page. */
export type MetricsStatus = z.infer<typeof metricsStatusSchema>;

const loadSampleSchema = z.object({
  at: z.number().describe('Unix seconds'),
  is_ready: z.boolean(),
  running: z.int().nullable().describe('Null if the engine did not answer'),
  waiting: z.int().nullable(),
  prompt_tokens: z.int().nullable().describe('Total since the engine started'),
  generated_tokens: z.int().nullable(),
});

export const metricsHistorySchema = z
  .object({
    object: z.literal('metrics.history'),
    interval_s: z.number(),
    samples: z.array(loadSampleSchema).describe('Samples of the last hour, oldest first'),
    hours: z
      .array(z.object({ at: z.number(), ...totals }))
      .describe('Latencies and errors of the last six hours, oldest first'),
    server: z.object({
      version: z.string(),
      model: z.string(),
      provider: z.string().nullable().describe('Null until the engine is ready'),
      weights: z.string().nullable(),
      kv: z.string().nullable().describe('The format of the KV cache'),
      threads: z.int().nullable().describe('Null if the runtime chooses'),
      processor: z.string(),
      cores: z.int(),
      processor_features: z
        .array(z.string())
        .nullable()
        .describe(
          'Instruction sets, the fastest for 8-bit products first; null if the system does not tell',
        ),
      memory_bytes: z.int(),
      platform: z.string(),
      node: z.string(),
    }),
  })
  .openapi('MetricsHistory');
/** The load of the last hour. */
export type MetricsHistory = z.infer<typeof metricsHistorySchema>;

const requestSchema = z
  .object({
    id: z.string().describe('Its x-request-id'),
    object: z.literal('request'),
    tenant: z.string(),
    model: z.string(),
    state: z
      .enum(['loading', 'queued', 'prefill', 'decode', 'ended'])
      .describe('loading: its adapter or its constraint; prefill: the prompt is read'),
    reason: z
      .enum(['no_slot', 'tenant_share', 'next_step', 'paused'])
      .nullable()
      .describe(
        'Why it is queued. no_slot: all slots are taken; tenant_share: the tenant has its share of them, or the free ones are for others; next_step: it starts with one of the next steps',
      ),
    outcome: z
      .string()
      .nullable()
      .describe('ok, aborted or the code of an error; null while it runs'),
    prompt_tokens: z.int(),
    output_tokens: z.int(),
    arrived_at: z.number().describe('Unix seconds'),
    waiting_ms: z.int().describe('Until it got a slot, loading included'),
    prefill_ms: z.int().nullable(),
    decode_ms: z.int().nullable(),
  })
  .openapi('Request');
/** A generation, as its tenant and operators see it. */
export type Request = z.infer<typeof requestSchema>;

export const requestListSchema = z
  .object({
    object: z.literal('list'),
    data: z.array(requestSchema),
    is_training: z.boolean().describe("Whether a fine-tuning job uses this machine's cores"),
  })
  .openapi('RequestList');
/** The running requests and the last ones. */
export type RequestList = z.infer<typeof requestListSchema>;

const sharesSchema = z
  .array(z.object({ version: z.int(), percent: z.number() }))
  .describe('One version at 100 percent, or a split');

const trainedFileSchema = z.object({ sha256: z.string(), bytes: z.int() });

const trainingSchema = z
  .object({
    program: z.string().describe('The trainer and its version'),
    training_file: trainedFileSchema,
    validation_file: trainedFileSchema.nullable(),
    init_adapter: z
      .string()
      .nullable()
      .describe('The digest of the adapter that the run started from'),
  })
  .describe('What it was made from');

const versionTrafficSchema = counts('running', 'requests', 'errors').extend({
  first_token_ms: z
    .number()
    .nullable()
    .describe('Median until the first token, of up to 100 requests'),
  token_ms: z.number().nullable().describe('Median per further token'),
});
/** The requests that a version of an adapter got. */
export type VersionTraffic = z.infer<typeof versionTrafficSchema>;

const adapterVersionSchema = z.object({
  version: z.int(),
  created_at: unixSeconds,
  digest: z.string(),
  rank: z.int(),
  targets: z.array(z.string()),
  bytes: z.int().describe('Size of its two files'),
  classes: z
    .int()
    .nullable()
    .describe("The number of a classifier's named classes; null if it generates text"),
  base: z
    .enum(['served', 'other', 'unknown'])
    .describe('Whether it was trained for the base that this server serves'),
  job: z.string().nullable().describe('The fine-tuning job that created it'),
  training: trainingSchema.nullable(),
  evaluation: z.record(z.string(), z.unknown()).nullable().describe('Its evaluation card'),
  traffic: versionTrafficSchema
    .nullable()
    .describe(
      'Requests to this server since it started; null if there were none, or the key may not change the adapter',
    ),
});

export const adapterSchema = z
  .object({
    id: z.string().describe('owner/name'),
    object: z.literal('adapter'),
    name: z.string(),
    owner: z.string(),
    is_writable: z.boolean().describe('Whether the key may change it'),
    about: adapterAboutSchema,
    last_used_at: unixSeconds
      .nullable()
      .describe(
        'The newest request to this server; null if there is none, or the key may not change the adapter',
      ),
    aliases: z.array(
      z.object({
        alias: z.string(),
        leads_to: sharesSchema,
        previous: sharesSchema.nullable().describe('The target of a rollback'),
        is_rolled_back: z
          .boolean()
          .describe('Whether its last change was a rollback. A further one undoes it'),
      }),
    ),
    versions: z.array(adapterVersionSchema).describe('Newest first'),
  })
  .openapi('Adapter');
/** A published adapter. */
export type Adapter = z.infer<typeof adapterSchema>;

export const adapterListSchema = listOf(adapterSchema).openapi('AdapterList');
/** A page of published adapters. */
export type AdapterList = z.infer<typeof adapterListSchema>;

export const deletedAdapterSchema = deletedOf('adapter').openapi('DeletedAdapter');

export const fineTuningPlanSchema = z
  .object({
    object: z.literal('fine_tuning.job.plan'),
    model: z.string(),
    training_file: z.string(),
    validation_file: z.string().nullable(),
    method: z.string(),
    compute: z.string().describe('The arithmetic of the frozen linears'),
    recommended_compute: z.string().describe('The arithmetic that is best on this machine'),
    hyperparameters: hyperparametersSchema,
    row_shapes: z
      .array(z.string())
      .describe(
        'The forms in which the training file has its rows, such as ShareGPT (conversations)',
      ),
    examples: z.int(),
    validation_examples: z.int(),
    tokens: z.int().describe('Tokens per epoch'),
    trained_tokens: z.int().describe('Tokens per epoch that the model is trained on'),
    masked_share: z.number(),
    truncated: z.int().describe('Number of examples that are cut off at max_length'),
    max_length: z.int(),
    duplicates: z.int(),
    trained_parameters: z.int(),
    total_steps: z.int(),
    steps_per_epoch: z.int(),
    learning_rate: z.number().describe('Peak learning rate'),
    memory_bytes: z.number(),
    seconds: z.number(),
    seconds_range: z
      .array(z.number())
      .describe('Seconds on an idle machine, and next to a busy server'),
    warnings: z.array(z.object({ code: z.string(), message: z.string() })),
    labels: z.array(z.string()).optional().describe('For a classifier: the names of its classes'),
    first_batch: z
      .array(
        z.object({
          text: z.string(),
          spans: z.array(z.object({ start: z.int(), end: z.int(), is_learned: z.boolean() })),
          label: z.string().optional().describe('For a classifier: its class'),
          side: z
            .enum(['preferred', 'non_preferred'])
            .optional()
            .describe('Which output of a pair this is'),
        }),
      )
      .describe('The examples of the first batch, and which parts the model is trained on'),
  })
  .openapi('FineTuningJobPlan');
/** The result of validating a job without creating it. */
export type FineTuningPlan = z.infer<typeof fineTuningPlanSchema>;
