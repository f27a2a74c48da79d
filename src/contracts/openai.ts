// The shapes that OpenAI-style clients read: one schema each, which is the type and the published document.
// The only place, beside a manifest and ONNX names, with snake_case. Knows no rules about requests.
import { z } from '@hono/zod-openapi';
import { generationConfigSchema } from './generation-config.ts';
import { JOB_STATUSES } from './job-status.ts';

export const unixSeconds = z.int();

export const errorEnvelopeSchema = z
  .object({
    error: z.object({
      message: z.string(),
      type: z.string(),
      param: z.string().nullable(),
      code: z.string(),
    }),
  })
  .openapi('Error');
export type ErrorEnvelope = z.infer<typeof errorEnvelopeSchema>;

export const modelSchema = z
  .object({
    id: z.string(),
    object: z.literal('model'),
    created: unixSeconds,
    owned_by: z.string(),
    parent: z
      .string()
      .optional()
      .openapi({ description: 'For an adapter: the base that it is for' }),
    root: z.string().optional().openapi({ description: 'For an adapter: the artifact' }),
    generation_config: generationConfigSchema
      .optional()
      .openapi({ description: 'One model only: its sampling defaults, those that are set' }),
    max_model_len: z.int().openapi({ description: 'Tokens of prompt and answer together' }),
  })
  .openapi('Model');
export type Model = z.infer<typeof modelSchema>;

export const meSchema = z
  .object({
    object: z.literal('tenant'),
    id: z.string().openapi({ description: 'The tenant that the key belongs to' }),
    is_admin: z.boolean().openapi({ description: 'Whether the key may use the admin routes' }),
    needs_key: z
      .boolean()
      .openapi({ description: 'Whether this server refuses requests without a key' }),
  })
  .openapi('Me');
export type Me = z.infer<typeof meSchema>;

export const deletedModelSchema = z
  .object({ id: z.string(), object: z.literal('model'), deleted: z.literal(true) })
  .openapi('DeletedModel');

export const prefetchSchema = z
  .object({
    id: z.string(),
    object: z.literal('adapter.prefetch'),
    adapter: z.string().openapi({ description: 'Its digest' }),
    root: z.string().openapi({ description: 'A model name that leads to these weights again' }),
    tier: z.string().openapi({ description: 'Where it was found: slot, ram, disk or store' }),
    load_ms: z.int(),
    keep_warm_until: unixSeconds.nullable(),
  })
  .openapi('Prefetch');

/** A page; the next one is asked for `after` its last id, while there is more. */
export function listOf<Item extends z.ZodType>(item: Item) {
  return z.object({
    object: z.literal('list'),
    data: z.array(item),
    first_id: z.string().nullable(),
    last_id: z.string().nullable(),
    has_more: z.boolean(),
  });
}

export const modelListSchema = listOf(modelSchema).openapi('ModelList');
export type ModelList = z.infer<typeof modelListSchema>;

export const usageSchema = z
  .object({ prompt_tokens: z.int(), completion_tokens: z.int(), total_tokens: z.int() })
  .openapi('Usage');
export type Usage = z.infer<typeof usageSchema>;

const alternativeSchema = z.object({
  token: z.string(),
  bytes: z.array(z.int()).nullable(),
  logprob: z.number(),
});

const chatTokenLogprobSchema = alternativeSchema
  .extend({ top_logprobs: z.array(alternativeSchema) })
  .openapi('ChatTokenLogprob');
export type ChatTokenLogprob = z.infer<typeof chatTokenLogprobSchema>;

const chatLogprobsSchema = z
  .object({ content: z.array(chatTokenLogprobSchema).nullable(), refusal: z.null() })
  .openapi('ChatLogprobs');
export type ChatLogprobs = z.infer<typeof chatLogprobsSchema>;

const finishReasonSchema = z.enum(['stop', 'length']);
export type WireFinishReason = z.infer<typeof finishReasonSchema>;

export const tokenizedSchema = z
  .object({
    count: z.int(),
    max_model_len: z.int(),
    tokens: z.array(z.int()),
    token_strs: z.array(z.string()).nullable(),
  })
  .openapi('Tokenized');
export type Tokenized = z.infer<typeof tokenizedSchema>;

export const detokenizedSchema = z.object({ prompt: z.string() }).openapi('Detokenized');

