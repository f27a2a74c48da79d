// The normalized schema: what a value must satisfy, gathered from one schema or from several that all apply.
import type { SchemaReading } from '../contracts/generation.ts';
import { charge } from './budget.ts';
import { ContradictionError } from './grammar-error.ts';
import { type JsonType, TYPES } from './schema-keywords.ts';

/** A schema and its path. `schema` is an object, a boolean, or a normalized schema. */
export interface Part {
  readonly schema: unknown;
  readonly path: string;
}

/** A pattern or a format. */
export interface StringRule {
  readonly keyword: 'pattern' | 'format';
  readonly value: string;
  /** Whether strings must not match the pattern. */
  readonly isExcluded?: boolean;
  readonly path: string;
}

/** The keywords of one schema that give the members of an object their schemas. */
export interface ObjectRule {
  readonly properties: ReadonlyMap<string, Part>;
  readonly patterns: readonly { readonly source: string; readonly part: Part }[];
  /** The schema of all other members. Absent: the schema says nothing about them. */
  readonly others?: Part | undefined;
  /** Whether the members were not declared by the user but follow from other keywords. */
  readonly isDerived?: boolean;
  readonly path: string;
}

/** The keywords of one schema that give the items of an array their schemas. */
export interface ArrayRule {
  readonly first: readonly Part[];
  /** The schema of all other items. Absent: any. */
  readonly others?: Part | undefined;
}

/** Schemas of which a value must satisfy at least one, or exactly one. */
export interface Alternatives {
  readonly options: readonly Part[];
  readonly isExclusive?: boolean;
  readonly path: string;
}

/** Bounds that are numbers. */
export const LIMITS = [
  'minimum',
  'exclusiveMinimum',
  'minLength',
  'minItems',
  'minProperties',
  'maximum',
  'exclusiveMaximum',
  'maxLength',
  'maxItems',
  'maxProperties',
] as const;
/** The name of a bound. */
export type LimitName = (typeof LIMITS)[number];

/** A number in a schema. */
export interface Located<T> {
  readonly value: T;
  readonly path: string;
}

/** A keyword that cannot be enforced, and the types that it is about. */
export interface Unsupported {
  readonly types: readonly JsonType[];
  readonly path: string;
  readonly message: string;
}

/** The content of a normalized schema. */
interface Content {
  /** Undefined: `type` is absent. */
  readonly types: readonly JsonType[] | undefined;
  /** The types that the keywords apply to. */
  readonly about: readonly JsonType[];
  /** Undefined: neither `enum` nor `const` is present. */
  readonly values: Located<readonly unknown[]> | undefined;
  readonly excluded: readonly unknown[];
  readonly limits: Readonly<Partial<Record<LimitName, Located<number>>>>;
  readonly multiples: readonly Located<number>[];
  readonly strings: readonly StringRule[];
  readonly objects: readonly ObjectRule[];
  readonly required: readonly Located<string>[];
  readonly names: readonly Part[];
  readonly arrays: readonly ArrayRule[];
  readonly unique: Located<true> | undefined;
  readonly contains: readonly Part[];
  /** Schemas that apply as well. */
  readonly parts: readonly Part[];
  /** Whether the members of these come before the declared ones, as in the text of the schema. */
  readonly hasPartsFirst: boolean;
  readonly alternatives: readonly Alternatives[];
  readonly unsupported: readonly Unsupported[];
}

const NOTHING: Content = {
  types: undefined,
  about: [],
  values: undefined,
  excluded: [],
  limits: {},
  multiples: [],
  strings: [],
  objects: [],
  required: [],
  names: [],
  arrays: [],
  unique: undefined,
  contains: [],
  parts: [],
  hasPartsFirst: false,
  alternatives: [],
  unsupported: [],
};

/** A normalized schema. Absent content says nothing. */
export class Normalized implements Content {
  declare readonly types: Content['types'];
  declare readonly about: Content['about'];
  declare readonly values: Content['values'];
  declare readonly excluded: Content['excluded'];
  declare readonly limits: Content['limits'];
  declare readonly multiples: Content['multiples'];
  declare readonly strings: Content['strings'];
  declare readonly objects: Content['objects'];
  declare readonly required: Content['required'];
  declare readonly names: Content['names'];
  declare readonly arrays: Content['arrays'];
  declare readonly unique: Content['unique'];
  declare readonly contains: Content['contains'];
  declare readonly parts: Content['parts'];
  declare readonly hasPartsFirst: Content['hasPartsFirst'];
  declare readonly alternatives: Content['alternatives'];
  declare readonly unsupported: Content['unsupported'];

  constructor(content: Partial<Content>) {
    Object.assign(this, NOTHING, content);
  }
}

/** The memory of a normalized schema, and of each rule that two of them have together. */
const SCHEMA_BYTES = 512;
const LISTED_BYTES = 16;

/** The schema of any value. */
export const EMPTY_SCHEMA = new Normalized({});

/** Returns the schema of values that satisfy both. Throws `ContradictionError` if the types or the constants have nothing in common. */
export function combine(one: Normalized, other: Normalized, path: string): Normalized {
  if (one === EMPTY_SCHEMA) return other;
  charge('schema', SCHEMA_BYTES);
  const types = combineTypes(one.types, other.types);
  if (types?.length === 0)
    throw new ContradictionError('allows none of the types that the schemas beside it do', path);
  const result: Record<string, unknown> = {
    types,
    values: combineValues(one.values, other.values),
    limits: combineLimits(one.limits, other.limits),
    unique: one.unique ?? other.unique,
    hasPartsFirst: false,
  };
  for (const name of Object.keys(NOTHING) as (keyof Content)[]) {
    if (name in result) continue;
    const [left, right] = [one[name], other[name]] as (readonly unknown[])[];
    if (left!.length > 0) charge('schema', LISTED_BYTES * (left!.length + right!.length));
    result[name] = left!.length === 0 ? right : [...new Set([...left!, ...right!])];
  }
  return new Normalized(result as Partial<Content>);
}

function combineTypes(one: Content['types'], other: Content['types']): Content['types'] {
  if (!one || !other) return one ?? other;
  return TYPES.filter((type) => includesType(one, type) && includesType(other, type)).filter(
    (type, _, all) => type !== 'integer' || !all.includes('number'),
  );
}

/** Returns the types of the values that are written for a schema. Undefined: all. */
export function typesOf(
  { types, about }: Normalized,
  { isUntyped = false }: SchemaReading,
): Content['types'] {
  return types ?? (about.length > 0 && !isUntyped ? about : undefined);
}

/** Whether values of a type have one of these types. */
export function includesType(types: readonly JsonType[], type: JsonType): boolean {
  return types.includes(type) || (type === 'integer' && types.includes('number'));
}

function combineValues(one: Content['values'], other: Content['values']): Content['values'] {
  if (!one || !other) return one ?? other;
  const texts = new Set(other.value.map((value) => JSON.stringify(value)));
  const value = one.value.filter((own) => texts.has(JSON.stringify(own)));
  if (value.length === 0)
    throw new ContradictionError(
      'allows none of the values that the schemas beside it do',
      other.path,
    );
  return { value, path: one.path };
}

function combineLimits(one: Content['limits'], other: Content['limits']): Content['limits'] {
  const result = { ...one };
  for (const name of LIMITS) {
    const [left, right] = [one[name], other[name]];
    if (!right) continue;
    const isLower = name.startsWith('m') ? name.startsWith('min') : name === 'exclusiveMinimum';
    const isStricter = !left || (isLower ? right.value > left.value : right.value < left.value);
    if (isStricter) result[name] = right;
  }
  return result;
}
