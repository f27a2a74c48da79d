// The request of `POST /v1/messages` and of its token count. Sampling fields and vLLM's fields are the same as in chat.
import { z } from '@hono/zod-openapi';
import { MAX_COUNT } from '../../common/max-count.ts';
import { addIssue, addUnsupported, parseInside, type Refine } from '../../common/schema-issues.ts';
import { type FunctionTool, functionSchema, MAX_TOOLS } from '../../contracts/tools.ts';
import { checkFormat, formatReader } from './constraints.ts';
import {
  type FieldRow,
  fieldsOf,
  INERT,
  only,
  onlyValue,
  REFUSED,
  readBy,
  rowOf,
  rows,
  sharedRows,
} from './fields.ts';
import { messagesSchema, systemSchema } from './message-blocks.ts';
import { GENERATION_NAMES, requestFields, type SchemaBounds } from './request-fields.ts';
import { checkTools, FUNCTION_FORM, type PlacedChoice, toolListSchema } from './tools.ts';

const messages = rowOf('messages');

/** The fields of a tool. */
export const MESSAGE_TOOL_FIELDS = {
  type: messages(z.literal('custom').nullish(), 'May be left out; only custom'),
  name: messages(z.unknown().optional(), 'The function'),
  description: messages(z.unknown().optional(), 'What it does'),
  input_schema: messages(z.unknown().optional(), 'The JSON Schema of its arguments'),
  strict: messages(z.unknown().optional(), 'Calls always satisfy the schema'),
  cache_control: messages(INERT, 'Every prefix can be cached'),
  eager_input_streaming: messages(INERT, 'Arguments are always streamed as they are written'),
  input_examples: messages(REFUSED, 'Not supported'),
  allowed_callers: messages(
    only('["direct"]', (value) => Array.isArray(value) && value.every((it) => it === 'direct')),
    'Only direct: programs cannot call tools',
  ),
  defer_loading: messages(onlyValue(false), 'Only false'),
} as const satisfies Record<string, FieldRow>;

const toolSchema = z.strictObject(fieldsOf(MESSAGE_TOOL_FIELDS, 'messages'));

/** Reads a tool. The paths of issues name Anthropic's fields. */
function toTool(value: unknown, ctx: Refine): FunctionTool | undefined {
  const { type } = (value ?? {}) as { type?: unknown };
  if (type != null && type !== 'custom') {
    return addUnsupported(ctx, 'only tools of type custom are supported', ['type']);
  }
  const tool = parseInside(toolSchema, value, ctx);
  if (!tool) return undefined;
  const { name, description, input_schema: parameters, strict } = tool;
  const result = functionSchema.safeParse({ name, description, parameters, strict });
  if (result.success) return result.data;
  for (const { path, ...issue } of result.error.issues) {
    const placed = path.map((part) => (part === 'parameters' ? 'input_schema' : part));
    ctx.addIssue({ ...issue, path: placed, input: value } as Parameters<Refine['addIssue']>[0]);
  }
  return undefined;
}

const toolForm = {
  type: 'object' as const,
  properties: {
    name: FUNCTION_FORM.properties.name,
    description: FUNCTION_FORM.properties.description,
    input_schema: FUNCTION_FORM.properties.parameters,
  },
  required: ['name', 'input_schema'],
};

const toolsSchema = toolListSchema(toTool, (tool) => tool, toolForm);

const MODES = { auto: 'auto', any: 'required', none: 'none', tool: 'required' } as const;

/** The choice between tools, and whether an answer has at most one call. */
const choiceSchema = z
  .strictObject({
    type: z.enum(['auto', 'any', 'tool', 'none']),
    name: z.string().optional(),
    disable_parallel_tool_use: z.boolean().nullish(),
  })
  .transform(({ type, name, disable_parallel_tool_use: isSingle }, ctx) => {
    if ((name === undefined) === (type === 'tool')) {
      const message = type === 'tool' ? 'is required with the type tool' : 'needs the type tool';
      return addIssue(ctx, message, ['name']);
    }
    const choice: PlacedChoice = {
      mode: MODES[type],
      ...(name !== undefined && { names: [name], isOne: true }),
      places: [['name']],
    };
    return { choice, isSingle: isSingle ?? false };
  });

/** Edits of the context that drop thoughts, which the model does not see anyway. */
const clearsThinking = (value: unknown) => {
  if (typeof value !== 'object' || Array.isArray(value)) return false;
  const { edits = [], ...rest } = value as { edits?: unknown };
  const isThinking = (edit: unknown) =>
    String((edit as { type?: unknown } | null)?.type).startsWith('clear_thinking_');
  return Object.keys(rest).length === 0 && Array.isArray(edits) && edits.every(isThinking);
};

