// The fields of a request that constrain its completion, as OpenAI, vLLM and llama.cpp spell them. Each becomes a constraint,
// which `constraint-check.ts` compiles once the request has its queue entry.
import { isDeepStrictEqual } from 'node:util';
import { z } from '@hono/zod-openapi';
import { parseShallowText } from '../../common/json-scan.ts';
import { addIssue, addUnsupported, parseInside, type Refine } from '../../common/schema-issues.ts';
import type { Constraint, SchemaReading } from '../../contracts/generation.ts';
import { both, INERT, REFUSED, readBy, rows } from './fields.ts';
import { structuralTagSchema } from './structural-tag.ts';

/** A request's constraint, and its path within its field. */
export interface GivenConstraint {
  readonly constraint: Constraint;
  /** The path to the constraint within its field. Absent if this file made the constraint, so that it is certainly usable. */
  readonly path?: readonly PropertyKey[];
}

/** Unlike an absent format, this overrides an adapter's default format. */
const ANY_TEXT: GivenConstraint = { constraint: { kind: 'any_text' } };
const ANY_OBJECT: GivenConstraint = {
  constraint: { kind: 'json_schema', schema: { type: 'object' } },
};
const MAX_NAME_LENGTH = 64;
/** A longer list is a vocabulary, not a choice. */
const MAX_CHOICES = 10_000;

/** Reads one spelling of a constraint. Adds issues below the given path. */
type Reader = (value: unknown, ctx: Refine, path: PropertyKey[]) => GivenConstraint | undefined;

/** Returns a reader of a value that may also be given as JSON text. */
function jsonReader(read: Reader): Reader {
  return (value, ctx, path) => {
    let json = value;
    try {
      if (typeof value === 'string') json = parseShallowText(value);
    } catch {
      return addIssue(ctx, 'is not JSON', path);
    }
    return read(json, ctx, path);
  };
}

const readSchema = jsonReader((schema, _ctx, path) => {
  return { constraint: { kind: 'json_schema', schema }, path };
});

function textReader(toConstraint: (text: string) => Constraint): Reader {
  return (value, ctx, path) => {
    if (typeof value !== 'string') return addIssue(ctx, 'expected a string', path);
    return { constraint: toConstraint(value), path };
  };
}

const readRegex = textReader((pattern) => ({ kind: 'regex', pattern }));
const readGrammar = textReader((source) => ({ kind: 'grammar', source }));

const readChoice: Reader = (value, ctx, path) => {
  const isChoice =
    Array.isArray(value) &&
    value.length > 0 &&
    value.length <= MAX_CHOICES &&
    value.every((text) => typeof text === 'string');
  if (!isChoice) return addIssue(ctx, `expected 1 to ${MAX_CHOICES} strings`, path);
  return { constraint: { kind: 'choice', texts: value }, path };
};

const readFlag: Reader = (value, ctx, path) => {
  if (typeof value !== 'boolean') return addIssue(ctx, 'expected true or false', path);
  return value ? ANY_OBJECT : undefined;
};

const readTag = jsonReader((value, ctx, path) => {
  const tag = structuralTagSchema.safeParse(value);
  if (tag.success) return { constraint: tag.data, path };
  const message = 'is not a structural tag: expected format, or structures with triggers';
  return addIssue(ctx, message, path);
});

/** vLLM's `structured_outputs`: exactly one of these. */
const OUTPUTS: Readonly<Record<string, Reader>> = {
  json: readSchema,
  json_object: readFlag,
  regex: readRegex,
  choice: readChoice,
  grammar: readGrammar,
  structural_tag: readTag,
};
/** These options ask for the server's only behavior. */
const OUTPUT_OPTIONS: ReadonlySet<string> = new Set([
  'disable_fallback',
  'disable_any_whitespace',
  'disable_additional_properties',
]);

const readOutputs: Reader = (value, ctx) => {
  if (typeof value !== 'object') return addIssue(ctx, 'expected an object');
  const entries = Object.entries(value as object).filter(([, part]) => part != null);
  const unknown = entries.find(
    ([name]) => !Object.hasOwn(OUTPUTS, name) && !OUTPUT_OPTIONS.has(name),
  );
  if (unknown) {
    return addUnsupported(ctx, 'is not supported by this server', [unknown[0]]);
  }
  const outputs = entries.filter(([name]) => Object.hasOwn(OUTPUTS, name));
  if (outputs.length !== 1) {
    return addIssue(ctx, `expected exactly one of ${Object.keys(OUTPUTS).join(', ')}`);
  }
  const [name, part] = outputs[0]!;
  return OUTPUTS[name]!(part, ctx, [name]);
};

