// What a schema means depends on its draft and on how it is read.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SchemaReading } from '../../src/contracts/generation.ts';
import { refusalOf } from './refusals.ts';
import { Writer } from './written.ts';

const writer = new Writer();
const draft = (name: string) => `http://json-schema.org/draft-${name}/schema#`;
const object = (properties: object, more: object = {}) => ({ type: 'object', properties, ...more });
const AB = object({ a: { type: 'integer' }, b: { type: 'integer' } });

type Row = [
  name: string,
  schema: object,
  valid: readonly unknown[],
  invalid: readonly unknown[],
  reading?: SchemaReading,
];

const ROWS: readonly Row[] = [
  [
    'draft 4: flags make bounds exclusive',
    { $schema: draft('04'), type: 'integer', minimum: 1, exclusiveMinimum: true, maximum: 3 },
    [2, 3],
    [1, 4],
  ],
  ['draft 4 has no const', { $schema: draft('04'), type: 'integer', const: 1 }, [1, 2], ['a']],
  [
    'draft 7: keywords next to a reference mean nothing',
    {
      $schema: draft('07'),
      definitions: { n: { type: 'integer' } },
      properties: { a: { $ref: '#/definitions/n', minimum: 5 } },
      required: ['a'],
    },
    [{ a: 1 }, { a: 5 }],
    [{ a: 'b' }],
  ],
  [
    'draft 7: items is a list, and additionalItems are the others',
    {
      $schema: draft('07'),
      type: 'array',
      items: [{ type: 'integer' }],
      additionalItems: { type: 'null' },
    },
    [[], [1], [1, null]],
    [['a'], [1, 1]],
  ],
  [
    'no draft: additionalItems beside a list of items are the others',
    { type: 'array', items: [{ type: 'integer' }], additionalItems: { type: 'null' } },
    [[], [1], [1, null]],
    [['a'], [1, 1]],
  ],
  [
    'no draft: neither are there others if additionalItems is false',
    { $schema: 'https://example.com/own', type: 'array', items: [true], additionalItems: false },
    [[], [1]],
    [[1, 1]],
  ],
  [
    'no draft: an address beside a reference that both readings resolve to the same',
    { $id: 'https://example.com/a.json', $ref: '#/$defs/n', $defs: { n: { type: 'integer' } } },
    [1],
    ['a'],
  ],
  [
    'additionalItems without a list mean nothing',
    { type: 'array', items: { type: 'integer' }, additionalItems: false },
    [[], [1, 2]],
    [['a']],
  ],
  [
    'draft 7: dependencies are names or schemas',
    {
      $schema: draft('07'),
      ...AB,
      dependencies: { a: ['b'], b: { properties: { b: { minimum: 2 } } } },
    },
    [{}, { b: 2 }, { a: 1, b: 2 }],
    [{ a: 1 }, { b: 1 }],
  ],
  [
    'a reference by the address of the whole schema',
    {
      $id: 'https://example.com/root.json',
      $defs: { n: { type: 'integer' } },
      ...object({ a: { $ref: 'https://example.com/root.json#/$defs/n' } }, { required: ['a'] }),
    },
    [{ a: 1 }],
    [{ a: 'x' }],
  ],
  [
    'a schema with an address, without references inside',
    {
      $defs: { n: { $id: 'https://example.com/n.json', type: 'integer' } },
      ...object({ a: { $ref: '#/$defs/n' } }, { required: ['a'] }),
    },
    [{ a: 1 }],
    [{ a: 'x' }],
  ],
  ['members are closed', AB, [{}, { a: 1, b: 2 }], [{ c: 1 }, { b: 1, a: 1 }]],
  [
    'members are open',
    AB,
    [{}, { a: 1, b: 2, c: 3 }, { c: 3 }],
    [{ a: 'x' }, { a: 1, a2: 1, b: 'x' }],
    { isOpen: true },
  ],
  [
    'members come in any order',
    object({ a: true, b: true, c: true }, { required: ['c'] }),
    [{ c: 1 }, { c: 1, a: 2 }, { b: 1, c: 1, a: 2 }],
    [{ a: 1 }, { c: 1, d: 1 }],
    { isUnordered: true },
  ],
  [
    'many members come in any order, and optional ones may be repeated',
    object(Object.fromEntries([...'abcdefg'].map((name) => [name, true])), { required: ['f'] }),
    [
      { a: 1, f: 1 },
      { f: 1, a: 1 },
      { g: 1, f: 1, b: 1 },
    ],
    [{ a: 1 }, { f: 1, h: 1 }],
    { isUnordered: true },
  ],
  [
    'seven required members come in any order',
    object(Object.fromEntries([...'abcdefgh'].map((name) => [name, true])), {
      required: [...'bcdefgh'],
    }),
    [
      { h: 1, b: 1, g: 1, c: 1, f: 1, d: 1, e: 1 },
      { h: 1, b: 1, a: 1, g: 1, c: 1, f: 1, d: 1, e: 1 },
    ],
    [{ h: 1, b: 1, g: 1, c: 1, f: 1, d: 1 }],
    { isUnordered: true },
  ],
  [
    'the least number of members counts in any order',
    object({ a: true, b: true }, { minProperties: 2, additionalProperties: true }),
    [
      { b: 1, a: 1 },
      { c: 1, b: 1 },
    ],
    [{ b: 1 }, { c: 1 }, {}],
    { isUnordered: true },
  ],
  [
    'many required members come in the order of the schema or before the others',
    object(Object.fromEntries([...'abcdefghij'].map((name) => [name, true])), {
      required: [...'cdefghij'],
    }),
    [
      { a: 1, c: 1, d: 1, e: 1, f: 1, g: 1, h: 1, i: 1, j: 1 },
      { c: 1, d: 1, e: 1, f: 1, g: 1, h: 1, i: 1, j: 1, a: 1 },
    ],
    [{ d: 1, c: 1, e: 1, f: 1, g: 1, h: 1, i: 1, j: 1 }, { a: 1 }],
    { isUnordered: true },
  ],
  ['a missing type is that of the keywords', { maxLength: 2 }, ['ab'], ['abc', 1, null]],
  [
    'a missing type is any type',
    { maxLength: 2 },
    ['ab', 1, null, {}],
    ['abc'],
    { isUntyped: true },
  ],
  [
    'members of a parent come first',
    object({ a: { type: 'integer' } }, { anyOf: [object({ b: true }, { required: ['b'] })] }),
    [{ a: 1, b: 1 }, { b: 1 }],
    [{ b: 1, a: 1 }, { a: 1 }],
  ],
];

