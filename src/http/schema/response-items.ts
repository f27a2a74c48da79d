// The input of `POST /v1/responses`: a text, or items. A client can send back the items of a response unchanged, whether they
// come from this server, OpenAI or their clients.
import { z } from '@hono/zod-openapi';
import { addIssue, addUnsupported, type Refine } from '../../common/schema-issues.ts';
import { calledFunctionSchema, MAX_CALL_ID_LENGTH } from '../../contracts/tools.ts';
import { contentForms, contentReader, type PartForms } from './content.ts';
import { type FieldRow, fieldsOf, INERT, REFUSED, rowOf } from './fields.ts';

const responses = rowOf('responses');

/** The fields of a message other than its content. */
export const MESSAGE_ITEM_FIELDS = {
  type: responses(
    z
      .literal('message')
      .default('message')
      .openapi({ type: ['string', 'null'], enum: ['message', null] }),
    'May be left out',
  ),
  role: responses(z.enum(['developer', 'system', 'user', 'assistant']), 'developer means system'),
  id: responses(INERT, 'Copied from an answer'),
  status: responses(INERT, 'Copied from an answer'),
  phase: responses(INERT, 'Copied from an answer'),
} as const satisfies Record<string, FieldRow>;

/** The fields of a content part. */
export const ITEM_PART_FIELDS = {
  type: responses(z.unknown(), 'input_text, output_text or refusal'),
  text: responses(z.unknown(), 'Parts are joined without a separator'),
  refusal: responses(z.unknown(), 'The text of a refusal'),
  annotations: responses(INERT, 'Sources that an answer cited'),
  logprobs: responses(INERT, 'Copied from an answer'),
  parsed: responses(INERT, "The text as OpenAI's clients parsed it"),
  prompt_cache_breakpoint: responses(INERT, 'Every prefix can be cached'),
} as const satisfies Record<string, FieldRow>;

const PARTS: PartForms = {
  textOf: { input_text: 'text', output_text: 'text', refusal: 'refusal' },
  fields: ITEM_PART_FIELDS,
};

const textContent = z
  .unknown()
  .optional()
  .transform(contentReader(PARTS))
  .pipe(z.string('is required'))
  .openapi({ anyOf: contentForms(PARTS) });

const messageItemSchema = z
  .strictObject({ ...fieldsOf(MESSAGE_ITEM_FIELDS, 'responses'), content: textContent })
  .transform(({ type, role, content }) => ({ type, role, content }));

// Piped, because a schema made before the API document's library was loaded cannot be described.
const callShape = calledFunctionSchema.shape;

/** The fields of calls and their results. */
export const CALL_ITEM_FIELDS = {
  call_id: responses(z.string().min(1).max(MAX_CALL_ID_LENGTH), 'Connects a call and its result'),
  name: responses(z.string().pipe(callShape.name), 'The function'),
  arguments: responses(z.string().pipe(callShape.arguments), 'The text of a JSON object'),
  input: responses(z.string(), 'The text for a custom tool'),
  id: responses(INERT, 'Copied from an answer'),
  status: responses(INERT, 'Copied from an answer'),
  created_by: responses(INERT, 'Copied from an answer'),
  parsed_arguments: responses(INERT, "The arguments as OpenAI's clients parsed them"),
  caller: responses(REFUSED, 'Programs that call tools'),
  namespace: responses(REFUSED, 'Namespaces of tools'),
} as const satisfies Record<string, FieldRow>;

const {
  call_id,
  name,
  arguments: callArguments,
  input,
  ...callRest
} = fieldsOf(CALL_ITEM_FIELDS, 'responses');
const { parsed_arguments, namespace, ...outputRest } = callRest;

const callItemSchema = z
  .strictObject({
    type: z.literal('function_call'),
    call_id,
    name,
    arguments: callArguments,
    ...callRest,
  })
  .transform(({ type, call_id, name, ...call }) => {
    return { type, call_id, name, arguments: call.arguments };
  });

const callOutputItemSchema = z
  .strictObject({
    type: z.literal('function_call_output'),
    call_id,
    output: textContent,
    ...outputRest,
  })
  .transform(({ type, call_id, output }) => ({ type, call_id, output }));