const jsonSchemaFormat = z.strictObject({
  type: z.literal('json_schema'),
  json_schema: z.strictObject({
    name: z.string().max(MAX_NAME_LENGTH).optional(),
    description: z.string().optional(),
    schema: z.unknown().optional(),
    strict: z.boolean().nullish(),
  }),
});

/** OpenAI's formats, llama-server's `{"type": "json_object", "schema": …}` and vLLM's structural tags. */
const readFormat: Reader = (value, ctx) => {
  if (typeof value !== 'object') return addIssue(ctx, 'expected an object');
  const { type, ...rest } = value as Record<string, unknown>;
  if (type === 'structural_tag') return readTag(value, ctx, []);
  if (type === 'json_schema') {
    const format = parseInside(jsonSchemaFormat, value, ctx);
    if (!format) return undefined;
    const { schema } = format.json_schema;
    return schema === undefined ? ANY_OBJECT : readSchema(schema, ctx, ['json_schema', 'schema']);
  }
  if (type !== 'text' && type !== 'json_object') {
    return addIssue(ctx, 'must be text, json_object or json_schema', ['type']);
  }
  const unknown = Object.keys(rest).find((name) => type === 'text' || name !== 'schema');
  if (unknown !== undefined) return addIssue(ctx, `does not belong to ${type}`, [unknown]);
  if (type === 'text') return ANY_TEXT;
  return rest['schema'] == null ? ANY_OBJECT : readSchema(rest['schema'], ctx, ['schema']);
};

/** A format: the constraint, if there is one, with its path in the body, and the value that a response repeats. */
interface TextFormat {
  readonly given: GivenConstraint | undefined;
  readonly shown: { readonly type: string; readonly [member: string]: unknown };
}

/** The types of formats without nesting. */
export const FORMAT_TYPES = ['text', 'json_object', 'json_schema'];
/** The member of chat's format that holds the schema. */
const NESTING = 'json_schema';

/**
 * Returns a reader of formats whose schema is not nested.
 * @param chatFormat the schema of chat's `response_format`
 * @param fieldPath the field's path in the body
 */
export function formatReader(
  chatFormat: z.ZodType<GivenConstraint | undefined>,
  fieldPath: readonly string[],
) {
  return (value: unknown, ctx: Refine): TextFormat | undefined => {
    if (typeof value !== 'object') return addIssue(ctx, 'expected an object');
    const format = value as TextFormat['shown'];
    const { type, ...members } = format;
    if (!FORMAT_TYPES.includes(type)) {
      return addIssue(ctx, `must be ${FORMAT_TYPES.join(', ')}`, ['type']);
    }
    if (type === NESTING && members['schema'] === undefined) {
      return addIssue(ctx, 'is required', ['schema']);
    }
    const nested = type === NESTING ? { type, [NESTING]: members } : format;
    const result = chatFormat.safeParse(nested);
    const flat = (path: readonly PropertyKey[]) => (path[0] === NESTING ? path.slice(1) : path);
    if (result.success) {
      const constraint = result.data;
      const path = constraint?.path && [...fieldPath, ...flat(constraint.path)];
      return { given: constraint && { ...constraint, ...(path && { path }) }, shown: format };
    }
    for (const { path, ...issue } of result.error.issues) {
      const placed = { ...issue, path: flat(path), input: value };
      ctx.addIssue(placed as Parameters<Refine['addIssue']>[0]);
    }
    return undefined;
  };
}

function constraint(read: Reader, help: string, documented: object) {
  const check = (value: unknown, ctx: Refine) => read(value, ctx, []);
  return both(readBy(check, documented), help);
}

const text = { type: 'string' } as const;
const object = { type: 'object', additionalProperties: true } as const;
const schema = { anyOf: [object, text] };
const texts = { type: 'array', items: text } as const;

/** The fields that constrain a completion. A request may set several of them only to the same constraint. */
const SPELLINGS = {
  response_format: constraint(
    readFormat,
    'text, json_object, or json_schema with a JSON Schema that the answer satisfies',
    object,
  ),
  structured_outputs: constraint(
    readOutputs,
    "vLLM's: one of json, json_object, regex, choice, grammar and structural_tag",
    object,
  ),
  json_schema: constraint(readSchema, "llama-server's: a JSON Schema", schema),
  grammar: constraint(readGrammar, "llama-server's: a grammar in GBNF with a rule root", text),
  regex: constraint(readRegex, 'A regular expression that matches the whole answer', text),
  ...rows(['guided_json'], constraint(readSchema, 'The older spelling of vLLM', schema)),
  ...rows(['guided_regex'], constraint(readRegex, 'The older spelling of vLLM', text)),
  ...rows(['guided_choice'], constraint(readChoice, 'The older spelling of vLLM', texts)),
  ...rows(['guided_grammar'], constraint(readGrammar, 'The older spelling of vLLM', text)),
};