for (const [name, schema, valid, invalid, reading = {}] of ROWS) {
  test(name, () => {
    const constraint = { kind: 'json_schema' as const, schema, ...reading };
    assert.equal(refusalOf(constraint), undefined);
    const texts = (values: readonly unknown[]) => values.map((value) => JSON.stringify(value));
    for (const text of texts(valid)) assert.ok(writer.allows(constraint, text), text);
    for (const text of texts(invalid)) assert.ok(!writer.allows(constraint, text), text);
  });
}

const REFUSED: readonly [name: string, schema: object, path: string, message: RegExp][] = [
  [
    'unevaluatedProperties',
    { unevaluatedProperties: false },
    '#/unevaluatedProperties',
    /not supp/,
  ],
  ...['$recursiveRef', 'divisibleBy', 'disallow', 'extends'].map(
    (name): (typeof REFUSED)[number] => [
      `${name} of an older draft that may be meant`,
      { type: 'object', properties: { a: { [name]: '#' } } },
      `#/properties/a/${name}`,
      /not supported/,
    ],
  ),
  [
    'a reference inside of a schema with an address, to which it is relative',
    {
      $defs: { n: { type: 'integer' } },
      properties: {
        a: {
          $id: 'https://example.com/inner/',
          $defs: { n: { type: 'string' } },
          properties: { b: { $ref: '#/$defs/n' } },
        },
      },
    },
    '#/properties/a/properties/b/$ref',
    /not inside of another schema/,
  ],
  [
    'an anchor',
    { $ref: '#number', $defs: { n: { $anchor: 'number', type: 'integer' } } },
    '#/$ref',
    /must be a pointer/,
  ],
  ['another document', { $ref: 'other.json#/$defs/n' }, '#/$ref', /within this schema/],
  ['nothing', { not: {} }, '#/not', /allows no value/],
  [
    'a required member that nothing satisfies',
    object({ a: { enum: [1], type: 'string' } }, { required: ['a'] }),
    '#/properties/a/enum',
    /no value of it is allowed/,
  ],
  [
    'oneOf with an overlap that has no opposite',
    { oneOf: [{ type: 'string' }, { type: 'string', format: 'email' }] },
    '#/oneOf/1/format',
    /overlaps with others/,
  ],
  [
    'oneOf with an overlap of a type that only the opposite of another schema adds',
    {
      oneOf: [
        { type: 'integer', minItems: 2 },
        { exclusiveMaximum: -0.9, minItems: 1 },
        { minItems: 0 },
      ],
    },
    '#/oneOf/0/type',
    /overlaps with others/,
  ],
  [
    'a bound with too many decimals',
    { type: 'number', multipleOf: 1, exclusiveMinimum: 1e-25 },
    '#/exclusiveMinimum',
    /at most 20 decimals/,
  ],
  ['a large step', { multipleOf: 501 }, '#/multipleOf', /at most 500/],
  [
    'different items that are not listed',
    { type: 'array', items: { type: 'string' }, uniqueItems: true },
    '#/uniqueItems',
    /only if items have an enum/,
  ],
  ['a schema that begins with itself', { anyOf: [{ $ref: '#' }] }, '#/anyOf/0', /itself/],
];

for (const [name, schema, path, message] of REFUSED) {
  test(`${name} is refused with its place`, () => {
    const refusal = refusalOf({ kind: 'json_schema', schema });
    assert.equal(refusal?.path, path);
    assert.match(refusal.message, message);
  });
}
