// The fields of requests. Tables say how each endpoint treats a field and what it means; schemas, refusals and documentation
// follow from the rows, which are in `request-fields.ts` and its neighbours. The checks here are faster or stricter than the
// schema library's: they bound their cost before they read any item, and their issues name the item at fault.
import { z } from '@hono/zod-openapi';
import { fieldError } from '../../common/errors.ts';
import { addIssue, type Refine } from '../../common/schema-issues.ts';
import { MAX_NEW_ROWS } from '../../contracts/added-tokens.ts';

/** The end of the year 9999, in Unix seconds. */
export const MAX_UNIX_SECONDS = 253_402_300_799;
/** The largest absolute value of a bias, as in OpenAI's API. It bans a token, or makes it certain. */
const MAX_LOGIT_BIAS = 100;

/** How the API's document shows a field that a check reads. */
interface Form {
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly object[];
}

/** The schema of an optional field that a check reads. `form` documents it. Null means the same as an absent field. */
export function readBy<T>(check: (value: NonNullable<unknown>, ctx: Refine) => T, form: object) {
  return readOr(undefined, check, form);
}

/** The same with the value of an absent field. */
export function readOr<T, Absent>(
  absent: Absent,
  check: (value: NonNullable<unknown>, ctx: Refine) => T,
  form: object,
) {
  const { type, enum: values, anyOf }: Form = form;
  const nullable = anyOf
    ? { anyOf: [...anyOf, { type: 'null' }] }
    : { type: [type, 'null'], ...(values && { enum: [...values, null] }) };
  return z
    .unknown()
    .optional()
    .transform((value, ctx): T | Absent => (value == null ? absent : check(value, ctx)))
    .openapi({ ...form, ...nullable } as object);
}

/**
 * Returns the largest token id that a schema allows. An adapter may have more tokens than its base; `checkTokenIds` knows the
 * model's number.
 */
export function maxTokenId(vocabSize: number): number {
  return vocabSize + MAX_NEW_ROWS - 1;
}

function isTokenId(value: unknown, vocabSize: number): value is number {
  if (!Number.isInteger(value)) return false;
  return (value as number) >= 0 && (value as number) <= maxTokenId(vocabSize);
}

/** A list of token ids in the API's document. */
export function tokenIdsForm(vocabSize: number) {
  const id = { type: 'integer' as const, minimum: 0, maximum: maxTokenId(vocabSize) };
  return { type: 'array' as const, items: id };
}

/** Prompts in the API's document. */
export function promptsForm(vocabSize: number) {
  const text = { type: 'string' as const };
  const ids = tokenIdsForm(vocabSize);
  return {
    anyOf: [
      text,
      { type: 'array' as const, items: text },
      ids,
      { type: 'array' as const, items: ids },
    ],
  };
}

/** Biases by token id in the API's document. */
export const LOGIT_BIAS_FORM = {
  type: 'object',
  additionalProperties: { type: 'number', minimum: -MAX_LOGIT_BIAS, maximum: MAX_LOGIT_BIAS },
} as const;

/** The fields of a request that may contain token ids. */
export type TokenFields = Readonly<
  Record<string, Prompts | ReadonlyMap<number, unknown> | readonly number[] | undefined>
>;

/**
 * Throws a `ServeError` (400) that names the field with an id that the model lacks. `size` is the size of the model's
 * vocabulary.
 */
export function checkTokenIds(fields: TokenFields, size: number): void {
  const refuse = (param: string, what: string) => {
    throw fieldError(param, `${what} is not a token id in [0, ${size})`);
  };
  const wrongItem = (ids: readonly number[]) => ids.findIndex((id) => id >= size);
  for (const [param, value] of Object.entries(fields)) {
    if (value instanceof Map) {
      for (const id of value.keys()) if (id >= size) refuse(param, 'a key');
    } else if (Array.isArray(value)) {
      const wrong = wrongItem(value);
      if (wrong >= 0) refuse(param, `item ${wrong}`);
    } else if (value && 'kind' in value && value.kind === 'ids') {
      for (const [i, ids] of value.prompts.entries()) {
        const wrong = wrongItem(ids);
        const prefix = value.prompts.length > 1 ? `prompt ${i}: ` : '';
        if (wrong >= 0) refuse(param, `${prefix}item ${wrong}`);
      }
    }
  }
}

