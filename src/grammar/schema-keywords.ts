// The keywords of JSON Schema: which values they may have, which types they are about, and in which drafts they exist.
import { GrammarError } from './grammar-error.ts';

/** A schema that is an object. */
export type Schema = Readonly<Record<string, unknown>>;

type Check = (value: unknown) => boolean;

const isCount: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
const isNumber: Check = (value) => typeof value === 'number' && Number.isFinite(value);
const isText: Check = (value) => typeof value === 'string';
const isFlag: Check = (value) => typeof value === 'boolean';
const isTexts: Check = (value) => Array.isArray(value) && value.every(isText);
const isList: Check = (value) => Array.isArray(value) && value.length > 0;
const areSchemas: Check = (value) => isList(value) && (value as unknown[]).every(isSchema);
const isObjectOf =
  (check: Check): Check =>
  (value) =>
    isObject(value) && Object.values(value).every(check);

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
  /** The drafts before and after which it means nothing. */
  readonly since?: Draft;
  readonly until?: Draft;
  /** The last draft in which it is more than a description. */
  readonly assertedUntil?: Draft;
  /** Whether it holds a schema or a list of them, or schemas by name. Default: data. */
  readonly holds?: 'schema' | 'byName';
  /** Whether it cannot be enforced. `next`: the keyword without which it means nothing. */
  readonly isRefused?: true;
  readonly next?: string;
}

/** A draft of the specification: 3, 4, 6, 7, 2019 or 2020. */
export type Draft = number;

/** The draft of schemas that name none, for all that does not depend on the keywords in them. */
export const LATEST: Draft = 2020;
/** Addresses of drafts, as `$schema` names them. */
const DRAFTS: readonly (readonly [RegExp, Draft])[] = [
  [/json-schema\.org\/draft-0?3\b/, 3],
  [/json-schema\.org\/draft-0?4\b/, 4],
  [/json-schema\.org\/draft-0?[56]\b/, 6],
  [/json-schema\.org\/draft-0?7\b/, 7],
  [/json-schema\.org\/draft\/2019-09\b/, 2019],
  [/json-schema\.org\/draft\/2020-12\b/, 2020],
];

/** Returns the draft that a whole schema names. Undefined: it may follow any. */
export function draftOf(root: unknown): Draft | undefined {
  const address = isObject(root) ? root['$schema'] : undefined;
  if (typeof address !== 'string') return undefined;
  return DRAFTS.find(([pattern]) => pattern.test(address))?.[1];
}

/** Whether a value may have an order relative to a bound: below 0 if it is less, 0 if it equals the bound. */
export type OrderTest = (order: number) => boolean;

const atLeast: OrderTest = (order) => order >= 0;
const above: OrderTest = (order) => order > 0;
const atMost: OrderTest = (order) => order <= 0;
const below: OrderTest = (order) => order < 0;

/** The bounds: the type of the values, their order, and the bound of those that violate it, which differs by `difference`. */
export const LIMITS = {
  minimum: { type: 'number', isAllowed: atLeast, opposite: 'exclusiveMaximum', difference: 0 },
  exclusiveMinimum: { type: 'number', isAllowed: above, opposite: 'maximum', difference: 0 },
  maximum: { type: 'number', isAllowed: atMost, opposite: 'exclusiveMinimum', difference: 0 },
  exclusiveMaximum: { type: 'number', isAllowed: below, opposite: 'minimum', difference: 0 },
  minLength: { type: 'string', isAllowed: atLeast, opposite: 'maxLength', difference: -1 },
  maxLength: { type: 'string', isAllowed: atMost, opposite: 'minLength', difference: 1 },
  minItems: { type: 'array', isAllowed: atLeast, opposite: 'maxItems', difference: -1 },
  maxItems: { type: 'array', isAllowed: atMost, opposite: 'minItems', difference: 1 },
  minProperties: { type: 'object', isAllowed: atLeast, opposite: 'maxProperties', difference: -1 },
  maxProperties: { type: 'object', isAllowed: atMost, opposite: 'minProperties', difference: 1 },
} as const;
/** The name of a bound. */
export type LimitName = keyof typeof LIMITS;

const NUMBERS = ['number', 'integer'] as const;
const limits = Object.fromEntries(
  Object.entries(LIMITS).map(([name, { type }]): [string, Keyword] => {
    if (type !== 'number')
      return [name, { check: isCount, expected: 'a whole number of at least 0', types: [type] }];
    // In draft 4, exclusive bounds were flags next to the others.
    const check: Check = (value) =>
      isNumber(value) || (name.startsWith('exclusive') && isFlag(value));
    return [name, { check, expected: 'a number', types: NUMBERS }];
  }),
);
const schema: Keyword = { check: isSchema, expected: 'a schema', holds: 'schema' };
const schemas: Keyword = {
  check: areSchemas,
  expected: 'a non-empty array of schemas',
  holds: 'schema',
};
const schemasByName: Keyword = {
  check: isObjectOf(isSchema),
  expected: 'an object of schemas',
  types: ['object'],
  holds: 'byName',
};
const refused = { check: () => true, expected: 'a value', isRefused: true } as const;

