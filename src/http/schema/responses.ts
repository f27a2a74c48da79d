// The request of `POST /v1/responses`. Sampling fields and vLLM's fields are the same as in chat.
import { z } from '@hono/zod-openapi';
import { MAX_COUNT } from '../../common/max-count.ts';
import { addIssue } from '../../common/schema-issues.ts';
import { MAX_TOOLS } from '../../contracts/tools.ts';
import { checkFormat, FORMAT_TYPES, formatReader, type GivenConstraint } from './constraints.ts';
import {
  type FieldRow,
  fieldsOf,
  INERT,
  metadataSchema,
  REFUSED,
  readBy,
  rowOf,
  sharedRows,
  unsupported,
} from './fields.ts';
import {
  checkTogether,
  GENERATION_NAMES,
  requestFields,
  type SchemaBounds,
} from './request-fields.ts';
import { inputSchema, KEEPS_NONE, type Keeping } from './response-items.ts';
import { responseToolChoiceSchema, responseToolsSchema } from './response-tools.ts';
import { checkTools } from './tools.ts';

const responses = rowOf('responses');

/** The value of `include` that asks for logprobs. */
export const LOGPROBS = 'message.output_text.logprobs';
/** The values of `include`. Answers contain no reasoning, so there is none to encrypt. */
const INCLUDED = [LOGPROBS, 'reasoning.encrypted_content'];

/** The fields of chat that have the same meaning here. */
const CHAT_NAMES = [
  ...GENERATION_NAMES,
  'stop',
  'include_stop_str_in_output',
  'return_tokens_as_token_ids',
  'user',
  'prompt_cache_key',
  'prompt_cache_options',
  'prompt_cache_retention',
  'moderation',
] as const;

/** Refuses a value if the server keeps no responses. */
function ifKept<Schema extends z.ZodType>(schema: Schema, { keepsResponses }: Keeping) {
  return schema.refine((value) => keepsResponses || value == null, unsupported(KEEPS_NONE));
}

/** Returns the id of a conversation, which may be a member. */
const conversationSchema = z
  .union([z.string(), z.strictObject({ id: z.string() })], 'expected an id')
  .nullish()
  .transform((given) => (typeof given === 'object' ? given?.id : given));

/** The bounds of a model and of the server, and whether it keeps responses. */
type ResponseBounds = SchemaBounds & Keeping;