export const tokenizerInfoSchema = z
  .looseObject({ tokenizer_class: z.string() })
  .openapi('TokenizerInfo');

const promptLogprobsSchema = z
  .array(
    z
      .record(
        z.string(),
        z.object({ logprob: z.number(), rank: z.int(), decoded_token: z.string() }),
      )
      .nullable(),
  )
  .openapi('PromptLogprobs', {
    description: 'Per token of the prompt, but for the first: token id to its score',
  });
export type PromptLogprobs = z.infer<typeof promptLogprobsSchema>;

/** Members that every generation's answer and each of its chunks have. */
const headFields = {
  id: z.string(),
  created: unixSeconds,
  model: z.string(),
  system_fingerprint: z.string().openapi({
    description: 'Twelve hex digits of the base’s digest, then of the adapter’s or `base`',
  }),
};

export const chatCompletionSchema = z
  .object({
    ...headFields,
    object: z.literal('chat.completion'),
    choices: z.array(
      z.object({
        index: z.int(),
        message: z.object({
          role: z.literal('assistant'),
          content: z.string(),
          refusal: z.null(),
        }),
        logprobs: chatLogprobsSchema.nullable(),
        finish_reason: finishReasonSchema,
      }),
    ),
    prompt_logprobs: promptLogprobsSchema.optional(),
    usage: usageSchema,
  })
  .openapi('ChatCompletion');
export type ChatCompletion = z.infer<typeof chatCompletionSchema>;

export const chatChunkSchema = z
  .object({
    ...headFields,
    object: z.literal('chat.completion.chunk'),
    choices: z.array(
      z.object({
        index: z.int(),
        delta: z.object({
          role: z.literal('assistant').optional(),
          content: z.string().optional(),
        }),
        logprobs: chatLogprobsSchema.nullable(),
        finish_reason: finishReasonSchema.nullable(),
      }),
    ),
    usage: usageSchema.nullable().optional(),
  })
  .openapi('ChatCompletionChunk');
export type ChatCompletionChunk = z.infer<typeof chatChunkSchema>;

const completionLogprobsSchema = z
  .object({
    tokens: z.array(z.string()),
    token_logprobs: z.array(z.number().nullable()),
    top_logprobs: z.array(z.record(z.string(), z.number()).nullable()),
    text_offset: z.array(z.int()),
  })
  .openapi('CompletionLogprobs');
export type CompletionLogprobs = z.infer<typeof completionLogprobsSchema>;

const completionChoiceSchema = z.object({
  index: z.int(),
  text: z.string(),
  logprobs: completionLogprobsSchema.nullable(),
  finish_reason: finishReasonSchema,
  prompt_logprobs: promptLogprobsSchema.optional(),
});

export const completionSchema = z
  .object({
    ...headFields,
    object: z.literal('text_completion'),
    choices: z.array(completionChoiceSchema),
    usage: usageSchema,
  })
  .openapi('Completion');
export type Completion = z.infer<typeof completionSchema>;

export const completionChunkSchema = completionSchema
  .extend({
    choices: z.array(
      completionChoiceSchema.extend({ finish_reason: finishReasonSchema.nullable() }),
    ),
    usage: usageSchema.nullable().optional(),
  })
  .openapi('CompletionChunk');
export type CompletionChunk = z.infer<typeof completionChunkSchema>;

export const fileObjectSchema = z
  .object({
    id: z.string(),
    object: z.literal('file'),
    bytes: z.int(),
    created_at: unixSeconds,
    expires_at: unixSeconds.optional(),
    filename: z.string(),
    purpose: z.enum(['fine-tune', 'fine-tune-results']),
    status: z.literal('processed').openapi({ description: 'Clients wait for it; a job checks' }),
  })
  .openapi('File');
export type FileObject = z.infer<typeof fileObjectSchema>;

export const fileListSchema = listOf(fileObjectSchema).openapi('FileList');

export const deletedFileSchema = z
  .object({ id: z.string(), object: z.literal('file'), deleted: z.literal(true) })
  .openapi('DeletedFile');

const hyperparameter = z.union([z.literal('auto'), z.number()]);

const hyperparametersSchema = z.object({
  n_epochs: hyperparameter,
  batch_size: hyperparameter,
  learning_rate_multiplier: hyperparameter,
});
export type JobHyperparameters = z.infer<typeof hyperparametersSchema>;