/** A longer list is a vocabulary, not a choice. */
const MAX_VALUES = 10_000;

/** The keywords that change which values are valid. */
export const KEYWORDS: Readonly<Record<string, Keyword>> = {
  $ref: { check: isText, expected: 'a string' },
  $dynamicRef: { ...refused, since: 2019 },
  $recursiveRef: { ...refused, since: 2019, until: 2019 },
  type: {
    check: (value) =>
      isType(value) || (Array.isArray(value) && value.length > 0 && value.every(isType)),
    expected: `one of ${TYPES.join(', ')}, or an array of them`,
  },
  enum: {
    check: (value) => isList(value) && (value as unknown[]).length <= MAX_VALUES,
    expected: `a non-empty array of at most ${MAX_VALUES} values`,
  },
  const: { check: () => true, expected: 'a value', since: 6 },
  anyOf: schemas,
  oneOf: schemas,
  allOf: schemas,
  not: schema,
  if: { ...schema, since: 7 },
  // biome-ignore lint/suspicious/noThenProperty: it is a keyword
  then: { ...schema, since: 7 },
  else: { ...schema, since: 7 },
  properties: schemasByName,
  patternProperties: schemasByName,
  required: { check: isTexts, expected: 'an array of strings', types: ['object'] },
  additionalProperties: { ...schema, types: ['object'] },
  propertyNames: { ...schema, types: ['object'], since: 6 },
  dependencies: {
    check: isObjectOf((value) => isSchema(value) || isTexts(value)),
    expected: 'an object of schemas and arrays of strings',
    types: ['object'],
    holds: 'byName',
  },
  dependentRequired: {
    check: isObjectOf(isTexts),
    expected: 'an object of arrays of strings',
    types: ['object'],
    since: 2019,
  },
  dependentSchemas: { ...schemasByName, since: 2019 },
  // Their effect depends on which other keywords a value has matched.
  unevaluatedProperties: { ...refused, types: ['object'], since: 2019 },
  items: {
    check: (value) => isSchema(value) || (Array.isArray(value) && value.every(isSchema)),
    expected: 'a schema',
    types: ['array'],
    holds: 'schema',
  },
  // It counts only next to a list of `items`, which is from a draft that has both.
  additionalItems: { ...schema, types: ['array'] },
  prefixItems: { ...schemas, types: ['array'], since: 2020 },
  // An array of at most one item has no duplicates.
  uniqueItems: { check: isFlag, expected: 'a boolean', types: ['array'] },
  contains: { ...schema, types: ['array'], since: 6 },
  minContains: { ...refused, types: ['array'], since: 2019, next: 'contains' },
  maxContains: { ...refused, types: ['array'], since: 2019, next: 'contains' },
  unevaluatedItems: { ...refused, types: ['array'], since: 2019 },
  pattern: { check: isText, expected: 'a string', types: ['string'] },
  format: { check: isText, expected: 'a string', types: ['string'] },
  contentEncoding: {
    check: isText,
    expected: 'a string',
    types: ['string'],
    since: 7,
    assertedUntil: 7,
  },
  contentMediaType: { ...refused, types: ['string'], since: 7, assertedUntil: 7 },
  ...limits,
  multipleOf: {
    check: (value) => isNumber(value) && (value as number) > 0,
    expected: 'a number above 0',
    types: NUMBERS,
  },
  // Draft 3 has these. Later keywords replaced them.
  divisibleBy: { ...refused, types: NUMBERS, until: 3 },
  disallow: { ...refused, until: 3 },
  extends: { ...refused, until: 3 },
};

/**
 * Returns the keywords of a schema that mean something in its draft. Without a draft, keywords of all drafts count, except those that
 * only describe in the latest one. Throws `GrammarError` if one has a wrong value.
 */
export function readKeywords(schema: Schema, draft: Draft | undefined, path: string): Schema {
  const own = draft ?? LATEST;
  const known = Object.entries(schema).filter(([name, value]) => {
    const keyword = Object.hasOwn(KEYWORDS, name) ? KEYWORDS[name] : undefined;
    if (!keyword) return false;
    const { since = own, until = own, assertedUntil = own } = keyword;
    if (since > own || assertedUntil < own || (draft !== undefined && until < draft)) return false;
    if (keyword.check(value)) return true;
    throw new GrammarError(`must be ${keyword.expected}`, `${path}/${name}`);
  });
  return Object.fromEntries(known);
}

/**
 * Returns the types that keywords apply to. A schema without `type` has these, because a schema with a string length is not
 * meant for numbers. None: all.
 */
export function typesAbout(names: readonly string[]): JsonType[] {
  const about = names.flatMap((name) => KEYWORDS[name]?.types ?? []);
  return TYPES.filter(
    (type) => about.includes(type) && !(type === 'integer' && about.includes('number')),
  );
}
