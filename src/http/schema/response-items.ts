// The input of `POST /v1/responses`: a text, or items. A client can send back the items of an answer as it got them, from
// this server, OpenAI or their clients.
import { z } from '@hono/zod-openapi';
import { contentForms, contentReader, type PartForms } from './content.ts';
import { type FieldRow, fieldsOf, INERT } from './field-table.ts';
import { addIssue, type Refine } from './fields.ts';

function responses<Schema extends z.ZodType>(schema: Schema, help: string) {
  return { responses: schema, help };
}

/** The fields of a message except its content. */
export const MESSAGE_ITEM_FIELDS = {
  type: responses(z.literal('message'), 'May be left out'),
  role: responses(z.enum(['developer', 'system', 'user', 'assistant']), 'developer means system'),
  id: responses(INERT, 'As an answer had it'),
  status: responses(INERT, 'As an answer had it'),
  phase: responses(INERT, 'As an answer had it'),
} as const satisfies Record<string, FieldRow>;

/** The fields of a part of a message's content. */
export const ITEM_PART_FIELDS = {
  type: responses(z.unknown(), 'input_text, output_text or refusal'),
  text: responses(z.unknown(), 'Parts are joined without a separator'),
  refusal: responses(z.unknown(), 'The text of a refusal'),
  annotations: responses(INERT, 'Sources that an answer cited'),
  logprobs: responses(INERT, 'As an answer had them'),
  parsed: responses(INERT, "The text as OpenAI's clients parsed it"),
  prompt_cache_breakpoint: responses(INERT, 'Every prefix can be cached'),
} as const satisfies Record<string, FieldRow>;

const PARTS: PartForms = {
  textOf: { input_text: 'text', output_text: 'text', refusal: 'refusal' },
  fields: ITEM_PART_FIELDS,
};

const messageItemSchema = z
  .strictObject({
    ...fieldsOf(MESSAGE_ITEM_FIELDS, 'responses'),
    content: z
      .unknown()
      .optional()
      .transform(contentReader(PARTS))
      .pipe(z.string('is required'))
      .openapi({ anyOf: contentForms(PARTS) }),
  })
  .transform(({ type, role, content }) => ({ type, role, content }));

const itemReferenceSchema = z.strictObject({
  type: z.literal('item_reference'),
  id: z.string().openapi({ description: 'An item of a response that the server keeps' }),
});

/** Whether the server keeps responses, to which requests can then refer. */
export interface Keeping {
  readonly keepsResponses: boolean;
}

/** Why a request cannot refer to earlier responses. */
export const KEEPS_NONE =
  'this server keeps no responses. Send the earlier items in input, or start the server with --store-responses';

const ITEM_TYPES = ['message', 'item_reference'];

/** Returns the item with its type, which a message may leave out. Refuses types that the server does not have. */
function withType({ keepsResponses }: Keeping) {
  return (value: unknown, ctx: Refine): { type: string } => {
    if (typeof value !== 'object' || value === null) return addIssue(ctx, 'expected an object');
    const given = value as { type?: unknown; id?: unknown };
    // OpenAI's type of a reference is optional as well.
    const isReference = given.type == null && given.id !== undefined && !('content' in value);
    const type = given.type ?? (isReference ? 'item_reference' : 'message');
    const refuse = (message: string) =>
      addIssue(ctx, message, { path: ['type'], code: 'unsupported_parameter' });
    if (typeof type !== 'string' || !ITEM_TYPES.includes(type)) {
      return refuse(`only items of type ${ITEM_TYPES.join(', ')} are supported`);
    }
    if (type === 'item_reference' && !keepsResponses) return refuse(KEEPS_NONE);
    return { ...value, type };
  };
}

const anyItemSchema = z.discriminatedUnion('type', [messageItemSchema, itemReferenceSchema]);

/** An item of the input as the API's document shows it. */
export const inputItemSchema = anyItemSchema.openapi('ResponseInputItem');

/** A checked item. The text of a message is in one piece. */
export type InputItem = z.output<typeof anyItemSchema>;

/** Reads the input: a text is a message of the user. The number of items is checked before any item is. */
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
