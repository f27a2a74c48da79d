// What the sampler draws under a JSON schema, with ajv as the judge: schemas of the table, and schemas at random.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import type { Constraint } from '../../src/contracts/generation.ts';
import { randomSchema } from './random-schemas.ts';
import { leadsSomewhere, refusalOf } from './refusals.ts';
import { sampleAnswer } from './sampled.ts';
import { SCHEMAS } from './schemas.ts';
import { seeded } from './written.ts';

const isLong = process.env['LORIKEET_E2E_LONG'] !== undefined;
const ANSWERS = isLong ? 10_000 : 300;
const RANDOM_SCHEMAS = isLong ? 5_000 : 300;

/** Undefined: ajv follows some references for ever. */
function judge(schema: unknown) {
  try {
    return validator(schema);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function validator(schema: unknown) {
  const ajv = new Ajv2020({ strict: false, multipleOfPrecision: 6, logger: false });
  formats.default(ajv);
  return { ajv, validate: ajv.compile(schema as object) };
}

/** Whether a value is valid. Undefined: ajv follows some references for ever. */
function isValid(validate: (value: unknown) => unknown, value: unknown): boolean | undefined {
  try {
    return validate(value) === true;
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** Whether a reference in the schema leads to nothing. */
function hasBrokenReference(schema: unknown): boolean {
  const references = JSON.stringify(schema).matchAll(/"\$ref":"([^"]*)"/g);
  return [...references].some(([, pointer]) => !leadsSomewhere(schema, pointer!));
}

test(`${ANSWERS} answers at temperature 1.5 are valid, or cut off`, (t) => {
  let complete = 0;
  const each = Math.ceil(ANSWERS / SCHEMAS.length);
  for (const { name, schema } of SCHEMAS) {
    const constraint: Constraint = { kind: 'json_schema', schema };
    const { ajv, validate } = validator(schema);
    for (let seed = 0; seed < each; seed++) {
      const text = sampleAnswer(constraint, { seed });
      if (text === undefined) continue;
      complete++;
      assert.ok(validate(JSON.parse(text)), `${name}: ${text}: ${ajv.errorsText(validate.errors)}`);
    }
  }
  t.diagnostic(`${complete} of ${each * SCHEMAS.length} answers ended`);
  assert.ok(complete > ANSWERS * 0.9, `only ${complete} ended`);
});

test(`${RANDOM_SCHEMAS} random schemas are refused with a place in them, or enforced`, (t) => {
  const random = seeded(11);
  const counts = { refused: 0, unjudged: 0, answers: 0, cut: 0 };
  for (let i = 0; i < RANDOM_SCHEMAS; i++) {
    const schema = randomSchema(random);
    const constraint: Constraint = { kind: 'json_schema', schema };
    const shown = JSON.stringify(schema);
    const refusal = refusalOf(constraint);
    if (refusal) {
      counts.refused++;
      // The keyword itself may come from any of the schemas that were combined there.
      const place = refusal.path.replace(/(?<=.)\/[^/]*$/, '');
      assert.ok(leadsSomewhere(schema, place), `${shown}: ${refusal.path} ${refusal.message}`);
      continue;
    }
    if (hasBrokenReference(schema)) continue; // in a part that no value reaches, which ajv does not compile
    const judged = judge(schema);
    if (!judged) {
      counts.unjudged++;
      continue;
    }
    const { ajv, validate } = judged;
    for (let seed = 0; seed < 3; seed++) {
      const text = sampleAnswer(constraint, { seed: i * 3 + seed, maxTokens: 200 });
      counts[text === undefined ? 'cut' : 'answers']++;
      if (text === undefined) continue;
      const verdict = isValid(validate, JSON.parse(text));
      if (verdict === undefined) counts.unjudged++;
      assert.ok(verdict !== false, `${shown}: ${text}: ${ajv.errorsText(validate.errors)}`);
    }
  }
  t.diagnostic(JSON.stringify(counts));
  assert.ok(counts.refused > 0 && counts.answers > counts.cut);
});
