// The responses of OpenAI's API. One schema per object defines both its type and its part of the published document.
import { z } from '@hono/zod-openapi';
import { aboutFields } from './adapter-about.ts';
import { generationConfigSchema } from './generation-config.ts';
import { requestDefaultsSchema } from './request-defaults.ts';

export const unixSeconds = z.int();

/** Unix milliseconds as integer Unix seconds. */
export const toUnixSeconds = (ms: number) => Math.floor(ms / 1000);

export const errorEnvelopeSchema = z
  .object({
    error: z.object({
      message: z.string(),
      type: z.string(),
      param: z.string().nullable(),
      code: z.string(),
      lines: z.array(z.int()).exactOptional().describe('Bad lines of a training file'),
    }),
  })
  .openapi('Error');
/** An error response. */
export type ErrorEnvelope = z.infer<typeof errorEnvelopeSchema>;

export const modelSchema = z
  .object({
    id: z.string(),
    object: z.literal('model'),
    created: unixSeconds,
    owned_by: z.string(),
    parent: z.string().optional().describe('For an adapter: its base model'),
    root: z.string().optional().describe('For an adapter: the artifact'),
    generation_config: generationConfigSchema
      .optional()
      .describe('Sampling defaults of the model, if a single model is requested'),
    request_defaults: requestDefaultsSchema
      .optional()
      .describe('Fields that the adapter gives to requests which leave them out'),
    labels: z
      .array(z.string())
      .optional()
      .describe(
        'For a classifier, if a single model is requested: the names of its classes, as far as it has any',
      ),
    description: aboutFields.description.optional(),
    tags: aboutFields.tags.optional(),
    kind: aboutFields.kind.optional(),
    examples: aboutFields.examples
      .optional()
      .describe('If a single adapter is requested: prompts that show what it does'),
    max_model_len: z.int().describe('Maximum tokens of prompt and answer together'),
  })
  .openapi('Model');
/** A model: the base or an adapter. */
export type Model = z.infer<typeof modelSchema>;

/** The response to a deletion. */
export function deletedOf<Kind extends string>(object: Kind) {
  return z.object({ id: z.string(), object: z.literal(object), deleted: z.literal(true) });
}

export const deletedModelSchema = deletedOf('model').openapi('DeletedModel');

/** A page of a list. Clients request the next page with `after` set to `last_id`. */
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
/** A page of models. */
export type ModelList = z.infer<typeof modelListSchema>;

const usageSchema = z
  .object({
    prompt_tokens: z.int(),
    completion_tokens: z.int(),
    total_tokens: z.int(),
    prompt_tokens_details: z.object({
      cached_tokens: z.int().describe('Prompt tokens that came from the prefix cache'),
    }),
  })
  .openapi('Usage');
/** Token counts of a request. */
export type Usage = z.infer<typeof usageSchema>;

export const embeddingListSchema = z
  .object({
    object: z.literal('list'),
    data: z.array(
      z.object({
        object: z.literal('embedding'),
        index: z.int(),
        embedding: z.union([
          z.array(z.number()),
          z.string().describe('With base64: float32 numbers, little-endian'),
        ]),
      }),
    ),
    model: z.string(),
    usage: z.object({ prompt_tokens: z.int(), total_tokens: z.int() }),
  })
  .openapi('EmbeddingList');
/** The embeddings of a request's inputs, in their order. */
export type EmbeddingList = z.infer<typeof embeddingListSchema>;

export const classificationListSchema = z
  .object({
    id: z.string(),
    object: z.literal('list'),
    created: unixSeconds,
    model: z.string(),
    data: z.array(
      z.object({
        index: z.int(),
        label: z.string().nullable().describe('The most likely label'),
        probs: z.array(z.number()).describe('In the order of the labels'),
        num_classes: z.int(),
      }),
    ),
    usage: z.object({
      prompt_tokens: z.int(),
      total_tokens: z.int(),
      completion_tokens: z.int(),
      prompt_tokens_details: z.null(),
    }),
  })
  .openapi('ClassificationList');
/** The classes of a request's inputs, in their order. */
export type ClassificationList = z.infer<typeof classificationListSchema>;

const alternativeSchema = z.object({
  token: z.string(),
  bytes: z.array(z.int()).nullable(),
  logprob: z.number(),
});

export const chatTokenLogprobSchema = alternativeSchema
  .extend({ top_logprobs: z.array(alternativeSchema) })
  .openapi('ChatTokenLogprob');
