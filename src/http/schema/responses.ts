// The request of `POST /v1/responses`. Sampling fields and vLLM's fields are the same as in chat.
import { z } from '@hono/zod-openapi';
import { SAMPLING_FIELDS, type SamplingFieldName } from '../../contracts/sampling-fields.ts';
import { MAX_TOOLS } from '../../contracts/tools.ts';
import type { GivenConstraint } from './constraints.ts';
import {
  addIssue,
  type FieldRow,
  fieldsOf,
  INERT,
  metadataSchema,
  onlyValue,
  REFUSED,
  type Refine,
  readBy,
  rowOf,
  sharedRows,
} from './fields.ts';
import { requestFields, type SchemaBounds } from './request-fields.ts';
import { inputSchema, KEEPS_NONE, type Keeping } from './response-items.ts';
import { responseToolChoiceSchema, responseToolsSchema } from './response-tools.ts';
import { checkTools } from './tools.ts';

const responses = rowOf('responses');

/** The value of `include` that asks for logprobs. */
const LOGPROBS = 'message.output_text.logprobs';

/** The fields of chat that have the same meaning here. */
const CHAT_NAMES = [
  ...(Object.keys(SAMPLING_FIELDS) as SamplingFieldName[]),
  'logit_bias',
  'seed',
  'allowed_token_ids',
  'structured_outputs',
  'lorikeet',
  'bad_words',
  'min_tokens',
  'stop',
  'stop_token_ids',
  'include_stop_str_in_output',
  'ignore_eos',
  'return_tokens_as_token_ids',
  'chat_template_kwargs',
  'cache_salt',
  'cache_prompt',
  'user',
  'prompt_cache_key',
  'safety_identifier',
  'service_tier',
  'prompt_cache_options',
  'prompt_cache_retention',
  'moderation',
] as const;

function previousResponse({ keepsResponses }: Keeping) {
  const isKept = (id: unknown) => keepsResponses || id === undefined || id === null;
  return z
    .string()
    .nullish()
    .refine(isKept, {
      message: KEEPS_NONE,
      params: { code: 'unsupported_parameter' },
    });
}

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
    max_output_tokens: responses(z.int().min(1).nullish(), 'Default: the rest of the context'),
    metadata: responses(metadataSchema.nullish(), 'Repeated in the answer; never logged'),
    stream: responses(chat.stream.chat, chat.stream.help),
    stream_options: responses(
      z.strictObject({ include_obfuscation: INERT }).nullish(),
      'Only with stream; include_obfuscation has no effect',
    ),
    include: responses(
      z
        .array(
          z.unknown().refine((value) => value === LOGPROBS, {
            message: `only ${JSON.stringify(LOGPROBS)} is supported by this server`,
            params: { code: 'unsupported_parameter' },
          }),
        )
        .nullish()
        .openapi({ type: 'array', items: { type: 'string', enum: [LOGPROBS] } }),
      `Only \`${LOGPROBS}\``,
    ),
    top_logprobs: responses(
      chat.top_logprobs.chat,
      `The number of alternatives, at most 20; needs include with \`${LOGPROBS}\``,
    ),
    text: responses(
      responseTextSchema(chat.response_format.chat),
      'format: text, json_object, or json_schema with a JSON Schema that the answer satisfies; verbosity: only medium',
    ),
    reasoning: responses(
      z
        .strictObject({
          effort: chat.reasoning_effort.chat,
          summary: REFUSED,
          generate_summary: REFUSED,
          context: REFUSED,
          mode: REFUSED,
        })
        .nullish(),
      'effort: given to the chat template, which may not use it. Others are refused',
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
      previousResponse(bounds),
      'The response that the input continues; only with `--store-responses`',
    ),
    max_tool_calls: responses(INERT, 'Only affects hosted tools, which are refused'),
    background: responses(onlyValue(false), 'Only false'),
    tools: responses(
      responseToolsSchema.nullish(),
      `Functions that the model may call, at most ${MAX_TOOLS}; hosted tools are refused`,
    ),
    tool_choice: responses(
      responseToolChoiceSchema,
      'none, auto (the default), required, a function, or allowed_tools',
    ),
    parallel_tool_calls: responses(chat.parallel_tool_calls.chat, chat.parallel_tool_calls.help),
    conversation: responses(REFUSED, 'Conversations that the server keeps'),
    prompt: responses(REFUSED, 'Prompts that the server keeps'),
    context_management: responses(REFUSED, 'Compaction'),
  } as const satisfies Record<string, FieldRow>;
}

