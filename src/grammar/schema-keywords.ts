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

const NUMBERS = ['number', 'integer'] as const;
const count = (type: JsonType): Keyword => {
  return { check: isCount, expected: 'a whole number of at least 0', types: [type] };
};
const bound: Keyword = { check: isNumber, expected: 'a number', types: NUMBERS };
/** In draft 4 these were flags next to `minimum` and `maximum`. */
const strictBound: Keyword = {
  ...bound,
  check: (value) => isNumber(value) || isFlag(value),
};
const schema: Keyword = { check: isSchema, expected: 'a schema' };
const schemas: Keyword = { check: areSchemas, expected: 'a non-empty array of schemas' };
const schemasByName: Keyword = {
  check: isObjectOf(isSchema),
  expected: 'an object of schemas',
  types: ['object'],
};
/** Their effect depends on which other keywords a value has matched. */
const unevaluated: Keyword = { check: () => true, expected: 'a schema', since: 2019 };
/** Keywords of draft 3 that later ones replaced. */
const replaced: Keyword = { check: () => true, expected: 'a value', until: 3 };

/** A longer list is a vocabulary, not a choice. */
const MAX_VALUES = 10_000;

/** The keywords that change which values are valid. */
const KEYWORDS: Readonly<Record<string, Keyword>> = {
  $ref: { check: isText, expected: 'a string' },
  $dynamicRef: { check: isText, expected: 'a string', since: 2019 },
  $recursiveRef: { check: isText, expected: 'a string', since: 2019, until: 2019 },
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
  minProperties: count('object'),
  maxProperties: count('object'),
  dependencies: {
    check: isObjectOf((value) => isSchema(value) || isTexts(value)),
    expected: 'an object of schemas and arrays of strings',
    types: ['object'],
  },
  dependentRequired: {
    check: isObjectOf(isTexts),
    expected: 'an object of arrays of strings',
    types: ['object'],
    since: 2019,
  },
  dependentSchemas: { ...schemasByName, since: 2019 },
  unevaluatedProperties: { ...unevaluated, types: ['object'] },
  items: {
    check: (value) => isSchema(value) || (Array.isArray(value) && value.every(isSchema)),
    expected: 'a schema',
    types: ['array'],
  },
  // It counts only next to a list of `items`, which is from a draft that has both.
  additionalItems: { ...schema, types: ['array'] },
  prefixItems: { ...schemas, types: ['array'], since: 2020 },
  minItems: count('array'),
  maxItems: count('array'),
  // An array of at most one item has no duplicates.
  uniqueItems: { check: isFlag, expected: 'a boolean', types: ['array'] },
  contains: { ...schema, types: ['array'], since: 6 },
  minContains: { ...count('array'), since: 2019 },
  maxContains: { ...count('array'), since: 2019 },
  unevaluatedItems: { ...unevaluated, types: ['array'] },
  minLength: count('string'),
  maxLength: count('string'),
  pattern: { check: isText, expected: 'a string', types: ['string'] },
  format: { check: isText, expected: 'a string', types: ['string'] },
  contentEncoding: {
    check: isText,
    expected: 'a string',
    types: ['string'],
    since: 7,
    assertedUntil: 7,
  },
  contentMediaType: {
    check: isText,
    expected: 'a string',
    types: ['string'],
    since: 7,
    assertedUntil: 7,
  },
  minimum: bound,
  maximum: bound,
  exclusiveMinimum: strictBound,
  exclusiveMaximum: strictBound,
  multipleOf: {
    check: (value) => isNumber(value) && (value as number) > 0,
    expected: 'a number above 0',
    types: NUMBERS,
  },
  divisibleBy: { ...replaced, types: NUMBERS },
  disallow: replaced,
  extends: replaced,
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
