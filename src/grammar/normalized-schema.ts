// The normalized schema: what a value must satisfy, gathered from one schema or from several that all apply.
import type { SchemaReading } from '../contracts/generation.ts';
import { charge } from './budget.ts';
import { ContradictionError } from './grammar-error.ts';
import { type JsonType, LIMITS, type LimitName, TYPES } from './schema-keywords.ts';

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

/** A normalized schema. Absent content says nothing. */
export class Normalized {
  /** Undefined: `type` is absent. */
  readonly types: readonly JsonType[] | undefined = undefined;
  /** The types that the keywords apply to. */
  readonly about: readonly JsonType[] = [];
  /** Undefined: neither `enum` nor `const` is present. */
  readonly values: Located<readonly unknown[]> | undefined = undefined;
  readonly excluded: readonly unknown[] = [];
  readonly limits: Readonly<Partial<Record<LimitName, Located<number>>>> = {};
  readonly multiples: readonly Located<number>[] = [];
  readonly strings: readonly StringRule[] = [];
  readonly objects: readonly ObjectRule[] = [];
  readonly required: readonly Located<string>[] = [];
  readonly names: readonly Part[] = [];
  readonly arrays: readonly ArrayRule[] = [];
  readonly unique: Located<true> | undefined = undefined;
  readonly contains: readonly Part[] = [];
  /** Schemas that apply as well. */
  readonly parts: readonly Part[] = [];
  /** Whether the members of these come before the declared ones, as in the text of the schema. */
  readonly hasPartsFirst: boolean = false;
  readonly alternatives: readonly Alternatives[] = [];
  readonly unsupported: readonly Unsupported[] = [];

  constructor(content: Partial<Normalized>) {
    Object.assign(this, content);
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
  for (const name of Object.keys(EMPTY_SCHEMA) as (keyof Normalized)[]) {
    if (name in result) continue;
    const [left, right] = [one[name], other[name]] as (readonly unknown[])[];
    if (left!.length > 0) charge('schema', LISTED_BYTES * (left!.length + right!.length));
    result[name] = left!.length === 0 ? right : [...new Set([...left!, ...right!])];
  }
  return new Normalized(result as Partial<Normalized>);
}

function combineTypes(one: Normalized['types'], other: Normalized['types']): Normalized['types'] {
  if (!one || !other) return one ?? other;
  return TYPES.filter((type) => includesType(one, type) && includesType(other, type)).filter(
    (type, _, all) => type !== 'integer' || !all.includes('number'),
  );
}

/** Returns the types of the values that are written for a schema. Undefined: all. */
export function typesOf(
  { types, about }: Normalized,
  { isUntyped = false }: SchemaReading,
): Normalized['types'] {
  return types ?? (about.length > 0 && !isUntyped ? about : undefined);
}

/** Whether values of a type have one of these types. */
export function includesType(types: readonly JsonType[], type: JsonType): boolean {
  return types.includes(type) || (type === 'integer' && types.includes('number'));
}

function combineValues(
  one: Normalized['values'],
  other: Normalized['values'],
): Normalized['values'] {
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

/** The stricter one of two bounds counts. */
function combineLimits(one: Normalized['limits'], other: Normalized['limits']) {
  const result = { ...one };
  for (const [name, right] of Object.entries(other) as [LimitName, Located<number>][]) {
    const left = one[name];
    const isStricter = !left || LIMITS[name].isAllowed(Math.sign(right.value - left.value));
    if (isStricter && left?.value !== right.value) result[name] = right;
  }
  return result;
}
