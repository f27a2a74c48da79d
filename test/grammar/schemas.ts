// Schemas with values that they allow and values that they do not. A constraint may allow less than a schema, but all values
// here.

/** A schema, what it allows and what it does not. */
export interface SchemaCase {
  readonly name: string;
  readonly schema: unknown;
  readonly valid: readonly unknown[];
  readonly invalid: readonly unknown[];
}

const text = (
  schema: object,
  valid: string[],
  invalid: unknown[],
): [object, unknown[], unknown[]] => [{ type: 'string', ...schema }, valid, invalid];
const format = (name: string, valid: string[], invalid: string[]) =>
  text({ format: name }, valid, invalid);
const closed = (properties: object, required = Object.keys(properties)) => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
});
const NODE = {
  $defs: {
    node: closed({
      value: { type: 'integer' },
      next: { anyOf: [{ $ref: '#/$defs/node' }, { type: 'null' }] },
    }),
  },
  $ref: '#/$defs/node',
};

const TABLE: Record<string, [schema: unknown, valid: unknown[], invalid: unknown[]]> = {
  'any value': [true, [1, 'a', null, [1, { a: [] }], { b: { c: 'ä\n"' } }], []],
  'any object': [{ type: 'object' }, [{}, { a: 1 }, { a: { b: [1.5e3] } }], [1, 'a', []]],
  'any array': [{ type: 'array' }, [[], [1, 'a']], [{}]],
  string: [{ type: 'string' }, ['', 'a', 'ä€😀', 'a"b\\c\n\t\u0001'], [1, null]],
  'string lengths': [
    { type: 'string', minLength: 2, maxLength: 4 },
    ['ab', 'abcd', '😀😀😀😀', '"\\'],
    ['a', 'abcde', ''],
  ],
  'a long bound': [{ type: 'string', maxLength: 3000 }, ['', 'a'.repeat(3000)], ['a'.repeat(3001)]],
  pattern: [
    { type: 'string', pattern: '^[a-c]{2,3}-\\d+$' },
    ['ab-1', 'abc-123'],
    ['a-1', 'ab-', 'xab-1', 'ab-1x'],
  ],
  'a pattern without anchors': [{ type: 'string', pattern: 'c' }, ['c', 'xc"y'], ['ab']],
  'a pattern with one anchor': [{ type: 'string', pattern: '^ab' }, ['ab', 'abc'], ['cab']],
  'a pattern with alternatives': [
    { type: 'string', pattern: '^(a|b)$|^cd?$' },
    ['a', 'b', 'c', 'cd'],
    ['d', 'ad'],
  ],
  'date-time': format(
    'date-time',
    ['2024-02-29T23:59:59Z', '2023-12-31T00:00:00.123+05:30'],
    ['2023-02-29T00:00:00Z', '2023-01-01', '2023-13-01T00:00:00Z'],
  ),
  date: format(
    'date',
    ['2024-02-29', '2000-02-29', '2023-04-30'],
    ['2023-02-29', '1900-02-29', '2023-04-31'],
  ),
  time: format('time', ['12:00:00Z', '23:59:59.5-01:00'], ['24:00:00Z', '12:00']),
  duration: format('duration', ['P1D', 'PT1H30M', 'P1Y2M3DT4H', 'P2W'], ['P', 'PT', '1D']),
  email: format('email', ['a@example.com', 'a.b-c@x.example.org'], ['a', 'a@', '@b.c', 'a b@c.de']),
  hostname: format(
    'hostname',
    ['example.com', 'localhost', 'a-b.c', 'a--b', 'abc--d'],
    ['-a.com', 'a..b', ''],
  ),
  ipv4: format('ipv4', ['127.0.0.1', '255.255.255.255'], ['256.0.0.1', '1.2.3']),
  ipv6: format(
    'ipv6',
    ['::1', '2001:db8::ff00:42:8329', '1:2:3:4:5:6:7:8', '::', '1::', 'fe80::1:2:3'],
    ['1:2:3', ':::', '1::2::3', '12345::'],
  ),
  uuid: format(
    'uuid',
    ['123e4567-e89b-12d3-a456-426614174000'],
    ['123e4567-e89b-12d3-a456-42661417400'],
  ),
  uri: format(
    'uri',
    ['https://example.com/a/b?c=d#e', 'http://localhost:8080', 'urn:isbn:1', 'file:///a/b'],
    ['example.com', 'a b:c'],
  ),
  'uri-reference': format(
    'uri-reference',
    ['/a/b?c', '#d', 'a/b', 'https://example.com'],
    ['a b', '\\a'],
  ),
  'json-pointer': format('json-pointer', ['', '/a/0', '/~0~1'], ['a', '/~2']),
  regex: format('regex', ['^a+(b|c)*$', '[a-z]{3}', ''], ['(', '[', 'a**']),
  byte: format('byte', ['', 'YWI=', 'YWJj'], ['Y', 'YW=']),
  integer: [{ type: 'integer' }, [0, -5, 123456789], [1.5, '1']],
  'integer range': [
    { type: 'integer', minimum: -12, maximum: 1305 },
    [-12, -1, 0, 9, 10, 99, 100, 999, 1000, 1299, 1305],
    [-13, 1306, 9999, -20],
  ],
  'integer from 3': [{ type: 'integer', minimum: 3 }, [3, 10, 12345], [2, 0, -3]],
  'integer up to -3': [{ type: 'integer', maximum: -3 }, [-3, -10], [-2, 0, 3]],
  'exclusive integers': [
    { type: 'integer', exclusiveMinimum: 0, exclusiveMaximum: 3 },
    [1, 2],
    [0, 3],
  ],
  'integers between fractions': [{ type: 'integer', minimum: 0.5, maximum: 2.5 }, [1, 2], [0, 3]],
  number: [{ type: 'number' }, [0, -1.5, 1e21, 0.001], ['1']],
  'number range': [
    { type: 'number', minimum: -5.25, maximum: 10.5 },
    [-5.25, -5.2, -0.001, 0, 3.99, 10, 10.5],
    [-5.26, -5.3, 10.51, 11, -6],
  ],
  'a small number range': [
    { type: 'number', minimum: 0.125, maximum: 0.13 },
    [0.125, 0.126, 0.1251, 0.13, 0.1299],
    [0.12, 0.1249, 0.131, 0, 1],
  ],
  'exclusive numbers': [
    { type: 'number', exclusiveMinimum: 0, exclusiveMaximum: 1 },
    [0.1, 0.9999, 0.01],
    [0, 1, -0.5],
  ],
  'number from 2.5': [{ type: 'number', minimum: 2.5 }, [2.5, 2.51, 3, 1000], [2.4, 2, 0, -3]],
  'number below -1': [{ type: 'number', exclusiveMaximum: -1 }, [-1.01, -2, -55.5], [-1, 0, 1]],
  'multiples of 3': [{ type: 'integer', multipleOf: 3 }, [0, 3, -6, 12, 999], [1, 2, 10, -5]],
  'multiples of 0.25': [{ type: 'number', multipleOf: 0.25 }, [0, 1, -2.5, 0.75], [0.1, 0.3]],
  'bounded multiples': [
    { type: 'integer', multipleOf: 5, minimum: 3, maximum: 21 },
    [5, 10, 20],
    [0, 25, 7],
  ],
  'multiples of two fractions': [
    { type: 'number', multipleOf: 0.5, allOf: [{ multipleOf: 0.75 }] },
    [0, 1.5, -3, 4.5],
    [0.5, 0.75, 2],
  ],
  'multiples within bounds, except some': [
    { type: 'integer', multipleOf: 5, minimum: -10, not: { enum: [0, 15] } },
    [-10, -5, 5, 10, 20],
    [-15, 0, 15, 7],
  ],
  'numbers except some': [
    { type: 'number', exclusiveMinimum: -1.5, not: { enum: [0, -0.25, 2] } },
    [-1, -0.2, -0.251, 1.99, 2.01, 20],
    [-1.5, -0.25, 0, 2],
  ],
  boolean: [{ type: 'boolean' }, [true, false], [0, null]],
  'a nullable type': [{ type: ['string', 'null'] }, ['a', null], [1]],
  enum: [
    { enum: ['a', 1, null, { b: [1, 2] }, 'ä"'] },
    ['a', 1, null, { b: [1, 2] }, 'ä"'],
    ['b', 2, {}],
  ],
  'enum with a type': [{ type: 'string', enum: ['a', 1] }, ['a'], [1]],
  'enum with bounds and a format': [
    {
      allOf: [
        { enum: [1, 5, 'a', '1.2.3.4'] },
        { minimum: 2, format: 'ipv4', type: ['number', 'string'] },
      ],
    },
    [5, '1.2.3.4'],
    [1, 'a'],
  ],
  const: [{ const: 'x' }, ['x'], ['y']],
  anyOf: [
    { anyOf: [{ type: 'string', maxLength: 2 }, { type: 'integer' }] },
    ['ab', 5],
    ['abc', 1.5],
  ],
  'anyOf beside properties': [
    {
      ...closed({ a: { type: 'integer' }, b: { type: 'integer' } }, []),
      anyOf: [{ required: ['a'] }, { required: ['b'] }],
    },
    [{ a: 1 }, { b: 1 }, { a: 1, b: 2 }],
    [{}],
  ],
  'oneOf by type': [{ oneOf: [{ type: 'string' }, { type: 'integer' }] }, ['a', 1], [null]],
  'oneOf by a constant': [
    {
      oneOf: [
        closed({ kind: { const: 'cat' }, lives: { type: 'integer' } }),
        closed({ kind: { const: 'dog' } }),
      ],
    },
    [{ kind: 'cat', lives: 9 }, { kind: 'dog' }],
    [{ kind: 'dog', lives: 1 }, { kind: 'cow' }],
  ],
  allOf: [
    {
      allOf: [
        { type: 'object', properties: { a: { type: 'string' } }, required: ['a'] },
        { properties: { b: { type: 'integer', minimum: 2 } }, required: ['b'] },
      ],
    },
    [{ a: 'x', b: 2 }],
    [{ a: 'x' }, { a: 'x', b: 1 }],
  ],
  'allOf of numbers': [
    {
      allOf: [
        { type: 'number', minimum: 1 },
        { type: 'integer', maximum: 3 },
      ],
    },
    [1, 3],
    [0, 4, 1.5],
  ],
  'items and first items in different parts of allOf': [
    { allOf: [{ prefixItems: [{ minimum: 3 }] }], items: { minimum: 5 } },
    [[5], [5, 6]],
    [[3], [3, 5], [5, 4]],
  ],
  'recursion through allOf': [
    {
      $defs: {
        node: closed({ kids: { type: 'array', items: { allOf: [{ $ref: '#/$defs/node' }] } } }),
      },
      allOf: [{ $ref: '#/$defs/node' }, { type: 'object' }],
    },
    [{ kids: [] }, { kids: [{ kids: [] }] }],
    [{ kids: [{}] }],
  ],
  'a format without a type': [{ format: 'ipv4' }, ['1.2.3.4'], ['a']],
  'anyOf with an option that contradicts the rest': [
    { anyOf: [{ const: 'a' }, { const: 'b' }, { type: 'null' }], enum: ['a', 'c'] },
    ['a'],
    ['b', 'c', null],
  ],
  'a reference with a description': [
    {
      $defs: { n: { type: 'integer' } },
      properties: { a: { $ref: '#/$defs/n', description: 'x' } },
      required: ['a'],
    },
    [{ a: 1 }],
    [{ a: 'b' }],
  ],
  'a reference with another bound': [
    {
      $defs: { n: { type: 'integer', minimum: 1 } },
      properties: { a: { $ref: '#/$defs/n', maximum: 3 } },
      required: ['a'],
    },
    [{ a: 3 }],
    [{ a: 0 }, { a: 4 }],
  ],
  'a recursive reference': [
    NODE,
    [
      { value: 1, next: null },
      { value: 1, next: { value: 2, next: null } },
    ],
    [{ value: 1 }, { value: 1, next: 3 }],
  ],
  'a recursive root': [
    { ...closed({ kids: { type: 'array', items: { $ref: '#' } } }) },
    [{ kids: [] }, { kids: [{ kids: [] }] }],
    [{ kids: [1] }],
  ],
  object: [
    closed({ a: { type: 'string' }, b: { type: 'integer' } }),
    [{ a: 'x', b: 1 }],
    [{ a: 'x' }, { a: 1, b: 1 }, { a: 'x', b: 1, c: 1 }],
  ],
  'optional properties': [
    closed({ a: { type: 'integer' }, b: { type: 'integer' }, c: { type: 'integer' } }, ['b']),
    [{ b: 1 }, { a: 1, b: 1 }, { b: 1, c: 1 }, { a: 1, b: 1, c: 1 }],
    [{}, { a: 1 }, { a: 1, c: 1 }],
  ],
  'only optional properties': [
    closed({ a: { type: 'integer' }, b: { type: 'integer' } }, []),
    [{}, { a: 1 }, { b: 1 }, { a: 1, b: 1 }],
    [{ c: 1 }],
  ],
  'additional properties': [
    {
      type: 'object',
      properties: { ab: { type: 'integer' } },
      required: ['ab'],
      additionalProperties: { type: 'boolean' },
    },
    [{ ab: 1 }, { ab: 1, a: true, abc: false, b: true }],
    [{ ab: true }, { ab: 1, a: 1 }],
  ],
  'a map': [
    { type: 'object', additionalProperties: { type: 'integer' } },
    [{}, { a: 1, 'b"': 2 }],
    [{ a: 'x' }],
  ],
  'a map with names and a bound': [
    {
      type: 'object',
      propertyNames: { enum: ['city', 'state', 3] },
      additionalProperties: { type: 'string' },
      maxProperties: 2,
    },
    [{}, { state: 'a', city: 'b' }, { city: 'b' }],
    [{ town: 'a' }, { city: 1 }],
  ],
  'a map with a pattern and a member': [
    { propertyNames: { pattern: '^x_[a-z]+$' }, minProperties: 1, maxProperties: 1 },
    [{ x_a: null }],
    [{}, { a: 1 }, { x_a: 1, x_b: 2 }],
  ],
  'a map of two schemas': [
    {
      allOf: [
        { type: 'object', maxProperties: 3, propertyNames: { $ref: '#/$defs/short' } },
        { additionalProperties: { type: 'integer' }, maxProperties: 1 },
      ],
      $defs: { short: { maxLength: 2 } },
    },
    [{}, { ab: 1 }],
    [{ abc: 1 }, { a: 'x' }, { a: 1, b: 2 }],
  ],
  'names that need quoting': [
    closed({ 'a"b\\c': { type: 'integer' }, ü: { type: 'null' } }),
    [{ 'a"b\\c': 1, ü: null }],
    [{}],
  ],
  'array of items': [
    { type: 'array', items: { type: 'integer' } },
    [[], [1], [1, 2, 3]],
    [['a'], [1, 'a']],
  ],
  'array lengths': [
    { type: 'array', items: { type: 'boolean' }, minItems: 2, maxItems: 3 },
    [
      [true, false],
      [true, true, false],
    ],
    [[], [true], [true, true, true, true]],
  ],
  'an empty array': [{ type: 'array', maxItems: 0 }, [[]], [[1]]],
  'a tuple': [
    {
      type: 'array',
      prefixItems: [{ type: 'integer' }, { type: 'string' }],
      items: false,
      minItems: 2,
    },
    [[1, 'a']],
    [[1], ['a', 1], [1, 'a', 2]],
  ],
  'a tuple with more': [
    { type: 'array', prefixItems: [{ type: 'integer' }], items: { type: 'null' } },
    [[], [1], [1, null, null]],
    [[null], [1, 1]],
  ],
  'patterns of names': [
    {
      type: 'object',
      properties: { id: { type: 'integer' } },
      patternProperties: { '^a': { type: 'integer' }, b: { maximum: 5 } },
      additionalProperties: false,
    },
    [{}, { id: 9, ac: 7 }, { ab: 5, cb: 1 }],
    [{ ac: 'x' }, { ab: 6 }, { y: 1 }],
  ],
  'names that a pattern excludes': [
    {
      type: 'object',
      patternProperties: { '^(?!a)[a-c]+$': { type: 'null' } },
      additionalProperties: { type: 'integer' },
    },
    [{ ba: null, a: 1 }],
    [{ ba: 1 }, { a: null }],
  ],
  'names of declared and other members': [
    {
      type: 'object',
      properties: { ab: { type: 'integer' }, abc: { type: 'integer' } },
      propertyNames: { pattern: '^a', maxLength: 3 },
      additionalProperties: { type: 'null' },
    },
    [{ ab: 1, aa: null }, { abc: 1 }],
    [{ ab: null }, { b: null }, { aaaa: null }],
  ],
  'a number of members next to properties': [
    { ...closed({ a: true, b: true, c: true }, ['b']), minProperties: 2, maxProperties: 2 },
    [
      { a: 1, b: 1 },
      { b: 1, c: 1 },
    ],
    [{ b: 1 }, { a: 1, b: 1, c: 1 }],
  ],
  'members that others require': [
    { ...closed({ a: true, b: true, c: true }, []), dependentRequired: { a: ['c'], c: ['b'] } },
    [{}, { b: 1 }, { b: 1, c: 1 }, { a: 1, b: 1, c: 1 }],
    [{ a: 1 }, { c: 1 }, { a: 1, b: 1 }, { a: 1, c: 1 }],
  ],
  'a member that brings a schema': [
    {
      ...closed({ a: true, b: { type: 'integer' } }, []),
      dependentSchemas: { a: { properties: { b: { minimum: 3 } } } },
    },
    [{ b: 1 }, { a: 1, b: 3 }, { a: 1 }],
    [{ a: 1, b: 1 }],
  ],
  'an optional property that nothing satisfies': [
    closed({ a: { type: 'string', enum: [1] }, b: { not: {} }, c: { type: 'null' } }, []),
    [{}, { c: null }],
    [{ a: 1 }, { b: 1 }],
  ],
  'oneOf by required members of closed objects': [
    { oneOf: [closed({ a: true, c: true }, ['a']), closed({ b: true, c: true }, ['b'])] },
    [{ a: 1 }, { b: 1, c: 2 }],
    [{ c: 1 }, { a: 1, b: 1 }],
  ],
  'oneOf of overlapping schemas': [
    {
      ...closed({ a: true, b: true }, []),
      oneOf: [{ required: ['a'] }, { required: ['b'] }],
    },
    [{ a: 1 }, { b: 1 }],
    [{}, { a: 1, b: 1 }],
  ],
  'oneOf of overlapping numbers': [
    {
      type: 'integer',
      oneOf: [
        { minimum: 1, maximum: 5 },
        { minimum: 4, maximum: 9 },
      ],
    },
    [1, 3, 6, 9],
    [0, 4, 5, 10],
  ],
  'a condition': [
    {
      ...closed({ kind: { enum: ['a', 'b'] }, n: { type: 'integer' } }, ['kind']),
      if: { properties: { kind: { const: 'a' } } },
      // biome-ignore lint/suspicious/noThenProperty: it is a keyword
      then: { required: ['n'] },
      else: { properties: { n: { minimum: 5 } } },
    },
    [{ kind: 'a', n: 1 }, { kind: 'b' }, { kind: 'b', n: 5 }],
    [{ kind: 'a' }, { kind: 'b', n: 4 }],
  ],
  'excluded constants': [
    { type: ['string', 'integer', 'boolean'], not: { enum: ['ab', 3, true] } },
    ['', 'a', 'abc', 'x', 2, 4, 33, false],
    ['ab', 3, true, null],
  ],
  'an excluded pattern': [
    { type: 'string', not: { pattern: 'b' }, minLength: 1 },
    ['a', 'ca'],
    ['', 'b', 'abc'],
  ],
  'an excluded item': [
    { type: 'array', items: { enum: [1, 2] }, not: { items: { const: 1 } } },
    [[2], [1, 2, 1]],
    [[], [1], [1, 1], [3]],
  ],
  'an item that must occur': [
    { type: 'array', contains: { const: 'x' }, items: { type: 'string' }, maxItems: 2 },
    [['x'], ['a', 'x']],
    [[], ['a'], ['a', 'b', 'x'], ['x', 1]],
  ],
  'different items': [
    { type: 'array', items: { enum: ['a', 'b', 'c'] }, uniqueItems: true, minItems: 1 },
    [['a'], ['c', 'a'], ['b', 'c', 'a']],
    [[], ['a', 'a'], ['a', 'b', 'a'], ['d']],
  ],
  'many different items': [
    { type: 'array', items: { enum: [...'abcdefghijkl'] }, uniqueItems: true, maxItems: 3 },
    [[], ['a', 'c'], ['a', 'k', 'l']],
    [
      ['a', 'a'],
      ['a', 'b', 'c', 'd'],
    ],
  ],
  'a pattern and a length': [
    { type: 'string', pattern: '^(ab|c)+$', minLength: 2, maxLength: 4 },
    ['ab', 'cc', 'abab', 'cabc'],
    ['c', 'abcab', 'aa'],
  ],
  'two patterns': [
    { allOf: [{ type: 'string', pattern: '^[ab]+$' }, { pattern: '^a' }] },
    ['a', 'ab'],
    ['b', 'ba', 'ac'],
  ],
  'a pattern with anchors in groups': [
    { type: 'string', pattern: '(^a$)|(^b|c)c?"?$' },
    ['a', 'bc', 'xc', 'xc"'],
    ['ab', 'xb', 'ca'],
  ],
  'a format and a length': [
    { type: 'string', format: 'email', maxLength: 20 },
    ['a@example.com', 'a.b@x.example.org'],
    ['a', 'abcdefghij@example.com'],
  ],
  'a format and a pattern': [
    { type: 'string', format: 'uri', pattern: '^https://' },
    ['https://example.com/a?b=c'],
    ['http://example.com', 'https'],
  ],
  'an unknown format': [{ type: 'string', format: 'colour' }, ['', 'red'], [1]],
  'a very long bound': [
    { type: 'string', minLength: 2, maxLength: 70_000 },
    ['aa', 'a'.repeat(600)],
    ['', 'a'],
  ],
  'multiples from 0': [
    { type: 'number', multipleOf: 0.01, minimum: 0 },
    [0, 0.01, 12.5],
    [-0.01, 0.005],
  ],
  'multiples of two numbers': [
    { allOf: [{ type: 'integer', multipleOf: 4 }, { multipleOf: 6 }] },
    [0, 12, -24],
    [4, 6, 8],
  ],
};

export const SCHEMAS: readonly SchemaCase[] = Object.entries(TABLE).map(
  ([name, [schema, valid, invalid]]) => ({ name, schema, valid, invalid }),
);
