// The objects of Anthropic's Messages API. One schema per object defines both its type and its part of the published document.
import { z } from '@hono/zod-openapi';

const textBlockSchema = z.object({
  type: z.literal('text'),
  text: z.string(),
});

const toolUseBlockSchema = z.object({
  type: z.literal('tool_use'),
  id: z.string().describe('The result names it as tool_use_id'),
  name: z.string(),
  input: z.record(z.string(), z.unknown()),
});

/** A part of a message that the model wrote: text, or a call. */
export type MessageBlock = z.infer<typeof textBlockSchema> | z.infer<typeof toolUseBlockSchema>;

const messageUsageSchema = z
  .object({
    input_tokens: z.int().describe('Without the tokens from the prefix cache'),
    cache_creation_input_tokens: z.literal(0),
    cache_read_input_tokens: z.int().describe('Input tokens that came from the prefix cache'),
    output_tokens: z.int(),
  })
  .openapi('MessageUsage');
/** Token counts of a message. */
export type MessageUsage = z.infer<typeof messageUsageSchema>;

const STOP_REASONS = [
  'end_turn',
  'max_tokens',
  'stop_sequence',
  'tool_use',
  'model_context_window_exceeded',
] as const;

export const messageSchema = z
  .object({
    id: z.string(),
    type: z.literal('message'),
    role: z.literal('assistant'),
    model: z.string(),
    content: z.array(z.discriminatedUnion('type', [textBlockSchema, toolUseBlockSchema])),
    stop_reason: z
      .enum(STOP_REASONS)
      .nullable()
      .describe('Null only in the first event of a stream'),
    stop_sequence: z.string().nullable(),
    usage: messageUsageSchema,
  })
  .openapi('Message');
/** A message that the model wrote. */
export type Message = z.infer<typeof messageSchema>;

export const messageTokensSchema = z.object({ input_tokens: z.int() }).openapi('MessageTokens');

export const messageErrorSchema = z
  .object({
    type: z.literal('error'),
    error: z.object({
      message: z.string(),
      type: z.string(),
      param: z.string().nullable(),
      code: z.string(),
    }),
    request_id: z.string().optional(),
  })
  .openapi('MessageError');
/** An error response of the Messages API, with the members of OpenAI's. */
export type MessageError = z.infer<typeof messageErrorSchema>;
