// A vocabulary with the tokens of an adapter against its plain twin, which has them from the start.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AddedTokens } from '../../src/contracts/added-tokens.ts';
import type { Constraint } from '../../src/contracts/generation.ts';
import { Grammars } from '../../src/grammar/grammars.ts';
import { compiled } from './compiled.ts';
import { idsOf, seeded, vocabularyOf, WORDS } from './written.ts';

const ADDED = ['"name', 'ab', '1', 'é', '": {"', 'foo bar'];
const CONTROL = 256 + WORDS.length + ADDED.length;
const all = vocabularyOf([...WORDS, ...ADDED, '<|control|>']);
const whole = { ...all, specialIds: new Set([CONTROL]) };
const some = vocabularyOf(WORDS);
const tokens = [...ADDED, '<|control|>'].map((content, i) => {
  const id = some.vocabSize + i;
  return { id, content, special: id === CONTROL, lstrip: false, rstrip: false };
});
const added: AddedTokens = { tokens };
const base = { ...some, extended: () => whole };

const CONSTRAINTS: Readonly<Record<string, Constraint>> = {
  schema: {
    kind: 'json_schema',
    schema: { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] },
  },
  regex: { kind: 'regex', pattern: '(foo bar|ab|é){1,4}1*' },
  text: { kind: 'text', text: 'foo bar ab' },
  control: {
    kind: 'sequence',
    parts: [
      { kind: 'regex', pattern: '[ab]{0,3}' },
      { kind: 'token', id: CONTROL },
      { kind: 'any_text' },
    ],
  },
};

for (const [name, constraint] of Object.entries(CONSTRAINTS))
  test(`${name}: the tokens of an adapter may follow where its base's may`, () => {
    const plain = new Grammars(whole, whole.vocabSize);
    const extended = new Grammars(base, some.vocabSize);
    const random = seeded(7);
    const used = new Set<number>();
    for (let walk = 0; walk < 60; walk++) {
      const one = extended.createMatcher(compiled(constraint), added);
      const twin = plain.createMatcher(compiled(constraint));
      for (let i = 0; i < 12 && !twin.isComplete; i++) {
        const ids = idsOf(twin.allowed());
        assert.deepEqual(idsOf(one.allowed()), ids);
        assert.equal(one.canEnd, twin.canEnd);
        if (ids.length === 0) break;
        const own = ids.filter((id) => id >= some.vocabSize);
        const from = own.length > 0 && random() < 0.5 ? own : ids;
        const id = from[Math.floor(random() * from.length)]!;
        used.add(id);
        one.accept(id);
        twin.accept(id);
      }
    }
    assert.ok(
      [...used].some((id) => id >= some.vocabSize),
      'a new token was used',
    );
    const others = extended.createMatcher(compiled(constraint));
    assert.ok(
      idsOf(others.allowed()).every((id) => id < some.vocabSize),
      'the base has none of them',
    );
  });

test('a forced text is left open where a new token could begin with its end', () => {
  const constraint: Constraint = { kind: 'regex', pattern: 'fo(o bar|x)' };
  const extended = new Grammars(base, some.vocabSize);
  const twin = new Grammars(whole, whole.vocabSize);
  assert.deepEqual(
    extended.createMatcher(compiled(constraint), added).forced(),
    twin.createMatcher(compiled(constraint)).forced(),
  );
});
