// JSON schemas as constraints, with ajv as the judge of what a schema allows.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import type { Constraint } from '../../src/contracts/generation.ts';
import { refusalOf } from './refusals.ts';
import { SCHEMAS } from './schemas.ts';
import { seeded, Writer } from './written.ts';

const ajv = new Ajv2020({ strict: false, multipleOfPrecision: 6 });
formats.default(ajv);
const writer = new Writer();

for (const { name, schema, valid, invalid } of SCHEMAS) {
  const constraint: Constraint = { kind: 'json_schema', schema };

  test(`${name}: what is written at random is valid`, () => {
    const validate = ajv.compile(schema as object);
    const random = seeded(7);
    let complete = 0;
    for (let i = 0; i < 60; i++) {
      const text = writer.write(constraint, random);
      if (text === undefined) continue;
      complete++;
      assert.ok(validate(JSON.parse(text)), `${text}: ${ajv.errorsText(validate.errors)}`);
    }
    assert.ok(complete > 10, `only ${complete} texts were complete`);
  });

  test(`${name}: valid values can be written, others cannot`, () => {
    const validate = ajv.compile(schema as object);
    for (const value of valid) {
      assert.ok(validate(value), `${JSON.stringify(value)} is valid`);
      assert.ok(
        writer.allows(constraint, JSON.stringify(value)),
        `can write ${JSON.stringify(value)}`,
      );
    }
    for (const value of invalid) {
      assert.ok(!validate(value), `${JSON.stringify(value)} is invalid`);
      assert.ok(
        !writer.allows(constraint, JSON.stringify(value)),
        `cannot write ${JSON.stringify(value)}`,
      );
    }
  });
}

test('formats are as strict as their standards, which ajv is not', () => {
  for (const [format, value] of [
    ['duration', 'P1Y2D'],
    ['duration', 'PT1H2S'],
    ['hostname', 'xn--x'],
    ['hostname', 'a.ab--c'],
  ] as const) {
    const constraint: Constraint = { kind: 'json_schema', schema: { type: 'string', format } };
    assert.ok(!writer.allows(constraint, JSON.stringify(value)), value);
  }
});

test('multiples have no more digits than a reader of JSON keeps', () => {
  const multiplesOf3: Constraint = {
    kind: 'json_schema',
    schema: { type: 'integer', multipleOf: 3 },
  };
  assert.ok(writer.allows(multiplesOf3, '111111111111111'));
  assert.ok(!writer.allows(multiplesOf3, '11910032104906119'));
});

test('hundreds of numbers and long names can be excluded', () => {
  const few: Constraint = {
    kind: 'json_schema',
    schema: { type: 'number', not: { enum: Array.from({ length: 400 }, (_, i) => i / 4) } },
  };
  for (const text of ['17', '17.5', '17.50', '0', '0.25'])
    assert.ok(!writer.allows(few, text), text);
  for (const text of ['400', '17.3', '17.251', '-17', '170'])
    assert.ok(writer.allows(few, text), text);
  const names = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(2_600));
  const open: Constraint = {
    kind: 'json_schema',
    schema: {
      properties: Object.fromEntries(names.map((name) => [name, { type: 'integer' }])),
      additionalProperties: { type: 'string' },
      type: 'object',
    },
  };
  assert.equal(refusalOf(open), undefined);
});

test('a contradiction of numbers is found at its keyword', () => {
  const faults: [schema: object, path: string][] = [
    [{ type: 'number', minimum: 5, maximum: 4 }, '#/minimum'],
    [{ type: 'integer', exclusiveMinimum: 5, maximum: 5 }, '#/exclusiveMinimum'],
    [
      { type: 'number', allOf: [{ multipleOf: 1e308 }, { multipleOf: 0.01 }] },
      '#/allOf/0/multipleOf',
    ],
  ];
  for (const [schema, path] of faults)
    assert.equal(refusalOf({ kind: 'json_schema', schema })?.path, path);
});
