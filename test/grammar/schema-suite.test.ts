// The official test suite of JSON Schema, in both directions: valid values can be written, invalid ones cannot, and a schema
// that is refused names its place, whether the schema names its draft or not. JSON_SCHEMA_SUITE names a checkout of json-schema-org/JSON-Schema-Test-Suite.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { Ajv } from 'ajv';
import { Ajv2019 } from 'ajv/dist/2019.js';
import { Ajv2020 } from 'ajv/dist/2020.js';
import type { Constraint } from '../../src/contracts/generation.ts';
import { isObject } from '../../src/grammar/schema-keywords.ts';
import { closeSchema } from './closed-schema.ts';
import { leadsSomewhere, refusalOf } from './refusals.ts';
import { Writer } from './written.ts';

interface Group {
  readonly description: string;
  readonly schema: unknown;
  readonly tests: readonly { description: string; data: unknown; valid: boolean }[];
}

const checkout = process.env['JSON_SCHEMA_SUITE'];
const skip = checkout === undefined && 'JSON_SCHEMA_SUITE is not set';
const writer = new Writer();

/** Values that are valid and cannot be written: digits, control characters and undeclared members are bounded. */
const LEFT_OUT: ReadonlySet<string> = new Set([
  'a bignum is an integer',
  'a negative bignum is an integer',
  'Line tabulation matches',
  'Non-whitespace control matches',
  'valid object 2',
  'quoted tab',
]);

/** Values that are invalid and can be written: 1.0 reads as 1, and content is described only, unless the schema names draft 7. */
const LET_IN = /optional\/(zeroTerminatedFloats|content)\.json/;

/** The files of the suite below a folder of it. */
function suiteFiles(draft: string): string[] {
  const folder = path.join(checkout ?? '', 'tests', draft);
  const isThere = checkout !== undefined && existsSync(folder);
  if (!isThere) return [];
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  return names.filter((name) => name.endsWith('.json')).map((name) => path.join(folder, name));
}

/** All ways to write a value that differ in the order of members. */
function spellings(value: unknown): string[] {
  const join = (heads: readonly string[], tails: readonly string[]) =>
    heads.flatMap((head) => tails.map((tail) => head + tail));
  if (Array.isArray(value)) {
    const items = value.map((item, i) => spellings(item).map((text) => (i > 0 ? ',' : '') + text));
    return items.reduce(join, ['[']).map((text) => `${text}]`);
  }
  if (!isObject(value)) return [JSON.stringify(value)];
  const members = (names: readonly string[]): string[] =>
    names.length === 0
      ? ['']
      : names.flatMap((name) => {
          const rest = members(names.filter((other) => other !== name));
          const own = spellings(value[name]).map((text) => `,${JSON.stringify(name)}:${text}`);
          return join(own, rest);
        });
  return members(Object.keys(value)).map((text) => `{${text.slice(1)}}`);
}

const DRAFTS = {
  draft4: { Judge: Ajv, address: 'http://json-schema.org/draft-04/schema#' },
  draft6: { Judge: Ajv, address: 'http://json-schema.org/draft-06/schema#' },
  draft7: { Judge: Ajv, address: 'http://json-schema.org/draft-07/schema#' },
  'draft2019-09': { Judge: Ajv2019, address: 'https://json-schema.org/draft/2019-09/schema' },
  'draft2020-12': { Judge: Ajv2020, address: 'https://json-schema.org/draft/2020-12/schema' },
};

/** Each draft, named by its schemas and not. */
const CASES = Object.entries(DRAFTS).flatMap(([draft, of]) =>
  [true, false].map((isNamed) => ({ draft, isNamed, ...of })),
);

for (const { draft, isNamed, Judge, address } of CASES) {
  /** Names the draft in a schema, because the suite does so only in its folders, or removes the name. */
  const named = (schema: unknown) => {
    if (!isObject(schema)) return schema;
    const { $schema = address, ...rest } = schema;
    return isNamed ? { $schema, ...rest } : rest;
  };
  /** Whether the grammar's conventions allow a value. Some references are too hard for ajv: undefined. */
  const judge = (schema: unknown): ((data: unknown) => boolean) | undefined => {
    try {
      const ajv = new Judge({ strict: false, validateFormats: false, logger: false });
      const validate = ajv.compile(closeSchema(schema) as object);
      return (data) => validate(data) === true;
    } catch {
      return undefined;
    }
  };

  const naming = isNamed ? 'named' : 'not named';
  test(`${draft} of the official suite, ${naming} by its schemas`, { skip }, (t) => {
    const unwritten: string[] = [];
    const counts = { schemas: 0, refused: 0, valid: 0, leftOut: 0, invalid: 0 };
    for (const file of suiteFiles(draft)) {
      const isFormat = /\/format[/.-]/.test(file);
      for (const group of JSON.parse(readFileSync(file, 'utf8')) as Group[]) {
        const schema = named(group.schema);
        const where = `${path.relative(checkout!, file)}: ${group.description}`;
        const constraint: Constraint = { kind: 'json_schema', schema };
        const open: Constraint = { ...constraint, isOpen: true };
        const refusal = refusalOf(constraint);
        counts.schemas++;
        if (refusal) {
          counts.refused++;
          const { path: place, message } = refusal;
          assert.ok(leadsSomewhere(schema, place), `${where}: ${place} ${message}`);
          continue;
        }
        const isUsual = judge(schema);
        for (const { data, valid, description: name } of group.tests) {
          const texts = spellings(data);
          const canWrite = texts.some((text) => writer.allows(constraint, text));
          const what = `${where}: ${name}: ${JSON.stringify(data)}`;
          counts[valid ? 'valid' : 'invalid']++;
          if (!valid) {
            if (LET_IN.test(file)) continue;
            assert.ok(!canWrite, what);
            if (!refusalOf(open))
              assert.ok(!texts.some((text) => writer.allows(open, text)), `open: ${what}`);
          } else if (!canWrite) {
            counts.leftOut++;
            if (isNamed && !isFormat && !LEFT_OUT.has(name) && isUsual?.(data))
              unwritten.push(what);
          }
        }
      }
    }
    t.diagnostic(JSON.stringify(counts));
    assert.deepEqual(unwritten, []);
    assert.ok(counts.schemas > counts.refused);
  });
}