/** The prompts of a request. */
export type Prompts =
  | { kind: 'text'; texts: readonly string[] }
  | { kind: 'ids'; prompts: readonly (readonly number[])[] };

/** Reads a string, an array of strings, token ids, or arrays of token ids. */
export function toPrompts(bounds: { vocabSize: number; maxPrompts: number }) {
  return (value: unknown, ctx: Refine): Prompts => {
    const nonEmptyTexts = (texts: readonly unknown[]): Prompts => {
      const wrong = texts.findIndex((text) => typeof text !== 'string' || text === '');
      if (wrong >= 0) return addIssue(ctx, `prompt ${wrong} is not a non-empty string`);
      return { kind: 'text', texts: texts as string[] };
    };
    if (typeof value === 'string') return nonEmptyTexts([value]);
    if (!Array.isArray(value) || value.length === 0) {
      return addIssue(
        ctx,
        'expected a non-empty string, or a non-empty array of strings or token ids',
      );
    }
    const isOneList = typeof value[0] === 'number';
    if (!isOneList && value.length > bounds.maxPrompts) {
      return addIssue(ctx, `at most ${bounds.maxPrompts} prompts are allowed`);
    }
    if (typeof value[0] === 'string') return nonEmptyTexts(value);
    const prompts = isOneList ? [value] : value;
    for (const [i, ids] of prompts.entries()) {
      if (!Array.isArray(ids) || ids.length === 0) {
        return addIssue(ctx, `prompt ${i} is not a non-empty array of token ids`);
      }
      const wrong = ids.findIndex((id) => !isTokenId(id, bounds.vocabSize));
      if (wrong < 0) continue;
      const prefix = isOneList ? '' : `prompt ${i}: `;
      return addIssue(ctx, `${prefix}item ${wrong} is not a token id in [0, ${bounds.vocabSize})`);
    }
    return { kind: 'ids', prompts };
  };
}

/** Reads an object that maps token ids to biases of their logits. */
export function toLogitBias(bounds: { vocabSize: number; maxCount: number }) {
  return (value: NonNullable<unknown>, ctx: Refine): Map<number, number> => {
    const bias = new Map<number, number>();
    if (typeof value !== 'object' || Array.isArray(value)) {
      return addIssue(ctx, 'expected an object of token id to bias');
    }
    const entries = Object.entries(value);
    if (entries.length > bounds.maxCount) {
      return addIssue(ctx, `at most ${bounds.maxCount} biases are allowed`);
    }
    for (const [key, amount] of entries) {
      const id = /^\d{1,10}$/.test(key) ? Number(key) : -1;
      if (!isTokenId(id, bounds.vocabSize)) {
        return addIssue(ctx, `a key is not a token id in [0, ${bounds.vocabSize})`);
      }
      if (typeof amount !== 'number' || !(Math.abs(amount) <= MAX_LOGIT_BIAS)) {
        const range = `[-${MAX_LOGIT_BIAS}, ${MAX_LOGIT_BIAS}]`;
        return addIssue(ctx, `the bias of token ${id} is not a number in ${range}`);
      }
      bias.set(id, amount);
    }
    return bias;
  };
}

/** Reads one or more non-empty strings of at most `maxBytes` in total. Drops duplicates. */
export function toStopStrings({ maxBytes }: { maxBytes: number }) {
  return (value: unknown, ctx: Refine): readonly string[] => {
    const stops: unknown = typeof value === 'string' ? [value] : value;
    if (!Array.isArray(stops)) return addIssue(ctx, 'expected a string or an array of strings');
    let bytes = 0;
    for (const stop of stops) {
      if (typeof stop !== 'string' || stop === '') {
        return addIssue(ctx, 'expected a string or an array of strings, none of them empty');
      }
      bytes += Buffer.byteLength(stop);
      if (bytes > maxBytes) return addIssue(ctx, `at most ${maxBytes} bytes are allowed in total`);
    }
    return [...new Set(stops)];
  };
}

