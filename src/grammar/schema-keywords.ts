// The keywords of JSON Schema: which are enforced, which values they may have, and how two schemas are combined.
import { ContradictionError, GrammarError } from './text-pattern.ts';

/** A schema that is an object. */
export type Schema = Readonly<Record<string, unknown>>;

type Check = (value: unknown) => boolean;

const isCount: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
const isNumber: Check = (value) => typeof value === 'number' && Number.isFinite(value);
const isText: Check = (value) => typeof value === 'string';
const isFlag: Check = (value) => typeof value === 'boolean';
const isList: Check = (value) => Array.isArray(value) && value.length > 0;

/** Whether a value can be a schema. */
export function isSchema(value: unknown): value is boolean | Schema {
  return typeof value === 'boolean' || isObject(value);
}

/** Whether a value is a JSON object. */
export function isObject(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The types of JSON values. */
export const TYPES = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null'] as const;

/** A type of JSON values. */
export type JsonType = (typeof TYPES)[number];

const isType: Check = (value) => TYPES.includes(value as JsonType);

interface Keyword {
  readonly check: Check;
  /** Describes the values that pass the check. */
  readonly expected: string;
  /** The types that the keyword applies to. Default: all. */
  readonly types?: readonly JsonType[];
}

const NUMBERS = ['number', 'integer'] as const;
const count = (type: JsonType): Keyword => {
  return { check: isCount, expected: 'a whole number of at least 0', types: [type] };
};
const bound: Keyword = { check: isNumber, expected: 'a number', types: NUMBERS };
const schemas: Keyword = { check: isList, expected: 'a non-empty array of schemas' };

/** A longer list is a vocabulary, not a choice. */
const MAX_VALUES = 10_000;

/** The keywords that are enforced. */
const KEYWORDS: Readonly<Record<string, Keyword>> = {
  $ref: { check: isText, expected: 'a string' },
  type: {
    check: (value) =>
      isType(value) || (Array.isArray(value) && value.length > 0 && value.every(isType)),
    expected: `one of ${TYPES.join(', ')}, or an array of them`,
  },
  enum: {
    check: (value) => isList(value) && (value as unknown[]).length <= MAX_VALUES,
    expected: `a non-empty array of at most ${MAX_VALUES} values`,
  },
  const: { check: () => true, expected: 'a value' },
  anyOf: schemas,
  oneOf: schemas,
  allOf: schemas,
  properties: {
    check: (value) => isObject(value) && Object.values(value).every(isSchema),
    expected: 'an object of schemas',
    types: ['object'],
  },
  required: {
    check: (value) => Array.isArray(value) && value.every(isText),
    expected: 'an array of strings',
    types: ['object'],
  },
  additionalProperties: { check: isSchema, expected: 'a schema', types: ['object'] },
  propertyNames: { check: isSchema, expected: 'a schema', types: ['object'] },
  minProperties: count('object'),
  maxProperties: count('object'),
  items: { check: isSchema, expected: 'a schema', types: ['array'] },
  prefixItems: { ...schemas, types: ['array'] },
  minItems: count('array'),
  maxItems: count('array'),
  minLength: count('string'),
  maxLength: count('string'),
  pattern: { check: isText, expected: 'a string', types: ['string'] },
  format: { check: isText, expected: 'a string', types: ['string'] },
  minimum: bound,
  maximum: bound,
  exclusiveMinimum: bound,
  exclusiveMaximum: bound,
  multipleOf: {
    check: (value) => isNumber(value) && (value as number) > 0,
    expected: 'a number above 0',
    types: NUMBERS,
  },
  // An array of at most one item has no duplicates.
  uniqueItems: { check: isFlag, expected: 'a boolean', types: ['array'] },
};

/** Keywords that change which values are valid but cannot be enforced. */
const REFUSED: ReadonlySet<string> = new Set([
  'not',
  'if',
  'then',
  'else',
  'dependentRequired',
  'dependentSchemas',
  'dependencies',
  'patternProperties',
  'contains',
  'minContains',
  'maxContains',
  'additionalItems',
  'unevaluatedItems',
  'unevaluatedProperties',
  '$dynamicRef',
  '$recursiveRef',
  'contentSchema',
]);

/** Throws `GrammarError` if a keyword has a wrong value or cannot be enforced. Unknown keywords are treated as descriptions. */
export function checkKeywords(schema: Schema, path: string): void {
  for (const [name, value] of Object.entries(schema)) {
    if (REFUSED.has(name)) throw new GrammarError('is not supported', `${path}/${name}`);
    const keyword = Object.hasOwn(KEYWORDS, name) ? KEYWORDS[name] : undefined;
    if (!keyword || keyword.check(value)) continue;
    throw new GrammarError(`must be ${keyword.expected}`, `${path}/${name}`);
  }
}

/** Returns the names of a schema's enforced keywords. */
export function enforcedKeywords(schema: Schema): string[] {
  return Object.keys(schema).filter((name) => Object.hasOwn(KEYWORDS, name));
}

/**
 * Returns the types that a schema allows. Without `type`, these are the types that its other keywords apply to, because a
 * schema with a string length is not meant for numbers. Undefined: all.
 */
export function typesOf(schema: Schema): readonly JsonType[] | undefined {
  const { type } = schema;
  if (type !== undefined) return [type].flat() as JsonType[];
  const about = enforcedKeywords(schema).flatMap((name) => KEYWORDS[name]!.types ?? []);
  if (about.length === 0) return undefined;
  return [...new Set(about)].filter((name) => name !== 'integer' || !about.includes('number'));
}

/** Combines the values of a keyword from two schemas that both apply. */
type Combine = (one: never, other: never, path: string) => unknown;

const larger: Combine = (one: number, other: number) => Math.max(one, other);
const smaller: Combine = (one: number, other: number) => Math.min(one, other);

/** Typical schemas combine a handful. */
const MAX_COMBINATIONS = 256;

const COMBINE: Readonly<Record<string, Combine>> = {
  type: combineTypes,
  enum: (one: unknown[], other: unknown[]) => {
    const texts = new Set(one.map((value) => JSON.stringify(value)));
    return other.filter((value) => texts.has(JSON.stringify(value)));
  },
  required: (one: string[], other: string[]) => [...new Set([...one, ...other])],
  minLength: larger,
  maxLength: smaller,
  propertyNames: (one: unknown, other: unknown) => ({ allOf: [one, other] }),
  minProperties: larger,
  maxProperties: smaller,
  minItems: larger,
  maxItems: smaller,
  minimum: larger,
  maximum: smaller,
  exclusiveMinimum: larger,
  exclusiveMaximum: smaller,
  allOf: (one: unknown[], other: unknown[]) => [...one, ...other],
  anyOf: (one: unknown[], other: unknown[], path) => {
    if (one.length * other.length > MAX_COMBINATIONS) {
      throw new GrammarError(`has more than ${MAX_COMBINATIONS} combinations of anyOf`, path);
    }
    return one.flatMap((left) => other.map((right) => ({ allOf: [left, right] })));
  },
  uniqueItems: (one: boolean, other: boolean) => one || other,
};

/**
 * Returns the schema of values that satisfy both. Throws `GrammarError` if one schema cannot express that, and
 * `ContradictionError` if there are no such values.
 */
export function combine(one: Schema, other: Schema, path: string): Schema {
  const result: Record<string, unknown> = { ...withoutConst(one) };
  const added = withoutConst(other);
  for (const name of enforcedKeywords(added)) {
    const value = added[name];
    const before = result[name];
    const merge = COMBINE[name];
    if (before === undefined || JSON.stringify(before) === JSON.stringify(value))
      result[name] = value;
    else if (merge) result[name] = merge(before as never, value as never, path);
    else if (!NESTING.has(name)) {
      throw new GrammarError(`two different values of ${name} cannot be combined`, path);
    }
  }
  if ((result['enum'] as unknown[] | undefined)?.length === 0)
    throw new ContradictionError('allows none of the values that the schemas beside it do', path);
  return { ...result, ...combineProperties(one, other), ...combineItems(one, other) };
}

/** Their schemas apply to the values that the sibling keywords do not cover. */
const NESTING: ReadonlySet<string> = new Set([
  'properties',
  'additionalProperties',
  'prefixItems',
  'items',
]);

function withoutConst(schema: Schema): Schema {
  if (schema['const'] === undefined) return schema;
  const { const: value, ...rest } = schema;
  const { enum: others = [value] } = rest as { enum?: unknown[] };
  const isAllowed = others.some((other) => JSON.stringify(other) === JSON.stringify(value));
  return { ...rest, enum: isAllowed ? [value] : [] };
}

function combineTypes(one: JsonType | JsonType[], other: JsonType | JsonType[]): JsonType[] {
  const [left, right] = [[one].flat(), [other].flat()];
  return TYPES.filter((type) => {
    const isIn = (types: readonly JsonType[]) =>
      types.includes(type) || (type === 'integer' && types.includes('number'));
    return isIn(left) && isIn(right);
  }).filter((type, _, all) => type !== 'integer' || !all.includes('number'));
}

/** A property that only one schema declares is an additional property of the other. */
function combineProperties(one: Schema, other: Schema): Schema {
  const [left, right] = [one['properties'], other['properties']] as (Schema | undefined)[];
  const [leftMore, rightMore] = [one['additionalProperties'], other['additionalProperties']];
  const names = [...new Set([...Object.keys(left ?? {}), ...Object.keys(right ?? {})])];
  const properties = names.map((name) => {
    return [name, both(own(left, name) ?? leftMore, own(right, name) ?? rightMore)];
  });
  const more = both(leftMore, rightMore);
  return {
    ...(names.length > 0 && { properties: Object.fromEntries(properties) }),
    ...(more !== undefined && { additionalProperties: more }),
  };
}

/** An item after a schema's first ones falls under its `items`. */
function combineItems(one: Schema, other: Schema): Schema {
  const [left = [], right = []] = [one['prefixItems'], other['prefixItems']] as unknown[][];
  const [leftMore, rightMore] = [one['items'], other['items']];
  const first = Array.from({ length: Math.max(left.length, right.length) }, (_, i) => {
    return both(left[i] ?? leftMore, right[i] ?? rightMore);
  });
  const more = both(leftMore, rightMore);
  return {
    ...(first.length > 0 && { prefixItems: first }),
    ...(more !== undefined && { items: more }),
  };
}

/** Returns the schema of values that satisfy both schemas, or the only one that is present. */
function both(one: unknown, other: unknown): unknown {
  if (one === undefined || other === undefined) return one ?? other;
  return { allOf: [one, other] };
}

function own(schema: Schema | undefined, name: string): unknown {
  return schema && Object.hasOwn(schema, name) ? schema[name] : undefined;
}