const customCallItemSchema = z
  .strictObject({
    type: z.literal('custom_tool_call'),
    call_id,
    name,
    input,
    ...outputRest,
    namespace,
  })
  .transform(({ call_id, name, input }) => ({
    type: 'function_call' as const,
    call_id,
    name,
    arguments: JSON.stringify({ input }),
    isCustom: true as const,
  }));

const customOutputItemSchema = z
  .strictObject({
    type: z.literal('custom_tool_call_output'),
    call_id,
    output: textContent,
    ...outputRest,
  })
  .transform(({ call_id, output }) => ({
    type: 'function_call_output' as const,
    call_id,
    output,
    isCustom: true as const,
  }));

/** The reasoning of another model. Chat templates cannot show it, so its members do not matter. */
const reasoningItemSchema = z
  .looseObject({ type: z.literal('reasoning') })
  .transform(({ type }) => ({ type }));

/** The place of an item that the model does not see. */
export type ReasoningItem = z.output<typeof reasoningItemSchema>;

const itemReferenceSchema = z.strictObject({
  type: z.literal('item_reference'),
  id: z.string().describe('An item of a response that the server keeps'),
});

/** Whether the server keeps responses, so that requests can refer to them. */
export interface Keeping {
  readonly keepsResponses: boolean;
}

/** The reason that a request cannot refer to earlier responses. */
export const KEEPS_NONE =
  'this server keeps no responses. Send the earlier items in input, or start the server with --store-responses';

const ITEM_TYPES = [
  'message',
  'function_call',
  'function_call_output',
  'custom_tool_call',
  'custom_tool_call_output',
  'reasoning',
  'item_reference',
];

/** Returns the item with its type, which a message may leave out. Refuses types that the server lacks. */
function withType({ keepsResponses }: Keeping) {
  return (value: unknown, ctx: Refine): unknown => {
    if (typeof value !== 'object' || value === null) return addIssue(ctx, 'expected an object');
    const item = value as { type?: unknown; id?: unknown };
    // The type of a reference is also optional in OpenAI's API.
    const isReference = item.type == null && item.id !== undefined && !('content' in value);
    const type = item.type ?? (isReference ? 'item_reference' : 'message');
    const refuse = (message: string) => addUnsupported(ctx, message, ['type']);
    if (typeof type !== 'string' || !ITEM_TYPES.includes(type)) {
      return refuse(`only items of type ${ITEM_TYPES.join(', ')} are supported`);
    }
    if (type === 'item_reference' && !keepsResponses) return refuse(KEEPS_NONE);
    return { ...value, type };
  };
}

const anyItemSchema = z.discriminatedUnion('type', [
  messageItemSchema,
  callItemSchema,
  callOutputItemSchema,
  customCallItemSchema,
  customOutputItemSchema,
  reasoningItemSchema,
  itemReferenceSchema,
]);

/** An item of the input as the API's document shows it. */
export const inputItemSchema = anyItemSchema.openapi('ResponseInputItem');

/** A checked item, whose text is one string. */
export type InputItem = z.output<typeof anyItemSchema>;

/** Reads the input. A plain text is a user message. The number of items is checked before the items are. */
export function inputSchema({ maxItems, ...keeping }: Keeping & { maxItems: number }) {
  return z
    .unknown()
    .transform((value, ctx): unknown[] => {
      if (typeof value === 'string') return [{ role: 'user', content: value }];
      if (value === undefined) return addIssue(ctx, 'is required');
      if (!Array.isArray(value) || value.length === 0) {
        return addIssue(ctx, 'expected a string or a non-empty array of items');
      }
      if (value.length > maxItems) return addIssue(ctx, `at most ${maxItems} items are allowed`);
      return value;
    })
    .pipe(z.array(z.unknown().transform(withType(keeping)).pipe(anyItemSchema)));
}

/** Reads a list of items, which may be references. */
export function inputItemsSchema(maxItems: number) {
  const item = z
    .unknown()
    .transform(withType({ keepsResponses: true }))
    .pipe(anyItemSchema);
  return z.array(z.unknown()).max(maxItems).pipe(z.array(item));
}
