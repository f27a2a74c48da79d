// What this server's own routes answer, beside OpenAI's: published adapters, and the load of the last hour. Wire formats
// only.
import { z } from '@hono/zod-openapi';
import { listOf, unixSeconds } from './openai.ts';

const loadSampleSchema = z.object({
  at: z.number().openapi({ description: 'Unix seconds' }),
  is_ready: z.boolean(),
  running: z.int().nullable().openapi({ description: 'Null: the engine gave no figures' }),
  waiting: z.int().nullable(),
  prompt_tokens: z.int().nullable().openapi({ description: 'Total since the engine started' }),
  generated_tokens: z.int().nullable(),
});

export const metricsHistorySchema = z
  .object({
    object: z.literal('metrics.history'),
    interval_s: z.number(),
    samples: z.array(loadSampleSchema).openapi({ description: 'The last hour, the oldest first' }),
    server: z.object({
      version: z.string(),
      model: z.string(),
      provider: z.string().nullable().openapi({ description: 'Null until the engine is ready' }),
      weights: z.string().nullable(),
      threads: z.int().nullable().openapi({ description: "Null: the runtime's choice" }),
      processor: z.string(),
      cores: z.int(),
      memory_bytes: z.int(),
      platform: z.string(),
      node: z.string(),
    }),
  })
  .openapi('MetricsHistory');
export type MetricsHistory = z.infer<typeof metricsHistorySchema>;

const sharesSchema = z
  .array(z.object({ version: z.int(), percent: z.number() }))
  .openapi({ description: 'One version at 100 percent, or a split' });

const adapterVersionSchema = z.object({
  version: z.int(),
  created_at: unixSeconds,
  digest: z.string(),
  rank: z.int(),
  targets: z.array(z.string()),
  bytes: z.int().openapi({ description: 'Of its two files' }),
  base: z
    .enum(['served', 'other', 'unknown'])
    .openapi({ description: 'Whether it was made for the base that this server runs' }),
  job: z.string().nullable().openapi({ description: 'The fine-tuning job that made it' }),
  evaluation: z
    .record(z.string(), z.unknown())
    .nullable()
    .openapi({ description: 'Its evaluation card' }),
});

export const adapterSchema = z
  .object({
    id: z.string().openapi({ description: 'owner/name' }),
    object: z.literal('adapter'),
    name: z.string(),
    owner: z.string(),
    is_writable: z.boolean().openapi({ description: 'Whether this key may change it' }),
    aliases: z.array(
      z.object({
        alias: z.string(),
        leads_to: sharesSchema,
        previous: sharesSchema.nullable().openapi({ description: 'Where a rollback leads' }),
      }),
    ),
    versions: z.array(adapterVersionSchema).openapi({ description: 'The newest first' }),
  })
  .openapi('Adapter');
export type Adapter = z.infer<typeof adapterSchema>;

export const adapterListSchema = listOf(adapterSchema).openapi('AdapterList');
export type AdapterList = z.infer<typeof adapterListSchema>;

export const deletedAdapterSchema = z
  .object({ id: z.string(), object: z.literal('adapter'), deleted: z.literal(true) })
  .openapi('DeletedAdapter');