/** Reads token ids. */
export function toTokenIds(bounds: { vocabSize: number; maxCount: number }) {
  return (value: unknown, ctx: Refine): readonly number[] => {
    if (!Array.isArray(value)) return addIssue(ctx, 'expected an array of token ids');
    if (value.length > bounds.maxCount)
      return addIssue(ctx, `at most ${bounds.maxCount} are allowed`);
    const wrong = value.findIndex((id) => !isTokenId(id, bounds.vocabSize));
    if (wrong < 0) return value;
    return addIssue(ctx, `item ${wrong} is not a token id in [0, ${bounds.vocabSize})`);
  };
}

const MAX_TEMPLATE_ARGUMENTS = 16;
const MAX_TEMPLATE_TEXT = 1024;
/** The largest number in a variable, because a template may loop that many times. */
const MAX_TEMPLATE_NUMBER = 1024;
const TEMPLATE_VARIABLE = /^[a-z][a-z0-9_]{0,63}$/i;

/** Variables of a chat template. They must be small, because the template runs on the event loop. */
type TemplateArguments = Readonly<Record<string, string | number | boolean | null>>;

/** Reads the variables of a chat template. Rendering refuses the ones that the server sets itself. */
export function toTemplateArguments(value: NonNullable<unknown>, ctx: Refine): TemplateArguments {
  if (typeof value !== 'object' || Array.isArray(value)) return addIssue(ctx, 'expected an object');
  const entries = Object.entries(value);
  if (entries.length > MAX_TEMPLATE_ARGUMENTS) {
    return addIssue(ctx, `at most ${MAX_TEMPLATE_ARGUMENTS} variables are allowed`);
  }
  for (const [name, argument] of entries) {
    if (!TEMPLATE_VARIABLE.test(name)) return addIssue(ctx, 'a key is not the name of a variable');
    if (isTemplateArgument(argument)) continue;
    const message =
      `expected a string of at most ${MAX_TEMPLATE_TEXT} characters, a number of at most ` +
      `${MAX_TEMPLATE_NUMBER}, a boolean or null`;
    return addIssue(ctx, message, [name]);
  }
  return value as TemplateArguments;
}

function isTemplateArgument(value: unknown): boolean {
  if (typeof value === 'string') return value.length <= MAX_TEMPLATE_TEXT;
  if (typeof value === 'number') return Math.abs(value) <= MAX_TEMPLATE_NUMBER;
  return value === null || typeof value === 'boolean';
}

/** An integer in a query or form. */
export function integerText(min: number, max: number) {
  const message = `must be a whole number from ${min} to ${max}`;
  return z
    .string()
    .regex(/^\d{1,15}$/, message)
    .transform(Number)
    .pipe(z.number().min(min, message).max(max, message))
    .openapi({ type: 'integer', minimum: min, maximum: max });
}

/** The parameters of a query for one page of a list. The longest page is OpenAI's. */
export function pageQuery(limit: number, maxLimit = 100) {
  return {
    after: z.string().max(512).optional().describe('The id of the last item of the previous page'),
    limit: integerText(1, maxLimit).default(limit),
  };
}

/** The order of a list by time. */
export const orderQuery = z.enum(['asc', 'desc']).default('desc');

/** OpenAI's limits of metadata. */
export const MAX_METADATA_PAIRS = 16;
const MAX_METADATA_KEY = 64;
const MAX_METADATA_VALUE = 512;

/** Pairs that a client attaches to an object. */
export const metadataSchema = z.record(z.string(), z.string()).superRefine((metadata, ctx) => {
  const pairs = Object.entries(metadata);
  if (pairs.length > MAX_METADATA_PAIRS) addIssue(ctx, `at most ${MAX_METADATA_PAIRS} pairs`);
  for (const [key, value] of pairs) {
    if (key.length > MAX_METADATA_KEY)
      addIssue(ctx, `keys have at most ${MAX_METADATA_KEY} characters`);
    if (value.length <= MAX_METADATA_VALUE) continue;
    addIssue(ctx, `values have at most ${MAX_METADATA_VALUE} characters`);
  }
});