/** How JSON Schemas are read. */
const extension = z
  .strictObject({
    additional_properties: z.enum(['closed', 'schema']).nullish(),
    property_order: z.enum(['schema', 'any']).nullish(),
    missing_type: z.enum(['keywords', 'any']).nullish(),
  })
  .nullish();

/** The constraints' rows of the table of fields. */
export const CONSTRAINT_FIELDS = {
  ...SPELLINGS,
  lorikeet: both(
    extension,
    'How JSON Schemas are read: additional_properties (closed or schema), property_order (schema or any), missing_type (keywords or any); the first ones are the defaults',
  ),
  guided_decoding_backend: both(INERT, 'There is only one'),
  guided_whitespace_pattern: both(REFUSED, 'JSON has no white space between its tokens'),
};

/**
 * Returns the constraint of a request, if it has one, and its path in the body. A request for text has the constraint
 * `any_text`.
 */
export function constraintOf(body: ConstraintFields): GivenConstraint | undefined {
  const [field = 'response_format'] = spellingsIn(body);
  const given = body[field];
  return given && { ...given, path: [field, ...(given.path ?? [])] };
}

/** Returns the constraint with the settings of its request. */
export function withExtension(
  given: GivenConstraint | undefined,
  settings: z.infer<typeof extension>,
): GivenConstraint | undefined {
  if (!given || !settings) return given;
  const reading: SchemaReading = {
    ...(settings.additional_properties === 'schema' && { isOpen: true }),
    ...(settings.property_order === 'any' && { isUnordered: true }),
    ...(settings.missing_type === 'any' && { isUntyped: true }),
  };
  return { ...given, constraint: withReading(given.constraint, reading) };
}

/** Returns the constraint with all its JSON Schemas read in this way. */
function withReading(constraint: Constraint, reading: SchemaReading): Constraint {
  const inside = (inner: Constraint) => withReading(inner, reading);
  switch (constraint.kind) {
    case 'json_schema':
      return { ...constraint, ...reading };
    case 'sequence':
      return { ...constraint, parts: constraint.parts.map(inside) };
    case 'any_of':
      return { ...constraint, options: constraint.options.map(inside) };
    case 'repeat':
      return { ...constraint, item: inside(constraint.item) };
    case 'tags': {
      const tags = constraint.tags.map((tag) => ({ ...tag, content: inside(tag.content) }));
      return { ...constraint, tags };
    }
    default:
      return constraint;
  }
}

/** Adds an issue if a request has two different constraints. Some clients send one in a newer and in an older spelling. */
export function checkSingleConstraint(body: ConstraintFields, ctx: Refine): void {
  const [first, ...others] = spellingsIn(body);
  const second = others.find((name) => !isSameConstraint(body[first!], body[name]));
  if (second === undefined) return;
  addIssue(ctx, `cannot be combined with ${first}. Send only one of them`, [second]);
}

/** Adds an issue if a request has a constraint in `structured_outputs` and another one in a field of its API. */
export function checkFormat(
  { structured_outputs: outputs }: ConstraintFields,
  format: Readonly<Record<string, GivenConstraint | undefined>>,
  ctx: Refine,
): void {
  for (const [field, given] of Object.entries(format)) {
    if (!outputs || !given || isSameConstraint(outputs, given)) continue;
    const path = ['structured_outputs'];
    addIssue(ctx, `cannot be combined with ${field}. Send only one of them`, path);
  }
}

/** Whether two fields ask for the same constraint. */
function isSameConstraint(
  one: GivenConstraint | undefined,
  other: GivenConstraint | undefined,
): boolean {
  return isDeepStrictEqual(one?.constraint, other?.constraint);
}

/** The fields of a checked request that may hold a constraint. */
export type ConstraintFields = { [Name in keyof typeof SPELLINGS]?: GivenConstraint | undefined };

/** Returns the fields that constrain the completion. */
function spellingsIn(body: ConstraintFields): (keyof typeof SPELLINGS)[] {
  const names = Object.keys(SPELLINGS) as (keyof typeof SPELLINGS)[];
  return names.filter((name) => body[name] !== undefined && body[name] !== ANY_TEXT);
}
