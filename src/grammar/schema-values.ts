// The patterns of JSON values without nested schemas, and the item counts of values with nested schemas.
import {
  ANY_INTEGER,
  ANY_NUMBER,
  ANY_STRING,
  COMMA,
  insideString,
  stringOfLength,
} from './json-text.ts';
import { multiplesOf } from './multiples.ts';
import { type Bounds, integersBetween, numbersBetween } from './number-ranges.ts';
import { parseRegex } from './regex.ts';
import {
  enforcedKeywords,
  isObject,
  type JsonType,
  type Schema,
  typesOf,
} from './schema-keywords.ts';
import {
  ContradictionError,
  choice,
  EMPTY,
  GrammarError,
  located,
  repeat,
  sequence,
  shared,
  type TextPattern,
  text,
} from './text-pattern.ts';

/** Returns the constants of a schema that its other keywords allow. */
export function literals(schema: Schema, path: string): TextPattern {
  const keyword = 'const' in schema ? 'const' : 'enum';
  const values = 'const' in schema ? [schema['const']] : (schema['enum'] as unknown[]);
  const types = schema['type'] === undefined ? undefined : typesOf(schema);
  const enumerated = schema['enum'] as unknown[] | undefined;
  const enumTexts = enumerated && new Set(enumerated.map((value) => JSON.stringify(value)));
  const checks = enforcedKeywords(schema).filter((name) => !HANDLED.has(name));
  const allowed = values.filter(
    (value) =>
      (!types || types.some((type) => isOfType(value, type))) &&
      (!enumTexts || enumTexts.has(JSON.stringify(value))) &&
      checks.every((name) => satisfies(value, name, { schema, path: `${path}/${keyword}` })),
  );
  if (allowed.length === 0)
    throw new ContradictionError('no value of it is allowed', `${path}/${keyword}`);
  return choice(...allowed.map((value) => text(JSON.stringify(value))));
}

const HANDLED: ReadonlySet<string> = new Set(['const', 'enum', 'type']);

/** Whether a number or a string satisfies a keyword. */
const BOUNDS: Readonly<Record<string, (value: never, bound: never) => boolean>> = {
  minimum: (value: number, bound: number) => value >= bound,
  maximum: (value: number, bound: number) => value <= bound,
  exclusiveMinimum: (value: number, bound: number) => value > bound,
  exclusiveMaximum: (value: number, bound: number) => value < bound,
  minLength: (value: string, bound: number) => [...value].length >= bound,
  maxLength: (value: string, bound: number) => [...value].length <= bound,
  format: isOfFormat,
};

/** A value satisfies keywords that do not apply to it. Throws `GrammarError` if it is too hard to decide. */
function satisfies(
  value: unknown,
  name: string,
  { schema, path }: { schema: Schema; path: string },
): boolean {
  const types = typesOf({ [name]: schema[name] });
  if (!types?.some((type) => isOfType(value, type))) return true;
  const check = BOUNDS[name];
  if (!check) throw new GrammarError(`cannot be combined with ${name}`, path);
  return check(value as never, schema[name] as never);
}

function isOfType(value: unknown, type: JsonType): boolean {
  if (type === 'null') return value === null;
  if (type === 'array') return Array.isArray(value);
  if (type === 'object') return isObject(value);
  if (type === 'integer') return Number.isInteger(value);
  return typeof value === type;
}

/** Matches a string with its length, its pattern or its format. */
export function stringPattern(schema: Schema, path: string): TextPattern {
  const { min, max } = counts(schema, 'minLength', 'maxLength', path);
  const isBounded = min > 0 || max < Number.POSITIVE_INFINITY;
  const keywords = ['pattern', 'format'].filter((name) => schema[name] !== undefined);
  if (keywords.length + Number(isBounded) > 1) {
    const other = keywords.length > 1 ? 'format' : 'minLength or maxLength';
    throw new GrammarError(`cannot be combined with ${other}`, `${path}/${keywords[0]}`);
  }
  if (schema['pattern'] !== undefined) {
    const inner = located(`${path}/pattern`, () =>
      parseRegex(schema['pattern'] as string, { toPattern: insideString, isSearch: true }),
    );
    return sequence(text('"'), inner, text('"'));
  }
  if (schema['format'] !== undefined) {
    const pattern = stringOfFormat(schema['format'] as string);
    if (pattern) return pattern;
    throw new GrammarError(
      `is not supported. Supported formats: ${FORMAT_NAMES.join(', ')}`,
      `${path}/format`,
    );
  }
  return isBounded ? stringOfLength(min, max) : ANY_STRING;
}

/** Matches a number with its bounds, or as a multiple. */
export function numberPattern(
  type: 'number' | 'integer',
  schema: Schema,
  path: string,
): TextPattern {
  const bounds = boundsOf(schema, path);
  const step = schema['multipleOf'] as number | undefined;
  if (step !== undefined && !(step === 1 && type === 'integer')) {
    return located(`${path}/multipleOf`, () => multiplesOf(step, bounds, type));
  }
  const isBounded = bounds.min !== undefined || bounds.max !== undefined;
  if (type === 'integer') return isBounded ? integersBetween(bounds) : ANY_INTEGER;
  return isBounded ? numbersBetween(bounds) : ANY_NUMBER;
}