export const fineTuningJobSchema = z
  .object({
    id: z.string(),
    object: z.literal('fine_tuning.job'),
    created_at: unixSeconds,
    finished_at: unixSeconds.nullable(),
    estimated_finish: unixSeconds.nullable(),
    model: z.string(),
    fine_tuned_model: z.string().nullable(),
    organization_id: z.string(),
    status: z.enum(JOB_STATUSES),
    hyperparameters: hyperparametersSchema.openapi({
      description: 'Numbers in the place of `auto` once the files are validated',
    }),
    method: z.object({
      type: z.literal('supervised'),
      supervised: z.object({ hyperparameters: hyperparametersSchema }),
    }),
    training_file: z.string(),
    validation_file: z.string().nullable(),
    result_files: z.array(z.string()),
    trained_tokens: z.int().nullable(),
    seed: z.int(),
    error: z
      .object({ code: z.string(), message: z.string(), param: z.string().nullable() })
      .nullable(),
    integrations: z.array(z.unknown()),
    metadata: z.record(z.string(), z.string()).nullable(),
    user_provided_suffix: z.string().nullable(),
    lorikeet: z
      .record(z.string(), z.unknown())
      .openapi({ description: 'The settings of this server’s own, plan, progress and evaluation' }),
  })
  .openapi('FineTuningJob');
export type FineTuningJob = z.infer<typeof fineTuningJobSchema>;

export const fineTuningJobListSchema = listOf(fineTuningJobSchema).openapi('FineTuningJobList');

const fineTuningEventSchema = z
  .object({
    object: z.literal('fine_tuning.job.event'),
    id: z.string(),
    created_at: unixSeconds,
    level: z.enum(['info', 'warn', 'error']),
    message: z.string(),
    type: z.enum(['message', 'metrics']),
    data: z.record(z.string(), z.unknown()),
  })
  .openapi('FineTuningJobEvent');
export type FineTuningJobEvent = z.infer<typeof fineTuningEventSchema>;

export const fineTuningEventListSchema =
  listOf(fineTuningEventSchema).openapi('FineTuningJobEventList');

const fineTuningCheckpointSchema = z
  .object({
    object: z.literal('fine_tuning.job.checkpoint'),
    id: z.string(),
    created_at: unixSeconds,
    fine_tuned_model_checkpoint: z.string(),
    fine_tuning_job_id: z.string(),
    step_number: z.int(),
    metrics: z.record(z.string(), z.number()),
  })
  .openapi('FineTuningJobCheckpoint');
export type FineTuningJobCheckpoint = z.infer<typeof fineTuningCheckpointSchema>;

export const fineTuningCheckpointListSchema = listOf(fineTuningCheckpointSchema).openapi(
  'FineTuningJobCheckpointList',
);

export const fineTuningPlanSchema = z
  .object({
    object: z.literal('fine_tuning.job.plan'),
    model: z.string(),
    training_file: z.string(),
    validation_file: z.string().nullable(),
    method: z.string(),
    hyperparameters: hyperparametersSchema,
    examples: z.int(),
    validation_examples: z.int(),
    tokens: z.int().openapi({ description: 'Of one epoch' }),
    trained_tokens: z.int().openapi({ description: 'Of them, those that are learned' }),
    masked_share: z.number(),
    truncated: z.int().openapi({ description: 'Examples that lose their end' }),
    max_length: z.int(),
    duplicates: z.int(),
    trained_parameters: z.int(),
    total_steps: z.int(),
    steps_per_epoch: z.int(),
    learning_rate: z.number().openapi({ description: 'The peak' }),
    memory_bytes: z.number(),
    seconds: z.number(),
    seconds_range: z
      .array(z.number())
      .openapi({ description: 'Alone on the machine, and beside a server at work' }),
    warnings: z.array(z.object({ code: z.string(), message: z.string() })),
    first_batch: z
      .array(
        z.object({
          text: z.string(),
          spans: z.array(z.object({ start: z.int(), end: z.int(), is_learned: z.boolean() })),
        }),
      )
      .openapi({ description: 'Its examples, and which parts of them are learned' }),
  })
  .openapi('FineTuningJobPlan');
export type FineTuningPlan = z.infer<typeof fineTuningPlanSchema>;
