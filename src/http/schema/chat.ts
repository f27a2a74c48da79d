// The request of `POST /v1/chat/completions` and the fields of its messages. Content is text, as one string or in parts. A
// client can send back an assistant message unchanged, whether it comes from this server, OpenAI or their clients.
import { z } from '@hono/zod-openapi';
import { addIssue } from '../../common/schema-issues.ts';
import { calledFunctionSchema, toolCallsSchema } from '../../contracts/tools.ts';
import { contentForms, contentReader, type PartForms } from './content.ts';
import { type FieldRow, fieldsOf, INERT, REFUSED, readOr, rowOf, rows } from './fields.ts';
import { checkTogether, requestFields, type SchemaBounds } from './request-fields.ts';
import { checkTools, connectCalls } from './tools.ts';

const chat = rowOf('chat');

/** Real names are shorter. */
const MAX_NAME_LENGTH = 256;

const role = z.enum(['developer', 'system', 'user', 'assistant', 'tool', 'function']);

const calledForm = {
  type: 'object' as const,
  properties: { name: { type: 'string' as const }, arguments: { type: 'string' as const } },
  required: ['name', 'arguments'],
};

/** The fields of a message other than its content. */
export const MESSAGE_FIELDS = {
  role: chat(role, 'developer means system; function is the older form of tool'),
  name: chat(
    z.string().max(MAX_NAME_LENGTH).nullish(),
    'Passed to the chat template; with the role function, the function whose result this is',
  ),
  refusal: chat(
    z.string().nullish(),
    "An assistant's refusal; it replaces the content if that is null",
  ),
  tool_calls: chat(
    toolCallsSchema.nullish().openapi({
      type: ['array', 'null'],
      items: {
        type: 'object',
        properties: {
          id: { type: 'string' },
          type: { const: 'function' },
          function: calledForm,
        },
        required: ['id', 'function'],
      },
    }),
    "An assistant's calls, as an answer has them",
  ),
  function_call: chat(
    calledFunctionSchema.nullish().openapi(calledForm),
    "An assistant's call in the older form",
  ),
  tool_call_id: chat(
    z.string().nullish(),
    'With the role tool, the call whose result this is; elsewhere without effect',
  ),
  audio: chat(REFUSED, 'Audio'),
  annotations: chat(INERT, 'Sources that an answer cited'),
  reasoning: chat(REFUSED, 'The thoughts of a reasoning model'),
  reasoning_content: chat(REFUSED, 'The thoughts of a reasoning model'),
  thinking_blocks: chat(REFUSED, 'The thoughts of a reasoning model'),
  parsed: chat(INERT, "The content as OpenAI's clients parsed it"),
  provider_specific_fields: chat(INERT, 'A field of litellm'),
} as const satisfies Record<string, FieldRow>;

/** The fields of a content part. */
export const PART_FIELDS = {
  type: chat(z.unknown(), 'Only text'),
  text: chat(z.unknown(), 'Parts are joined without a separator'),
  annotations: chat(INERT, 'Sources that an answer cited'),
  cache_control: chat(INERT, 'Every prefix can be cached'),
  prompt_cache_breakpoint: chat(INERT, 'Every prefix can be cached'),
  ...rows(
    ['role', 'refusal', 'tool_calls'],
    chat(INERT, 'Repeated from the message by the OpenAI Agents SDK for Node'),
  ),
} as const satisfies Record<string, FieldRow>;

const PARTS: PartForms = { textOf: { text: 'text' }, fields: PART_FIELDS };
const toContent = contentReader(PARTS);
const CONTENT_FORMS = contentForms(PARTS);

/** A message of a conversation. */
export const chatMessageSchema = z
  .strictObject({
    ...fieldsOf(MESSAGE_FIELDS, 'chat'),
    content: readOr(null, toContent, { anyOf: CONTENT_FORMS }),
  })
  .superRefine(({ role, content, name, ...calls }, ctx) => {
    if (role === 'tool' && calls.tool_call_id == null) {
      addIssue(ctx, 'is required with the role tool', ['tool_call_id']);
    }
    if (role === 'function' && name == null) {
      addIssue(ctx, 'is required with the role function', ['name']);
    }
    if (content === null && role !== 'assistant') {
      addIssue(ctx, 'content may be null only for the assistant');
    }
    for (const field of ['tool_calls', 'function_call'] as const) {
      if (role === 'assistant' || calls[field] == null) continue;
      addIssue(ctx, 'is allowed only in messages of the assistant', [field]);
    }
  })
  .transform(({ role, content, refusal, name, tool_calls, tool_call_id, function_call }) => ({
    role: role === 'developer' ? ('system' as const) : role,
    content: content ?? refusal ?? '',
    ...(name != null && { name }),
    ...(tool_calls?.length && { toolCalls: tool_calls }),
    ...(function_call && { functionCall: function_call }),
    ...(role === 'tool' && { toolCallId: tool_call_id! }),
  }));

/** A conversation. The number of messages is checked before the messages are. */
export function chatMessagesSchema(bounds: SchemaBounds) {
  return requestFields(bounds)
    .messages.chat.pipe(z.array(chatMessageSchema))
    .transform(connectCalls);
}

/** The text of OpenAI's predicted output. */
const predictionSchema = z
  .strictObject({
    type: z.literal('content'),
    content: z.unknown().transform(toContent),
  })
  .nullish()
  .transform((prediction) => prediction?.content ?? undefined)
  .openapi({
    type: ['object', 'null'],
    properties: { type: { const: 'content' }, content: { anyOf: CONTENT_FORMS } },
    required: ['type', 'content'],
    description:
      'Text that the answer probably repeats. It changes only how fast the answer comes.',
  });

/** The schema of a chat request, within a model's bounds. */
export function chatRequestSchema(bounds: SchemaBounds) {
  const fields = fieldsOf(requestFields(bounds), 'chat');
  return z
    .strictObject({
      ...fields,
      messages: chatMessagesSchema(bounds),
      prediction: predictionSchema,
    })
    .superRefine((body, ctx) => {
      const { max_tokens: older, max_completion_tokens: newer } = body;
      checkTogether(body, ctx);
      checkTools(body, ctx);
      if (older != null && newer != null && older !== newer) {
        addIssue(ctx, 'differs from max_completion_tokens', ['max_tokens']);
      }
      if (body.top_logprobs != null && !body.logprobs) {
        addIssue(ctx, 'needs "logprobs": true', ['top_logprobs']);
      }
      if (body.continue_final_message && body.add_generation_prompt) {
        addIssue(ctx, 'cannot be combined with add_generation_prompt', ['continue_final_message']);
      }
    })
    .openapi('ChatCompletionRequest');
}

/** A checked chat request. */
export type ChatRequest = z.output<ReturnType<typeof chatRequestSchema>>;
