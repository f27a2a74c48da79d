// Spaced JSON: the same values as compact JSON, written as Python does.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Grammars } from '../../src/grammar/grammars.ts';
import { spaceJson } from '../../src/tools/formats.ts';
import { compiled } from './compiled.ts';
import { idsOf, seeded, vocabularyOf } from './written.ts';

const grammars = new Grammars(vocabularyOf([]), 256);

function isPossible(schema: unknown, text: string): boolean {
  const matcher = grammars.createMatcher(compiled({ kind: 'json_schema', schema, isSpaced: true }));
  for (const byte of Buffer.from(text)) {
    if (!idsOf(matcher.allowed()).includes(byte)) return false;
    matcher.accept(byte);
  }
  return matcher.canEnd;
}

const node = {
  type: 'object',
  properties: { value: { type: 'number' }, next: { anyOf: [{ $ref: '#' }, { type: 'null' }] } },
  required: ['value'],
  additionalProperties: { type: 'string' },
};

test('commas and colons between tokens have a space behind them, those in strings do not', () => {
  for (const [schema, json] of [
    [node, '{"value":1.5,"next":{"value":2,"next":null},"a:b,c":"x:y,z"}'],
    [{ type: 'array', items: { type: 'integer' } }, '[1,2,3]'],
    [{ type: 'array', prefixItems: [{ const: 'a,b' }, true], items: false }, '["a,b",{"k":[0,1]}]'],
  ] as const) {
    assert.ok(isPossible(schema, spaceJson(json)), json);
    assert.ok(!isPossible(schema, json), json);
  }
});

test('a random walk writes JSON whose spaces are those of Python', () => {
  const random = seeded(7);
  let ended = 0;
  for (let run = 0; run < 50; run++) {
    const matcher = grammars.createMatcher(
      compiled({ kind: 'json_schema', schema: node, isSpaced: true }),
    );
    const bytes: number[] = [];
    while (bytes.length < 400 && !matcher.isComplete) {
      const allowed = idsOf(matcher.allowed());
      const byte = allowed[Math.floor(random() * allowed.length)]!;
      matcher.accept(byte);
      bytes.push(byte);
    }
    if (!matcher.isComplete) continue;
    ended++;
    const text = Buffer.from(bytes).toString();
    assert.equal(spaceJson(text), text);
    JSON.parse(text);
  }
  assert.ok(ended > 0);
});