/** Returns the bounds of a number. If one side has an inclusive and an exclusive bound, the stricter one counts. */
function boundsOf(schema: Schema, path: string): Bounds {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = schema as Record<
    string,
    number | undefined
  >;
  const pick = (inclusive: number | undefined, exclusive: number | undefined, sign: number) => {
    if (
      exclusive !== undefined &&
      (inclusive === undefined || sign * exclusive >= sign * inclusive)
    ) {
      return { value: exclusive, isExclusive: true };
    }
    return inclusive === undefined ? undefined : { value: inclusive, isExclusive: false };
  };
  const min = pick(minimum, exclusiveMinimum, 1);
  const max = pick(maximum, exclusiveMaximum, -1);
  if (
    min &&
    max &&
    (min.value > max.value || (min.value === max.value && (min.isExclusive || max.isExclusive)))
  ) {
    const keyword = min.isExclusive ? 'exclusiveMinimum' : 'minimum';
    throw new ContradictionError(
      'is above the maximum, so no number is allowed',
      `${path}/${keyword}`,
    );
  }
  return { min, max };
}

/** Returns the bounds of a length or of a number of items. */
export function counts(schema: Schema, minName: string, maxName: string, path: string) {
  const min = (schema[minName] as number | undefined) ?? 0;
  const max = (schema[maxName] as number | undefined) ?? Number.POSITIVE_INFINITY;
  if (min > max)
    throw new ContradictionError(`is above ${maxName}, which is ${max}`, `${path}/${minName}`);
  return { min, max };
}

/** Matches an array whose first items each have a pattern. */
export function tuple(
  first: readonly TextPattern[],
  item: TextPattern,
  { min, max }: { min: number; max: number },
): TextPattern {
  let rest: TextPattern = repeat(
    sequence(COMMA, item),
    Math.max(0, min - first.length),
    Math.max(0, max - first.length),
  );
  for (let i = Math.min(first.length, max) - 1; i >= 0; i--) {
    const here = sequence(...(i > 0 ? [COMMA] : []), first[i]!, rest);
    rest = i >= min ? choice(EMPTY, here) : here;
  }
  return max === 0 ? EMPTY : rest;
}

// The enforceable values of `format`, as regular expressions for all strings of a format, or for the common ones.

const YEAR = '\\d{4}';
/** Years that contain 29 February. */
const LEAP_YEAR = '(\\d\\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)';
const DATE = [
  `${YEAR}-(0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])`,
  `${YEAR}-(0[469]|11)-(0[1-9]|[12]\\d|30)`,
  `${YEAR}-02-(0[1-9]|1\\d|2[0-8])`,
  `${LEAP_YEAR}-02-29`,
].join('|');
const HOUR = '([01]\\d|2[0-3])';
const TIME = `${HOUR}:[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?(Z|[+-]${HOUR}:[0-5]\\d)`;
const CLOCK = '(T(\\d+H(\\d+M(\\d+S)?)?|\\d+M(\\d+S)?|\\d+S))';
const DURATION = `P(\\d+W|(\\d+Y(\\d+M(\\d+D)?)?|\\d+M(\\d+D)?|\\d+D)${CLOCK}?|${CLOCK})`;
const ALNUM = '[A-Za-z0-9]';
const DASHED = '[A-Za-z0-9-]';
/**
 * Never with hyphens in both the third and the fourth position, which mark encoded labels. Four labels fit into 253 characters.
 */
const LABEL = `${ALNUM}(${DASHED}?${ALNUM}|${DASHED}(-|${ALNUM})${ALNUM}|${DASHED}(${ALNUM}${DASHED}|-${ALNUM})${DASHED}{0,55}${ALNUM})?`;
const HOST = `${LABEL}(\\.${LABEL}){0,3}`;
const ATOM = '[A-Za-z0-9_+-]{1,30}';
const BYTE = '(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)';
const IPV4 = `${BYTE}(\\.${BYTE}){3}`;
const HEX = '[0-9a-fA-F]';
const GROUP = `${HEX}{1,4}`;
/** The full form, and the forms with `::` after each possible number of groups. */
const IPV6 = [
  `(${GROUP}:){7}${GROUP}`,
  ...Array.from({ length: 7 }, (_, before) => {
    const after = `(${GROUP}(:${GROUP}){0,${6 - before}})?`;
    const head = before === 0 ? '' : `${GROUP}(:${GROUP}){${before - 1}}`;
    return `${head}::${after}`;
  }),
].join('|');

const FORMATS: Readonly<Record<string, string>> = {
  date: DATE,
  time: TIME,
  'date-time': `(${DATE})T${TIME}`,
  duration: DURATION,
  email: `${ATOM}(\\.${ATOM})?@${LABEL}(\\.${LABEL}){1,3}`,
  hostname: HOST,
  ipv4: IPV4,
  ipv6: IPV6,
  uuid: `${HEX}{8}-${HEX}{4}-${HEX}{4}-${HEX}{4}-${HEX}{12}`,
  uri: `https?://${HOST}(:[1-9]\\d{0,3})?(/[A-Za-z0-9._~-]{0,60}){0,8}(\\?[A-Za-z0-9._~=&-]{0,200})?(#[A-Za-z0-9._~-]{0,60})?`,
};

/** The supported values of `format`. */
const FORMAT_NAMES = Object.keys(FORMATS);

const patterns = new Map<string, TextPattern>();

/** Returns the pattern of a JSON string with this format. Undefined for an unknown format. */
function stringOfFormat(format: string): TextPattern | undefined {
  const known = patterns.get(format);
  const source = Object.hasOwn(FORMATS, format) ? FORMATS[format] : undefined;
  if (known || source === undefined) return known;
  const inner = parseRegex(source, { toPattern: insideString });
  const pattern = shared(sequence(text('"'), inner, text('"')));
  patterns.set(format, pattern);
  return pattern;
}

/** Whether a text has the format. Always true for an unknown format. */
function isOfFormat(value: string, format: string): boolean {
  const source = Object.hasOwn(FORMATS, format) ? FORMATS[format] : undefined;
  return source === undefined || new RegExp(`^(?:${source})$`, 'u').test(value);
}
