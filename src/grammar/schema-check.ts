// Checks a constant against a schema, by the meaning that the specification gives it.
import { isOfFormat } from './formats.ts';
import { GrammarError } from './grammar-error.ts';
import type { Normalized, ObjectRule, Part } from './normalized-schema.ts';
import { isObject, type JsonType, LIMITS, type LimitName } from './schema-keywords.ts';

/** References may be nested this deep without a value in between. */
const MAX_DEPTH = 64;

/** Whether a value satisfies a schema. Throws `GrammarError` if that cannot be decided. */
export function satisfies(
  value: unknown,
  part: Part,
  read: (part: Part) => Normalized,
  depth = 0,
): boolean {
  if (part.schema === false) return false;
  if (depth > MAX_DEPTH) throw new GrammarError('refers to itself', part.path);
  const normal = read(part);
  const holds = (inner: Part) => satisfies(value, inner, read, depth + 1);
  const below = (item: unknown, inner: Part) => satisfies(item, inner, read);
  const hasType = (type: JsonType) => isOfType(value, type);
  if (normal.types && !normal.types.some(hasType)) return false;
  const text = canonical(value);
  if (normal.values && !normal.values.value.some((other) => canonical(other) === text))
    return false;
  if (normal.excluded.some((other) => canonical(other) === text)) return false;
  const isWithin = ([name, limit]: [string, { readonly value: number }]) => {
    const { type, isAllowed } = LIMITS[name as LimitName];
    return !hasType(type) || isAllowed(Math.sign(sizeOf(value) - limit.value));
  };
  if (!Object.entries(normal.limits).every(isWithin)) return false;
  const unsupported = normal.unsupported.find(
    ({ types }) => types.length === 0 || types.some(hasType),
  );
  if (unsupported) throw new GrammarError(unsupported.message, unsupported.path);
  if (!normal.parts.every(holds)) return false;
  if (
    typeof value === 'number' &&
    !normal.multiples.every(({ value: step }) => Number.isInteger(value / step))
  )
    return false;
  if (
    typeof value === 'string' &&
    !normal.strings.every((rule) =>
      rule.keyword === 'format'
        ? isOfFormat(value, rule.value)
        : matches(value, rule.value, rule.path) !== (rule.isExcluded ?? false),
    )
  )
    return false;
  if (isObject(value) && !objectSatisfies(value, normal, below)) return false;
  if (Array.isArray(value) && !arraySatisfies(value, normal, below)) return false;
  return normal.alternatives.every(({ options, isExclusive }) => {
    const count = options.filter(holds).length;
    return isExclusive ? count === 1 : count > 0;
  });
}

/** Returns the JSON of a value. Equal values have the same. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const names = Object.keys(value).sort();
  return `{${names.map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join()}}`;
}

/** Whether a text matches an expression, which may match a part of it. */
function matches(text: string, source: string, path: string): boolean {
  try {
    return regexOf(source).test(text);
  } catch {
    throw new GrammarError('is not a regular expression', path);
  }
}

/** Returns the schemas that a rule gives to a member. */
export function memberParts({ properties, patterns, others }: ObjectRule, name: string): Part[] {
  const own = properties.get(name);
  if (patterns.length === 0) return own ? [own] : others ? [others] : [];
  const matching = patterns
    .filter(({ source, part }) => matches(name, source, part.path))
    .map(({ part }) => part);
  const parts = own ? [own, ...matching] : matching;
  return parts.length === 0 && others ? [others] : parts;
}

function regexOf(source: string): RegExp {
  try {
    return new RegExp(source, 'u');
  } catch {
    return new RegExp(source);
  }
}

/** Whether a value has a type. */
export function isOfType(value: unknown, type: JsonType): boolean {
  if (type === 'null') return value === null;
  if (type === 'array') return Array.isArray(value);
  if (type === 'object') return isObject(value);
  if (type === 'integer') return Number.isInteger(value);
  return typeof value === type;
}

/** Returns what bounds are about: a number, or the number of characters, items or members. */
function sizeOf(value: unknown): number {
  if (typeof value === 'string') return [...value].length;
  return typeof value === 'object' ? Object.keys(value ?? {}).length : Number(value);
}

type Below = (item: unknown, part: Part) => boolean;

function objectSatisfies(
  value: Readonly<Record<string, unknown>>,
  normal: Normalized,
  below: Below,
): boolean {
  const has = (name: string) => Object.hasOwn(value, name);
  return (
    normal.required.every(({ value: name }) => has(name)) &&
    Object.entries(value).every(
      ([name, member]) =>
        normal.names.every((part) => below(name, part)) &&
        normal.objects.every((rule) =>
          memberParts(rule, name).every((part) => below(member, part)),
        ),
    )
  );
}

function arraySatisfies(value: readonly unknown[], normal: Normalized, below: Below): boolean {
  return (
    !(normal.unique && new Set(value.map(canonical)).size < value.length) &&
    normal.contains.every((part) => value.some((item) => below(item, part))) &&
    normal.arrays.every(({ first, others }) =>
      value.every((item, i) => {
        const part = first[i] ?? others;
        return part === undefined || below(item, part);
      }),
    )
  );
}