/** The endpoints whose requests have a table. */
export type EndpointName =
  | 'chat'
  | 'completions'
  | 'responses'
  | 'messages'
  | 'embeddings'
  | 'classify';

/** A field's meaning, and its schema for each endpoint that accepts it. */
export type FieldRow = { readonly [Name in EndpointName]?: z.ZodType } & { readonly help: string };

/** The schemas of one endpoint's fields, by name. */
type FieldsOf<Table, R extends EndpointName> = {
  [Name in keyof Table as Table[Name] extends Record<R, z.ZodType>
    ? Name
    : never]: Table[Name] extends Record<R, infer Schema> ? Schema : never;
};

/** The options of a check that refuses what only other servers support. */
export function unsupported(message: string) {
  return { message, params: { code: 'unsupported_parameter' } };
}

/** Accepts and ignores a field that could not change the completion. */
export const INERT = z.unknown().optional();

/**
 * Refuses a field by name, because ignoring it would change the completion. null and [] ask for nothing and pass. {} asks for the
 * defaults: `"web_search_options": {}` turns OpenAI's search on.
 */
export const REFUSED = z
  .unknown()
  .optional()
  .refine(
    (value) => value == null || (Array.isArray(value) && value.length === 0),
    unsupported('is not supported by this server'),
  );

/** The schemas that `only` returned, for the documentation. */
export const DEFAULT_ONLY = new WeakSet<z.ZodType>();

/** Accepts only values that request what the server does anyway. `accepted` names them in the error. */
export function only(accepted: string, isAccepted: (value: unknown) => boolean) {
  const schema = z
    .unknown()
    .optional()
    .refine(
      (value) => value === undefined || value === null || isAccepted(value),
      unsupported(`only ${accepted} is supported by this server`),
    );
  DEFAULT_ONLY.add(schema);
  return schema;
}

/** Accepts only this value. */
export function onlyValue(accepted: boolean | number | string) {
  return only(JSON.stringify(accepted), (value) => value === accepted);
}

/** Returns a function that makes the rows of fields that only one endpoint has. */
export function rowOf<R extends EndpointName>(route: R) {
  return <Schema extends z.ZodType>(schema: Schema, help: string) =>
    ({ [route]: schema, help }) as Record<R, Schema> & { help: string };
}

/** Returns the rows of fields that have the same meaning for another endpoint. */
export function sharedRows<
  From extends EndpointName,
  Name extends string,
  Table extends Record<Name, Record<From, z.ZodType> & { help: string }>,
  To extends EndpointName,
>(table: Table, names: readonly Name[], from: From, to: To) {
  const shared = names.map((name) => [name, rowOf(to)(table[name][from], table[name].help)]);
  return Object.fromEntries(shared) as {
    [N in Name]: Record<To, Table[N][From]> & { help: string };
  };
}

/** A field that chat and completions treat alike. */
export function both<Schema extends z.ZodType>(schema: Schema, help: string) {
  return { chat: schema, completions: schema, help };
}

/** The row of a field that chat and completions ignore. */
export function inert(help: string) {
  return both(INERT, help);
}

/** The row of a field that chat and completions refuse. */
export function refused(help: string) {
  return both(REFUSED, help);
}

/** Several fields with the same row. */
export function rows<const Name extends string, Row extends FieldRow>(
  names: readonly Name[],
  row: Row,
): Record<Name, Row> {
  return Object.fromEntries(names.map((name) => [name, row])) as Record<Name, Row>;
}

/** Returns the schemas of an endpoint's fields, with the rows' descriptions. */
export function fieldsOf<Table extends Record<string, FieldRow>, R extends EndpointName>(
  table: Table,
  route: R,
): FieldsOf<Table, R> {
  const fields = Object.entries(table).flatMap(([name, row]) => {
    const schema = row[route];
    return schema ? [[name, schema.openapi({ description: row.help })]] : [];
  });
  return Object.fromEntries(fields);
}
