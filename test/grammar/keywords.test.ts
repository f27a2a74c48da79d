// The table of keywords in the documentation, held against the table in the code and what is refused.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { KEYWORDS } from '../../src/grammar/schema-keywords.ts';
import { refusalOf } from './refusals.ts';

const DOCS = new URL('../../docs/structured-outputs.md', import.meta.url);
const TEXT = { type: 'string' };
const DRAFT_7 = { $schema: 'http://json-schema.org/draft-07/schema#' };

/** A schema with each keyword. Default: its value is a schema. */
const SAMPLES: Readonly<Record<string, object>> = {
  $ref: { $ref: '#/$defs/text' },
  type: TEXT,
  enum: { enum: ['a', 1] },
  const: { const: 'a' },
  allOf: { allOf: [TEXT] },
  anyOf: { anyOf: [TEXT, { type: 'null' }] },
  oneOf: { oneOf: [TEXT, { type: 'null' }] },
  if: { if: TEXT, else: { type: 'null' } },
  // biome-ignore lint/suspicious/noThenProperty: it is a keyword
  then: JSON.parse('{ "if": { "type": "string" }, "then": { "minLength": 1 } }'),
  else: { if: TEXT, else: { type: 'null' } },
  properties: { properties: { a: TEXT } },
  patternProperties: { patternProperties: { a: TEXT } },
  required: { required: ['a'] },
  dependentRequired: { dependentRequired: { a: ['b'] } },
  dependentSchemas: { dependentSchemas: { a: { required: ['b'] } } },
  dependencies: { dependencies: { a: ['b'] } },
  prefixItems: { prefixItems: [TEXT] },
  additionalItems: { items: [true], additionalItems: TEXT },
  uniqueItems: { items: { enum: [1, 2] }, uniqueItems: true },
  minContains: { contains: TEXT, minContains: 2 },
  maxContains: { contains: TEXT, maxContains: 2 },
  pattern: { pattern: '^a' },
  format: { format: 'date' },
  contentEncoding: { contentEncoding: 'base64' },
  contentMediaType: { contentMediaType: 'application/json' },
  ...Object.fromEntries(
    ['Properties', 'Items', 'Length'].flatMap((what) => [
      [`min${what}`, { [`min${what}`]: 1 }],
      [`max${what}`, { [`max${what}`]: 0 }],
    ]),
  ),
  minimum: { minimum: 1 },
  maximum: { maximum: 1 },
  exclusiveMinimum: { exclusiveMinimum: 1 },
  exclusiveMaximum: { exclusiveMaximum: 1 },
  multipleOf: { multipleOf: 2 },
};

/** The rows of the table by keyword: whether it is refused, and whether it has an opposite. */
const rows = new Map(
  readFileSync(DOCS, 'utf8')
    .split('| keyword |')[1]!
    .split('\n\n')[0]!
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .flatMap((line) => {
      const [, names = '', support = '', opposite = ''] = line.split('|');
      const isRefused = support.trim() === 'refused';
      const hasOpposite = opposite.trim().startsWith('yes');
      return [...names.matchAll(/`([^`]+)`/g)].map(
        ([, name]) => [name!, { isRefused, hasOpposite }] as const,
      );
    }),
);

test('the documentation lists the keywords of the code', () => {
  assert.deepEqual([...rows.keys()].sort(), Object.keys(KEYWORDS).sort());
});

for (const [name, { isRefused, hasOpposite }] of rows) {
  const root = name.startsWith('content') ? DRAFT_7 : { $defs: { text: TEXT } };
  const sample = SAMPLES[name] ?? { [name]: TEXT };
  const refusal = (schema: object) =>
    refusalOf({ kind: 'json_schema', schema: { ...root, ...schema } });

  test(`${name}: the documentation says whether it is refused, and whether it has an opposite`, () => {
    const own = refusal(sample);
    assert.equal(own?.path, isRefused ? `#/${name}` : undefined, own?.message);
    assert.equal(refusal({ not: sample }) === undefined, hasOpposite);
  });
}