/** The log-probability of a token of a chat completion, with alternatives. */
export type ChatTokenLogprob = z.infer<typeof chatTokenLogprobSchema>;

const chatLogprobsSchema = z
  .object({ content: z.array(chatTokenLogprobSchema).nullable(), refusal: z.null() })
  .openapi('ChatLogprobs');
/** The log-probabilities of a chat completion. */
export type ChatLogprobs = z.infer<typeof chatLogprobsSchema>;

const finishReasonSchema = z.enum(['stop', 'length']);
const chatFinishReasonSchema = z.enum([
  ...finishReasonSchema.options,
  'tool_calls',
  'function_call',
]);
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
    description: 'For each token of the prompt except the first: scores by token id',
  });

/** The members of requests with return_token_ids. */
const tokenIdsSchema = z.array(z.int()).optional();
const promptIdsShape = { prompt_token_ids: z.array(z.int()).optional() };

/** The fields that all responses and chunks share. */
const headFields = {
  id: z.string(),
  created: unixSeconds,
  model: z.string(),
  system_fingerprint: z
    .string()
    .describe(
      'Twelve hex digits of the digests of the base and of the adapter, or `base` without one',
    ),
};

const functionCallSchema = z
  .object({
    name: z.string(),
    arguments: z.string().describe('The text of a JSON object'),
  })
  .openapi('FunctionCall');

const toolCallSchema = z
  .object({ id: z.string(), type: z.literal('function'), function: functionCallSchema })
  .openapi('ToolCall');
/** A call of a function in a message. */
export type MessageCall = z.infer<typeof toolCallSchema>;

export const chatCompletionSchema = z
  .object({
    ...headFields,
    object: z.literal('chat.completion'),
    choices: z.array(
      z.object({
        index: z.int(),
        message: z.object({
          role: z.literal('assistant'),
          content: z.string().nullable().describe('null if there are only calls'),
          refusal: z.null(),
          tool_calls: z.array(toolCallSchema).optional(),
          function_call: functionCallSchema
            .optional()
            .describe('The call, if the request has the older `functions`'),
        }),
        logprobs: chatLogprobsSchema.nullable(),
        finish_reason: chatFinishReasonSchema,
        token_ids: tokenIdsSchema,
      }),
    ),
    ...promptIdsShape,
    prompt_logprobs: promptLogprobsSchema.optional(),
    usage: usageSchema,
  })
  .openapi('ChatCompletion');
/** A whole chat completion. */
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
          content: z.string().nullable().optional(),
          tool_calls: z
            .array(
              toolCallSchema
                .extend({ function: functionCallSchema.partial() })
                .partial()
                .extend({ index: z.int() }),
            )
            .optional()
            .describe('Calls begin with id, type and name; arguments follow'),
          function_call: functionCallSchema.partial().optional(),
        }),
        logprobs: chatLogprobsSchema.nullable(),
        finish_reason: chatFinishReasonSchema.nullable(),
        token_ids: tokenIdsSchema,
      }),
    ),
    ...promptIdsShape,
    usage: usageSchema.nullable().optional(),
  })
  .openapi('ChatCompletionChunk');
/** An event of a streamed chat completion. */
export type ChatCompletionChunk = z.infer<typeof chatChunkSchema>;

const completionLogprobsSchema = z
  .object({
    tokens: z.array(z.string()),
    token_logprobs: z.array(z.number().nullable()),
    top_logprobs: z.array(z.record(z.string(), z.number()).nullable()),
    text_offset: z.array(z.int()),
  })
  .openapi('CompletionLogprobs');
/** The log-probabilities of a completion. */
export type CompletionLogprobs = z.infer<typeof completionLogprobsSchema>;

const completionChoiceSchema = z.object({
  index: z.int(),
  text: z.string(),
  logprobs: completionLogprobsSchema.nullable(),
  finish_reason: finishReasonSchema,
  token_ids: tokenIdsSchema,
  ...promptIdsShape,
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
/** A whole completion. */
export type Completion = z.infer<typeof completionSchema>;

export const completionChunkSchema = completionSchema
  .extend({
    choices: z.array(
      completionChoiceSchema.extend({ finish_reason: finishReasonSchema.nullable() }),
    ),
    usage: usageSchema.nullable().optional(),
  })
  .openapi('CompletionChunk');
/** An event of a streamed completion. */
export type CompletionChunk = z.infer<typeof completionChunkSchema>;