/** Returns the table of fields, with the bounds of this server's model. */
export function messageFields(bounds: SchemaBounds) {
  const chat = requestFields(bounds);
  const readFormat = formatReader(chat.response_format.chat, ['output_config', 'format']);
  const format = readBy(readFormat, {
    type: 'object',
    properties: {
      type: { const: 'json_schema' },
      schema: { type: 'object', additionalProperties: true },
    },
    required: ['type', 'schema'],
  });
  return {
    model: messages(chat.model.chat, chat.model.help),
    messages: messages(
      messagesSchema(bounds.limits.maxMessages),
      'The conversation; an answer continues a last message of the assistant',
    ),
    max_tokens: messages(
      z.int().min(1).max(MAX_COUNT),
      'Required, except to count tokens; an answer also ends at the end of the context',
    ),
    system: messages(systemSchema, 'A system message before the conversation, as text or blocks'),
    stop_sequences: messages(chat.stop.chat, chat.stop.help),
    stream: messages(chat.stream.chat, chat.stream.help),
    tools: messages(
      toolsSchema.nullish().openapi({ type: ['array', 'null'] }),
      `Tools that the model may call, at most ${MAX_TOOLS}; hosted tools are refused`,
    ),
    tool_choice: messages(
      choiceSchema.nullish(),
      'The type is auto (the default), any, tool or none',
    ),
    thinking: messages(
      z
        .strictObject({
          type: z.enum(['disabled', 'enabled', 'adaptive', 'between_tools']),
          budget_tokens: INERT,
          display: INERT,
        })
        .nullish(),
      'Passed to the chat template as enable_thinking, which may ignore it',
    ),
    output_config: messages(
      z.strictObject({ effort: chat.reasoning_effort.chat, format }).nullish(),
      'effort: passed to the chat template as reasoning_effort, which may ignore it; format: a JSON Schema that the answer satisfies',
    ),
    ...sharedRows(chat, GENERATION_NAMES, 'chat', 'messages'),
    metadata: messages(
      z.strictObject({ user_id: z.string().nullish() }).nullish(),
      'user_id: requests of one user get the same version of a split alias; never logged',
    ),
    cache_control: messages(INERT, 'Every prefix can be cached'),
    context_management: messages(
      only('the edit clear_thinking', clearsThinking),
      'Only edits that clear thoughts, which the model does not see',
    ),
    speed: messages(onlyValue('standard'), 'Only standard'),
    ...rows(
      ['diagnostics', 'inference_geo', 'user_profile_id', 'workspace_id'],
      messages(INERT, 'For services of Anthropic'),
    ),
    ...rows(['container', 'mcp_servers'], messages(REFUSED, 'Services of Anthropic')),
  } as const satisfies Record<string, FieldRow>;
}

function fieldSchemas(bounds: SchemaBounds) {
  return fieldsOf(messageFields(bounds), 'messages');
}

type Fields = z.output<z.ZodObject<ReturnType<typeof fieldSchemas>>>;

/** Adds issues for combinations of fields that are not allowed. */
function checkMessages(
  { tools, tool_choice, output_config, structured_outputs }: Omit<Fields, 'max_tokens'>,
  ctx: Refine,
): void {
  checkTools({ tools, tool_choice: tool_choice?.choice }, ctx);
  checkFormat(
    { structured_outputs },
    { 'output_config.format': output_config?.format?.given },
    ctx,
  );
}

/** Renames the fields that other endpoints spell differently. */
function toBody<Body extends Omit<Fields, 'max_tokens'>>({
  system,
  messages,
  stop_sequences: stop,
  metadata,
  tool_choice: choice,
  ...body
}: Body) {
  return {
    ...body,
    messages: system === '' ? messages : [{ role: 'system', content: system }, ...messages],
    stop,
    user: metadata?.user_id,
    tool_choice: choice?.choice,
    parallel_tool_calls: !choice?.isSingle,
  };
}

/** The schema of a request, within a model's bounds. */
export function messageRequestSchema(bounds: SchemaBounds) {
  return z
    .strictObject(fieldSchemas(bounds))
    .superRefine(checkMessages)
    .transform(toBody)
    .openapi('MessageRequest');
}

/** The schema of a request to count tokens: the same fields, and `max_tokens` may be left out. */
export function messageCountSchema(bounds: SchemaBounds) {
  const { max_tokens, ...fields } = fieldSchemas(bounds);
  return z
    .strictObject({ ...fields, max_tokens: max_tokens.optional() })
    .superRefine(checkMessages)
    .transform(toBody)
    .openapi('MessageCountRequest');
}

/** A checked request. Only a request to count tokens may lack `max_tokens`. */
export type MessageRequest = z.output<ReturnType<typeof messageCountSchema>>;