/** Returns the table of fields, with the bounds of this server's model. */
export function responseFields(bounds: ResponseBounds) {
  const chat = requestFields(bounds);
  const { maxMessages } = bounds.limits;
  const { keepsResponses } = bounds;
  return {
    model: responses(chat.model.chat, chat.model.help),
    input: responses(
      inputSchema({ maxItems: maxMessages, keepsResponses }).openapi({
        anyOf: [
          { type: 'string' },
          { type: 'array', items: { $ref: '#/components/schemas/ResponseInputItem' } },
        ],
      }),
      `A text, or up to ${maxMessages} items`,
    ),
    instructions: responses(z.string().nullish(), 'A system message before the input'),
    max_output_tokens: responses(chat.max_tokens.chat, 'Default: the rest of the context'),
    metadata: responses(metadataSchema.nullish(), 'Repeated in the answer; never logged'),
    stream: responses(chat.stream.chat, chat.stream.help),
    stream_options: responses(
      z.strictObject({ include_obfuscation: INERT }).nullish(),
      'Only with stream; include_obfuscation has no effect',
    ),
    include: responses(
      z
        .array(
          z
            .unknown()
            .refine(
              (value) => INCLUDED.includes(value as string),
              unsupported(`only ${INCLUDED.join(' and ')} are supported by this server`),
            ),
        )
        .nullish()
        .openapi({ type: ['array', 'null'], items: { type: 'string', enum: INCLUDED } }),
      `\`${LOGPROBS}\`; \`${INCLUDED[1]}\` has no effect, because answers contain no reasoning`,
    ),
    top_logprobs: responses(
      chat.top_logprobs.chat,
      `The number of alternatives, at most 20; needs include with \`${LOGPROBS}\``,
    ),
    text: responses(
      responseTextSchema(chat.response_format.chat, chat.verbosity.chat),
      'format: text, json_object, or json_schema with a JSON Schema that the answer satisfies; verbosity: passed to the chat template, which may ignore it',
    ),
    reasoning: responses(
      z
        .strictObject({
          effort: chat.reasoning_effort.chat,
          summary: INERT,
          generate_summary: INERT,
          context: REFUSED,
          mode: REFUSED,
        })
        .nullish(),
      'effort: passed to the chat template, which may ignore it; summary has no effect, because answers contain no reasoning. Others are refused',
    ),
    truncation: responses(
      z.enum(['auto', 'disabled']).nullish(),
      'auto drops the oldest turns of a conversation that does not fit the context (default: disabled)',
    ),
    ...sharedRows(chat, CHAT_NAMES, 'chat', 'responses'),
    store: responses(
      z.boolean().nullish(),
      'Whether the response is kept (default: true with `--store-responses`; without it nothing is kept, and the answer says `store: false`)',
    ),
    previous_response_id: responses(
      ifKept(z.string().nullish(), bounds),
      'The response that the input continues; only with `--store-responses`',
    ),
    conversation: responses(
      ifKept(conversationSchema, bounds),
      'The conversation that input and answer are added to; only with `--store-responses`',
    ),
    max_tool_calls: responses(
      z.int().min(1).max(MAX_COUNT).nullish(),
      'Repeated in the answer; only limits hosted tools, which are refused',
    ),
    safety_identifier: responses(z.string().nullish(), 'Repeated in the answer; never logged'),
    background: responses(
      z
        .boolean()
        .nullish()
        .refine((value) => keepsResponses || !value, unsupported(KEEPS_NONE)),
      'true: the answer comes before the first token, and the response is kept when it ends; only with `--store-responses`',
    ),
    tools: responses(
      responseToolsSchema.nullish().openapi({ type: ['array', 'null'] }),
      `Functions that the model may call, at most ${MAX_TOOLS}; hosted tools are refused`,
    ),
    tool_choice: responses(
      responseToolChoiceSchema,
      'none, auto (the default), required, a function, or allowed_tools',
    ),
    parallel_tool_calls: responses(chat.parallel_tool_calls.chat, chat.parallel_tool_calls.help),
    prompt: responses(REFUSED, 'Prompts that the server keeps'),
    context_management: responses(REFUSED, 'Compaction'),
  } as const satisfies Record<string, FieldRow>;
}

/** The schema of a request, within a model's bounds. */
export function responseRequestSchema(bounds: ResponseBounds) {
  return z
    .strictObject(fieldsOf(responseFields(bounds), 'responses'))
    .superRefine((body, ctx) => {
      const format = body.text?.format?.given;
      checkTogether(body, ctx);
      if (format?.constraint.kind !== 'any_text') checkFormat(body, { 'text.format': format }, ctx);
      if (body.conversation && body.previous_response_id) {
        const message = 'cannot be combined with previous_response_id. Send only one of them';
        addIssue(ctx, message, ['conversation']);
      }
      if (body.background && (body.stream || body.store === false)) {
        addIssue(ctx, 'cannot be combined with "stream": true or "store": false', ['background']);
      }
      const functions = body.tools?.map((tool) => tool.function);
      checkTools({ tools: functions, tool_choice: body.tool_choice }, ctx);
      if (body.top_logprobs != null && !body.include?.includes(LOGPROBS)) {
        addIssue(ctx, `needs "include": ["${LOGPROBS}"]`, ['top_logprobs']);
      }
    })
    .openapi('ResponseRequest');
}

/** A checked request. */
export type ResponseRequest = z.output<ReturnType<typeof responseRequestSchema>>;

/** The schema of the field. */
function responseTextSchema<Verbosity extends z.ZodType>(
  chatFormat: z.ZodType<GivenConstraint | undefined>,
  verbosity: Verbosity,
) {
  const format = readBy(formatReader(chatFormat, ['text', 'format']), {
    type: 'object',
    properties: {
      type: { enum: FORMAT_TYPES },
      name: { type: 'string' },
      schema: { type: 'object', additionalProperties: true },
      strict: { type: 'boolean' },
    },
    required: ['type'],
  });
  return z.strictObject({ format, verbosity }).nullish();
}
