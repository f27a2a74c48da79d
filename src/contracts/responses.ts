// The objects of OpenAI's Responses API. One schema per object defines both its type and its part of the published document.
import { z } from '@hono/zod-openapi';
import { chatTokenLogprobSchema, deletedOf, listOf, unixSeconds } from './openai.ts';

/**
 * An item of a conversation in the form that the chat template takes. Each text is one string. A call of a custom tool has its
 * text as the argument `input`.
 */
export const conversationItemSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('message'),
    role: z.enum(['developer', 'system', 'user', 'assistant']),
    content: z.string(),
  }),
  z.object({
    type: z.literal('function_call'),
    call_id: z.string(),
    name: z.string(),
    arguments: z.string(),
    isCustom: z.literal(true).optional(),
  }),
  z.object({
    type: z.literal('function_call_output'),
    call_id: z.string(),
    output: z.string(),
    isCustom: z.literal(true).optional(),
  }),
]);
/** An item of a conversation. */
export type ConversationItem = z.infer<typeof conversationItemSchema>;

/** A list that this server always leaves empty. */
const empty = z.array(z.never()).openapi({ type: 'array', items: {}, maxItems: 0 });

const outputTextSchema = z
  .object({
    type: z.literal('output_text'),
    text: z.string(),
    annotations: empty,
    logprobs: z.array(chatTokenLogprobSchema),
  })
  .openapi('ResponseOutputText');
/** The text of an output message. */
export type ResponseOutputText = z.infer<typeof outputTextSchema>;

const itemStatus = z.enum(['in_progress', 'completed', 'incomplete']);

const outputMessageSchema = z
  .object({
    type: z.literal('message'),
    id: z.string(),
    status: itemStatus,
    role: z.literal('assistant'),
    content: z.array(outputTextSchema),
  })
  .openapi('ResponseOutputMessage');
/** A message that the model wrote. */
export type ResponseOutputMessage = z.infer<typeof outputMessageSchema>;

const functionCallSchema = z
  .object({
    type: z.literal('function_call'),
    id: z.string(),
    call_id: z.string().describe('The item with the result has the same one'),
    name: z.string(),
    arguments: z.string().describe('The text of a JSON object'),
    status: itemStatus,
  })
  .openapi('ResponseFunctionCall');
/** A call that the model made. */
export type ResponseFunctionCall = z.infer<typeof functionCallSchema>;

const customCallSchema = z
  .object({
    type: z.literal('custom_tool_call'),
    id: z.string(),
    call_id: z.string(),
    name: z.string(),
    input: z.string().describe('Any text, or one that the format allows'),
    status: itemStatus,
  })
  .openapi('ResponseCustomToolCall');
/** A call of a custom tool that the model made. */
export type ResponseCustomCall = z.infer<typeof customCallSchema>;

/** An item that the model produced. */
export type ResponseOutputItem = ResponseOutputMessage | ResponseFunctionCall | ResponseCustomCall;

const responseUsageSchema = z
  .object({
    input_tokens: z.int(),
    input_tokens_details: z.object({
      cached_tokens: z.int().describe('Input tokens that came from the prefix cache'),
    }),
    output_tokens: z.int(),
    output_tokens_details: z.object({ reasoning_tokens: z.literal(0) }),
    total_tokens: z.int(),
  })
  .openapi('ResponseUsage');
/** Token counts of a response. */
export type ResponseUsage = z.infer<typeof responseUsageSchema>;

export const conversationSchema = z
  .object({
    id: z.string(),
    object: z.literal('conversation'),
    created_at: unixSeconds,
    metadata: z.record(z.string(), z.string()),
  })
  .openapi('Conversation');

export const deletedConversationSchema =
  deletedOf('conversation.deleted').openapi('DeletedConversation');

const namedToolSchema = z.object({ type: z.enum(['function', 'custom']), name: z.string() });