/** The schema of a request, within a model's bounds. */
export function responseRequestSchema(bounds: ResponseBounds) {
  return z
    .strictObject(fieldsOf(responseFields(bounds), 'responses'))
    .superRefine((body, ctx) => {
      if (body.stream_options != null && !body.stream) {
        addIssue(ctx, 'needs "stream": true', { path: ['stream_options'] });
      }
      const format = body.text?.format?.given?.constraint;
      if (body.structured_outputs && format && format.kind !== 'any_text') {
        addIssue(ctx, 'cannot be combined with text.format. Send only one of them', {
          path: ['structured_outputs'],
        });
      }
      const functions = body.tools?.map((tool) => tool.function);
      checkTools({ tools: functions, tool_choice: body.tool_choice }, ctx);
      if (body.top_logprobs != null && !body.include?.includes(LOGPROBS)) {
        addIssue(ctx, `needs "include": ["${LOGPROBS}"]`, { path: ['top_logprobs'] });
      }
    })
    .openapi('ResponseRequest');
}

/** A checked request. */
export type ResponseRequest = z.output<ReturnType<typeof responseRequestSchema>>;

/** A format: the constraint, if there is one, with its path in the body, and the value that the response repeats. */
interface TextFormat {
  readonly given: GivenConstraint | undefined;
  readonly shown: { readonly type: string; readonly [member: string]: unknown };
}

const TYPES = ['text', 'json_object', 'json_schema'];
/** The member of chat's format that holds the schema. */
const NESTING = 'json_schema';

/**
 * Returns a reader of formats.
 * @param chatFormat the schema of chat's `response_format`
 */
function formatReader(chatFormat: z.ZodType<GivenConstraint | undefined>) {
  return (value: unknown, ctx: Refine): TextFormat | undefined => {
    if (typeof value !== 'object') return addIssue(ctx, 'expected an object');
    const format = value as TextFormat['shown'];
    const { type, ...members } = format;
    if (!TYPES.includes(type)) {
      return addIssue(ctx, `must be ${TYPES.join(', ')}`, { path: ['type'] });
    }
    const nested = type === NESTING ? { type, [NESTING]: members } : format;
    const result = chatFormat.safeParse(nested);
    const flat = (path: readonly PropertyKey[]) => (path[0] === NESTING ? path.slice(1) : path);
    if (result.success) {
      const constraint = result.data;
      const path = constraint?.path && ['text', 'format', ...flat(constraint.path)];
      return { given: constraint && { ...constraint, ...(path && { path }) }, shown: format };
    }
    for (const { path, ...issue } of result.error.issues) {
      const placed = { ...issue, path: flat(path), input: value };
      ctx.addIssue(placed as Parameters<Refine['addIssue']>[0]);
    }
    return undefined;
  };
}

/** The schema of the field. */
function responseTextSchema(chatFormat: z.ZodType<GivenConstraint | undefined>) {
  const read = formatReader(chatFormat);
  const format = readBy((value, ctx) => (value == null ? undefined : read(value, ctx)), {
    type: 'object',
    properties: {
      type: { enum: TYPES },
      name: { type: 'string' },
      schema: { type: 'object', additionalProperties: true },
      strict: { type: 'boolean' },
    },
    required: ['type'],
  });
  return z.strictObject({ format, verbosity: onlyValue('medium') }).nullish();
}
