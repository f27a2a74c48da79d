// The objects of OpenAI's Responses API. One schema per object defines both its type and its part of the published document.
import { z } from '@hono/zod-openapi';
import { chatTokenLogprobSchema, deletedOf, listOf, unixSeconds } from './openai.ts';

/** An item of a conversation in the form that the chat template takes. Each text is one string. */
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
  }),
  z.object({ type: z.literal('function_call_output'), call_id: z.string(), output: z.string() }),
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
    call_id: z.string().openapi({ description: 'The item with the result has the same one' }),
    name: z.string(),
    arguments: z.string().openapi({ description: 'The text of a JSON object' }),
    status: itemStatus,
  })
  .openapi('ResponseFunctionCall');
/** A call that the model made. */
export type ResponseFunctionCall = z.infer<typeof functionCallSchema>;

/** An item that the model produced. */
export type ResponseOutputItem = ResponseOutputMessage | ResponseFunctionCall;

const responseUsageSchema = z
  .object({
    input_tokens: z.int(),
    input_tokens_details: z.object({
      cached_tokens: z
        .int()
        .openapi({ description: 'Input tokens that came from the prefix cache' }),
    }),
    output_tokens: z.int(),
    output_tokens_details: z.object({ reasoning_tokens: z.literal(0) }),
    total_tokens: z.int(),
  })
  .openapi('ResponseUsage');
/** Token counts of a response. */
export type ResponseUsage = z.infer<typeof responseUsageSchema>;

/** The members that repeat the request. */
const requestShape = {
  instructions: z.string().nullable(),
  max_output_tokens: z.int().nullable(),
  metadata: z.record(z.string(), z.string()),
  model: z.string(),
  parallel_tool_calls: z.boolean(),
  previous_response_id: z.string().nullable(),
  reasoning: z.object({ effort: z.string().nullable(), summary: z.null() }),
  service_tier: z.literal('default'),
  store: z.boolean(),
  temperature: z.number(),
  text: z.object({ format: z.looseObject({ type: z.string() }) }),
  tool_choice: z.union([
    z.enum(['none', 'auto', 'required']),
    z.object({ type: z.literal('function'), name: z.string() }),
    z.object({
      type: z.literal('allowed_tools'),
      mode: z.enum(['auto', 'required']),
      tools: z.array(z.object({ type: z.literal('function'), name: z.string() })),
    }),
  ]),
  tools: z.array(
    z.object({
      type: z.literal('function'),
      name: z.string(),
      description: z.string().nullable(),
      parameters: z.record(z.string(), z.unknown()).nullable(),
      strict: z.boolean().nullable(),
    }),
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
    status: z.enum(['in_progress', 'completed', 'incomplete', 'failed']),
    background: z.literal(false),
    error: z.object({ code: z.string(), message: z.string() }).nullable(),
    incomplete_details: z.object({ reason: z.literal('max_output_tokens') }).nullable(),
    output: z.array(z.discriminatedUnion('type', [outputMessageSchema, functionCallSchema])),
    usage: responseUsageSchema.nullable(),
    ...requestShape,
  })
  .openapi('Response');
/** A response object of the Responses API. */
export type ApiResponse = z.infer<typeof responseSchema>;

const keptItem = { id: z.string(), status: z.literal('completed') };

const inputItemSchema = z
  .discriminatedUnion('type', [
    z.object({
      ...keptItem,
      type: z.literal('message'),
      role: z.enum(['developer', 'system', 'user', 'assistant']),
      content: z.array(z.object({ type: z.enum(['input_text', 'output_text']), text: z.string() })),
    }),
    functionCallSchema.extend(keptItem),
    z.object({
      ...keptItem,
      type: z.literal('function_call_output'),
      call_id: z.string(),
      output: z.string(),
    }),
  ])
  .openapi('ResponseItem');
/** An item in the input of a kept response. */
export type ResponseItem = z.infer<typeof inputItemSchema>;

export const inputItemListSchema = listOf(inputItemSchema).openapi('ResponseItemList');

export const deletedResponseSchema = deletedOf('response').openapi('DeletedResponse');