/** The members that repeat the request. */
const requestShape = {
  background: z.boolean(),
  conversation: z.object({ id: z.string() }).nullable(),
  frequency_penalty: z.number(),
  instructions: z.string().nullable(),
  max_output_tokens: z.int().nullable(),
  max_tool_calls: z.int().nullable(),
  metadata: z.record(z.string(), z.string()),
  model: z.string(),
  parallel_tool_calls: z.boolean(),
  presence_penalty: z.number(),
  previous_response_id: z.string().nullable(),
  prompt_cache_key: z.string().nullable(),
  reasoning: z.object({ effort: z.string().nullable(), summary: z.null() }),
  safety_identifier: z.string().nullable(),
  service_tier: z.literal('default'),
  store: z.boolean(),
  temperature: z.number(),
  text: z.object({
    format: z.looseObject({ type: z.string() }),
    verbosity: z.enum(['low', 'medium', 'high']).optional(),
  }),
  tool_choice: z.union([
    z.enum(['none', 'auto', 'required']),
    namedToolSchema,
    z.object({
      type: z.literal('allowed_tools'),
      mode: z.enum(['auto', 'required']),
      tools: z.array(namedToolSchema),
    }),
  ]),
  tools: z.array(
    z.discriminatedUnion('type', [
      z.object({
        type: z.literal('function'),
        name: z.string(),
        description: z.string().nullable(),
        parameters: z.record(z.string(), z.unknown()).nullable(),
        strict: z.boolean().nullable(),
      }),
      z.object({
        type: z.literal('custom'),
        name: z.string(),
        description: z.string().optional(),
        format: z.discriminatedUnion('type', [
          z.object({ type: z.literal('text') }),
          z.object({
            type: z.literal('grammar'),
            syntax: z.literal('regex'),
            definition: z.string(),
          }),
        ]),
      }),
    ]),
  ),
  top_logprobs: z.int(),
  top_p: z.number(),
  truncation: z.enum(['auto', 'disabled']),
};

const responseRequestShape = z.object(requestShape);
/** The members of a response that repeat the request, with defaults filled in. */
export type ResponseSettings = z.infer<typeof responseRequestShape>;

export const responseSchema = z
  .object({
    id: z.string(),
    object: z.literal('response'),
    created_at: unixSeconds,
    completed_at: unixSeconds.nullable(),
    status: z.enum(['in_progress', 'completed', 'incomplete', 'failed', 'cancelled']),
    error: z.object({ code: z.string(), message: z.string() }).nullable(),
    incomplete_details: z.object({ reason: z.literal('max_output_tokens') }).nullable(),
    output: z.array(
      z.discriminatedUnion('type', [outputMessageSchema, functionCallSchema, customCallSchema]),
    ),
    usage: responseUsageSchema.nullable(),
    ...requestShape,
  })
  .openapi('Response');
/** A response object of the Responses API. */
export type ApiResponse = z.infer<typeof responseSchema>;

const keptItem = { id: z.string(), status: z.literal('completed') };

export const responseItemSchema = z
  .discriminatedUnion('type', [
    z.object({
      ...keptItem,
      type: z.literal('message'),
      role: z.enum(['developer', 'system', 'user', 'assistant']),
      content: z.array(z.object({ type: z.enum(['input_text', 'output_text']), text: z.string() })),
    }),
    functionCallSchema.extend(keptItem),
    customCallSchema.extend(keptItem),
    z.object({
      ...keptItem,
      type: z.enum(['function_call_output', 'custom_tool_call_output']),
      call_id: z.string(),
      output: z.string(),
    }),
  ])
  .openapi('ResponseItem');
/** An item in the input of a kept response, or in a conversation. */
export type ResponseItem = z.infer<typeof responseItemSchema>;

export const responseTokensSchema = z
  .object({ object: z.literal('response.input_tokens'), input_tokens: z.int() })
  .openapi('ResponseTokens');

export const inputItemListSchema = listOf(responseItemSchema).openapi('ResponseItemList');

export const deletedResponseSchema = deletedOf('response').openapi('DeletedResponse');
