// Checks of finished answers: JSON as any program writes it, and other texts as they are.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Constraint } from '../../src/contracts/generation.ts';
import { createAnswerCheck } from '../../src/grammar/answer-check.ts';
import { SCHEMAS } from './schemas.ts';

/** The value with the members of all objects in the opposite order. */
function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed);
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value).reverse();
  return Object.fromEntries(members.map(([name, part]) => [name, reversed(part)]));
}

for (const { name, schema, valid, invalid } of SCHEMAS) {
  test(`${name}: in any order of members, with any white space`, () => {
    const check = createAnswerCheck({ kind: 'json_schema', schema });
    for (const value of valid) {
      for (const one of [value, reversed(value)]) {
        assert.ok(check(JSON.stringify(one, null, 2)), JSON.stringify(one));
      }
    }
    for (const value of invalid) assert.ok(!check(JSON.stringify(value)), JSON.stringify(value));
  });
}

test('an answer that is cut off, is no JSON, or has text around it is not allowed', () => {
  const check = createAnswerCheck({ kind: 'json_schema', schema: { type: 'object' } });
  assert.ok(check(' {"a": [1, {"b": null}]}\n'));
  for (const text of ['{"a": [1', '{a: 1}', 'It is {"a": 1}', '{"a": 1} {}', '[]', '']) {
    assert.ok(!check(text), text);
  }
});

test('many members, of which one is not allowed, are refused without trying all orders', () => {
  const check = createAnswerCheck({
    kind: 'json_schema',
    schema: { type: 'object', additionalProperties: { type: 'integer' } },
  });
  const members = Array.from({ length: 40 }, (_, i) => [`m${i}`, i]);
  assert.ok(check(JSON.stringify(Object.fromEntries(members))));
  assert.ok(!check(JSON.stringify(Object.fromEntries([...members, ['last', 'one']]))));
});

test('other constraints take the whole text as it is', () => {
  const cases: [Constraint, allowed: string, refused: string][] = [
    [{ kind: 'choice', texts: ['yes', 'no'] }, 'no', ' no'],
    [{ kind: 'regex', pattern: '[a-z]+é' }, 'caf\u00e9', 'caf'],
    [{ kind: 'grammar', source: 'root ::= "a" root | "b"' }, 'aab', 'aa'],
  ];
  for (const [constraint, allowed, refused] of cases) {
    const check = createAnswerCheck(constraint);
    assert.ok(check(allowed) && !check(refused), constraint.kind);
  }
});
