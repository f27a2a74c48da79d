// JSON schemas at random, from all keywords: small ones, so that combinations meet often.

type Random = () => number;

const NAMES = ['a', 'b', 'c'];
const VALUES = [1, 2, -3, 0.5, 'a', 'ab', 'b', null, true, [1], { a: 1 }];
const FORMATS = ['date', 'uuid', 'ipv4', 'time', 'email', 'unknown'];
const PATTERNS = ['^a+$', 'b', '^(a|b){1,3}$', '^[^a]*$', '\\d{2}', '^\\w*$', '^a|b$', '^"?\\\\?$'];
const REFS = ['#', '#/$defs/a', '#/$defs/b', '#/properties/a', '#/items', '#/nothing'];
const TYPES = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null'];

/** Returns a schema. `random` gives numbers in [0, 1). */
export function randomSchema(random: Random): unknown {
  const schema = objectSchema(random, 3);
  const hasDefs = random() < 0.4;
  return hasDefs
    ? { ...schema, $defs: { a: anySchema(random, 2), b: anySchema(random, 2) } }
    : schema;
}

function anySchema(random: Random, depth: number): unknown {
  if (random() < 0.06) return random() < 0.7;
  return objectSchema(random, depth);
}

function objectSchema(random: Random, depth: number): Record<string, unknown> {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const some = <T>(most: number, make: () => T): T[] => {
    return Array.from({ length: 1 + Math.floor(random() * most) }, make);
  };
  const count = () => Math.floor(random() * 4);
  const number = () => Math.floor(random() * 41 - 20) / pick([1, 1, 2, 10]);
  const inner = () => anySchema(random, depth - 1);
  const byName = () => Object.fromEntries(some(3, () => [pick(NAMES), inner()]));
  const leaves: Record<string, () => unknown> = {
    type: () => (random() < 0.8 ? pick(TYPES) : [...new Set(some(3, () => pick(TYPES)))]),
    const: () => pick(VALUES),
    enum: () => [...new Set(some(4, () => pick(VALUES)))],
    required: () => [...new Set(some(3, () => pick(NAMES)))],
    minItems: count,
    maxItems: count,
    minLength: count,
    maxLength: count,
    pattern: () => pick(PATTERNS),
    format: () => pick(FORMATS),
    minimum: number,
    maximum: number,
    exclusiveMinimum: number,
    exclusiveMaximum: number,
    multipleOf: () => pick([1, 2, 0.5, 3, 0.1]),
    uniqueItems: () => random() < 0.5,
    minProperties: count,
    maxProperties: count,
    $ref: () => pick(REFS),
    description: () => 'text',
  };
  const nested: Record<string, () => unknown> = {
    properties: byName,
    additionalProperties: inner,
    items: inner,
    prefixItems: () => some(3, inner),
    anyOf: () => some(3, inner),
    oneOf: () => some(3, inner),
    allOf: () => some(3, inner),
    not: inner,
    patternProperties: () => ({ [pick(PATTERNS)]: inner() }),
    propertyNames: inner,
  };
  const keywords = depth > 0 ? { ...leaves, ...nested, ...nested } : leaves;
  const rare = [
    'not',
    'patternProperties',
    'propertyNames',
    'minProperties',
    'maxProperties',
    'uniqueItems',
  ];
  const names = some(4, () => pick(Object.keys(keywords))).filter(
    (name) => !rare.includes(name) || random() < 0.3,
  );
  return Object.fromEntries([...new Set(names)].map((name) => [name, keywords[name]!()]));
}
