// Reads the API's OpenAPI document: its operations by group, their fields, and types in words.

/** The parts of a JSON Schema that are shown. */
export interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Schemas;
  readonly required?: readonly string[];
  readonly description?: string;
  readonly format?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
  readonly maxLength?: number;
  readonly maxItems?: number;
}
/** Schemas by name. */
export type Schemas = Readonly<Record<string, Schema>>;

/** Contents by media type. */
type Contents = Readonly<Record<string, { readonly schema: Schema; readonly example?: unknown }>>;

interface OperationObject {
  readonly summary: string;
  readonly tags: readonly string[];
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly content: Contents };
  readonly responses: Readonly<Record<string, Response>>;
  readonly security: readonly object[];
}

/** A parameter of the path or the query. */
export interface Parameter {
  readonly name: string;
  readonly in: string;
  readonly required?: boolean;
  readonly schema: Schema;
  readonly description?: string;
}

interface Response {
  readonly description: string;
  readonly content?: Contents;
}

/** The parts of an OpenAPI document that are shown. */
export interface ApiDocument {
  readonly info: { readonly description: string };
  readonly tags: readonly { readonly name: string; readonly description: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, OperationObject>>>>;
  readonly components: { readonly schemas: Schemas };
}

/** An operation of the API. */
export interface Operation extends OperationObject {
  /** Its element's, and the fragment that opens it. */
  readonly id: string;
  /** `GET` */
  readonly method: string;
  readonly path: string;
}

/** Operations that belong together. */
export interface Group {
  readonly name: string;
  readonly description: string;
  readonly operations: readonly Operation[];
}

/** A field of an object. */
export interface Field {
  readonly name: string;
  readonly schema: Schema;
  readonly isRequired: boolean;
}

/** Returns the operations by group. */
export function groupsOf({ tags, paths }: ApiDocument): Group[] {
  const all = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      ...operation,
      id: `${method}${path}`.replace(/[^\w-]+/g, '-'),
      method: method.toUpperCase(),
      path,
    })),
  );
  return tags.map(({ name, description }) => ({
    name,
    description,
    operations: all.filter(({ tags: own }) => own.includes(name)),
  }));
}

/** Whether the server refuses requests without a key. */
export function needsKey({ paths }: ApiDocument): boolean {
  const chat = paths['/v1/chat/completions']?.['post'];
  return chat?.security.every((scheme) => Object.keys(scheme).length > 0) ?? false;
}

/** Returns a schema's type in words: `integer or null, at least 1`. It is empty if any value fits. */
export function typeText(schema: Schema): string {
  const { $ref, const: constant, enum: values, anyOf, oneOf, type, items } = schema;
  if ($ref) return nameOf($ref);
  if (constant !== undefined) return JSON.stringify(constant);
  if (values) return values.map((value) => JSON.stringify(value)).join(' or ');
  const choices = anyOf ?? oneOf;
  if (choices) return [...new Set(choices.map(typeText))].join(' or ');
  const words = [type ?? []].flat().map((one) => {
    const inner = one === 'array' ? typeText(items ?? {}) : '';
    return inner ? `list of ${inner}` : one.replace('array', 'list');
  });
  return [words.join(' or '), ...boundsOf(schema)].filter(Boolean).join(', ');
}

function boundsOf(schema: Schema): string[] {
  const { minimum: least, maximum: most } = schema;
  const bounds: (readonly [bound: number | undefined, text: string])[] = [
    [least, most === undefined ? `at least ${least}` : `${least} to ${most}`],
    [least === undefined ? most : undefined, `at most ${most}`],
    [schema.exclusiveMinimum, `more than ${schema.exclusiveMinimum}`],
    [schema.exclusiveMaximum, `less than ${schema.exclusiveMaximum}`],
    [schema.maxLength, `at most ${schema.maxLength} characters`],
    [schema.maxItems, `at most ${schema.maxItems} items`],
  ];
  return bounds.filter(([bound]) => bound !== undefined).map(([, text]) => text);
}

/** Returns the objects that a schema describes, each with its fields: itself, the items of its list, or its alternatives. */
export function objectsOf(schema: Schema, schemas: Schemas): Field[][] {
  const { $ref, anyOf, oneOf, items, properties, required = [] } = schema;
  if ($ref) return objectsOf(schemas[nameOf($ref)] ?? {}, schemas);
  if (properties) {
    return [
      Object.entries(properties).map(([name, field]) => ({
        name,
        schema: field,
        isRequired: required.includes(name),
      })),
    ];
  }
  const inner = anyOf ?? oneOf ?? (items ? [items] : []);
  return inner.flatMap((one) => objectsOf(one, schemas));
}

/** @param reference such as `#/components/schemas/Model` */
function nameOf(reference: string): string {
  return reference.slice(reference.lastIndexOf('/') + 1);
}

/** Fields that most requests are about, in this order. */
export const COMMON_FIELDS: readonly string[] =
  `model messages role content input prompt instructions system
  max_tokens max_completion_tokens max_output_tokens temperature top_p stop stream n seed response_format text tools
  tool_choice logprobs top_logprobs training_file validation_file suffix method hyperparameters`.split(
    /\s+/,
  );

/** An object with up to this many fields is shown as it is. */
const MAX_UNSORTED = 12;

/** The fields of an object in the order of their use. */
export interface SortedFields {
  readonly common: readonly Field[];
  readonly rare: readonly Field[];
  /** Fields without a type: those that other servers have. */
  readonly foreign: readonly Field[];
}

/** Sorts the fields of a request's object. */
export function sortFields(fields: readonly Field[]): SortedFields {
  const foreign = fields.filter(({ schema, isRequired }) => !isRequired && typeText(schema) === '');
  const own = fields.filter((field) => !foreign.includes(field));
  if (own.length <= MAX_UNSORTED) return { common: own, rare: [], foreign };
  const rankOf = ({ name }: Field) => COMMON_FIELDS.indexOf(name) + 1 || Number.POSITIVE_INFINITY;
  const isCommon = (field: Field) => field.isRequired || rankOf(field) < Number.POSITIVE_INFINITY;
  const common = own.filter(isCommon).sort((a, b) => rankOf(a) - rankOf(b));
  return { common, rare: own.filter((field) => !isCommon(field)), foreign };
}

/** Fills in a path, and adds the query. */
export function pathOf(
  template: string,
  fields: readonly Pick<Parameter, 'name' | 'in'>[],
  values: Readonly<Record<string, string | File>>,
): string {
  const query = new URLSearchParams();
  let path = template;
  for (const { name, in: place } of fields) {
    const value = String(values[name]);
    if (value === '') continue; // the path keeps the name
    if (place === 'path') path = path.replace(`{${name}}`, () => encodeURIComponent(value));
    if (place === 'query') query.set(name, value);
  }
  return query.size === 0 ? path : `${path}?${query}`;
}
