// The messages of `POST /v1/messages`: content is text, or blocks of text, calls and results. A client can send back a message
// unchanged. The result is what the chat template takes.
import { z } from '@hono/zod-openapi';
import { addIssue, addUnsupported, parseInside, type Refine } from '../../common/schema-issues.ts';
import { calledFunctionSchema, MAX_CALL_ID_LENGTH, type ToolCall } from '../../contracts/tools.ts';
import { type FieldRow, fieldsOf, INERT, rowOf } from './fields.ts';

const messages = rowOf('messages');

// Piped, because a schema made before the API document's library was loaded cannot be described.
const callName = z.string().pipe(calledFunctionSchema.shape.name);
const callId = z.string().min(1).max(MAX_CALL_ID_LENGTH);

/** The fields of blocks, besides their type. */
export const BLOCK_FIELDS = {
  text: messages(z.string(), 'Blocks are joined without a separator'),
  citations: messages(INERT, 'Sources that an answer cited'),
  id: messages(callId, 'Connects a call and its result'),
  name: messages(callName, 'The tool'),
  input: messages(z.record(z.string(), z.unknown()), 'The arguments, as an object'),
  caller: messages(INERT, 'Copied from an answer'),
  tool_use_id: messages(callId, 'The call whose result this is'),
  content: messages(z.unknown(), 'The text of a result, or blocks of text'),
  is_error: messages(INERT, 'No chat template shows it; say it in the content'),
  toolset_name: messages(INERT, 'Copied from an answer'),
  cache_control: messages(INERT, 'Every prefix can be cached'),
} as const satisfies Record<string, FieldRow>;

const { cache_control, caller, citations, id, input, is_error, name, text, ...fields } = fieldsOf(
  BLOCK_FIELDS,
  'messages',
);
const { tool_use_id, toolset_name } = fields;

/** A checked block. */
type Block =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'tool_result'; readonly id: string; readonly text: string }
  | { readonly type: 'tool_use'; readonly call: ToolCall }
  | { readonly type: 'thinking' };

/** Type of block → its schema. */
type BlockSchemas = Readonly<Record<string, z.ZodType<Block>>>;

const textSchema = z
  .strictObject({ type: z.literal('text'), text, citations, cache_control })
  .transform((block) => ({ type: block.type, text: block.text }));

const toolUseSchema = z
  .strictObject({
    type: z.literal('tool_use'),
    ...{ id, name, input, caller, cache_control, toolset_name },
  })
  .transform(({ type, id, name, input }) => {
    return { type, call: { id, name, arguments: JSON.stringify(input) } };
  });

const toolResultSchema = z
  .strictObject({
    type: z.literal('tool_result'),
    content: z
      .unknown()
      .optional()
      .transform(blocksReader({ text: textSchema })),
    ...{ tool_use_id, is_error, cache_control, toolset_name },
  })
  .transform(({ type, tool_use_id: id, content }) => ({ type, id, text: textOf(content) }));

/** The thoughts of another model. Chat templates cannot show them, so their members do not matter. */
const thinkingSchema = z.looseObject({}).transform(() => ({ type: 'thinking' as const }));

/** Returns a reader of contents, which are a text or blocks. An absent content has no blocks. */
function blocksReader(schemas: BlockSchemas) {
  const types = Object.keys(schemas).join(', ');
  const readBlock = (value: unknown, ctx: Refine): Block | undefined => {
    const { type } = (value ?? {}) as { type?: unknown };
    if (typeof type === 'string' && Object.hasOwn(schemas, type)) {
      return parseInside(schemas[type]!, value, ctx);
    }
    const message = `only blocks of type ${types} are supported`;
    return addUnsupported(ctx, message, ['type']);
  };
  const list = z.array(z.unknown().transform(readBlock));
  return (value: unknown, ctx: Refine): Block[] => {
    if (value === undefined || value === null) return [];
    if (typeof value === 'string') return [{ type: 'text', text: value }];
    if (!Array.isArray(value)) return addIssue(ctx, 'expected a string or an array of blocks');
    const blocks = parseInside(list, value, ctx) ?? []; // only the issue matters
    return blocks as Block[];
  };
}

function textOf(blocks: readonly Block[]): string {
  return blocks.map((block) => (block.type === 'text' ? block.text : '')).join('');
}

/** A content in the API's document. */
const CONTENT_FORM = {
  anyOf: [
    { type: 'string' as const },
    {
      type: 'array' as const,
      items: {
        type: 'object' as const,
        properties: { type: { type: 'string' as const } },
        required: ['type'],
        additionalProperties: true,
      },
    },
  ],
};

/** The text of `system`. */
export const systemSchema = z
  .unknown()
  .optional()
  .transform(blocksReader({ text: textSchema }))
  .transform(textOf)
  .openapi({ anyOf: [...CONTENT_FORM.anyOf, { type: 'null' as const }] });

function messageSchema<Role extends string>(role: Role, schemas: BlockSchemas) {
  const content = z
    .unknown()
    .refine((value) => value !== undefined && value !== null, 'is required')
    .transform(blocksReader(schemas))
    .openapi(CONTENT_FORM);
  return z.strictObject({ role: z.literal(role), content });
}

const anyMessageSchema = z.discriminatedUnion(
  'role',
  [
    messageSchema('user', { text: textSchema, tool_result: toolResultSchema }),
    messageSchema('assistant', {
      text: textSchema,
      tool_use: toolUseSchema,
      thinking: thinkingSchema,
      redacted_thinking: thinkingSchema,
    }),
    messageSchema('system', { text: textSchema }),
  ],
  { error: ({ code }) => (code === 'invalid_union' ? 'must be user, assistant or system' : null) },
);

/** A message as the API's document shows it. */
export const inputMessageSchema = anyMessageSchema.openapi('InputMessage');

/** A message in the form that the chat template takes. */
interface TemplateMessage {
  role: string;
  content: string;
  toolCalls?: readonly ToolCall[];
  toolCallId?: string;
}

/** The messages of a request. Their number is checked before they are. */
export function messagesSchema(maxMessages: number) {
  return z
    .array(z.unknown())
    .min(1)
    .max(maxMessages)
    .pipe(z.array(anyMessageSchema))
    .transform(toTemplateMessages)
    .openapi({ type: 'array', items: { $ref: '#/components/schemas/InputMessage' } });
}

/** Joins consecutive messages of one role, as Anthropic does. Adds an issue for a result without a call. */
function toTemplateMessages(
  given: readonly z.output<typeof anyMessageSchema>[],
  ctx: Refine,
): TemplateMessage[] {
  const all: TemplateMessage[] = [];
  const callIds = new Set<string>();
  for (const [i, { role, content }] of given.entries()) {
    let separator = '\n'; // between the texts of two messages
    for (const [j, block] of content.entries()) {
      if (block.type === 'text') {
        const message = openMessage(all, role);
        message.content += (message.content && separator) + block.text;
        separator = '';
      } else if (block.type === 'tool_use') {
        const message = openMessage(all, role);
        message.toolCalls = [...(message.toolCalls ?? []), block.call];
        callIds.add(block.call.id);
      } else if (block.type === 'tool_result') {
        all.push({ role: 'tool', content: block.text, toolCallId: block.id });
        if (callIds.has(block.id)) continue;
        const path = [i, 'content', j, 'tool_use_id'];
        addIssue(ctx, 'no earlier tool_use has this id', path);
      }
    }
  }
  return all;
}

/** Returns the last message, or a new one if the last one has another role. */
function openMessage(all: TemplateMessage[], role: string): TemplateMessage {
  const last = all.at(-1);
  if (last?.role === role) return last;
  const message = { role, content: '' };
  all.push(message);
  return message;
}
