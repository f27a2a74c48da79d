// What a compilation takes is bounded by its own count. Each of these took 250 MB to 4 GB, or overflowed the stack.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Constraint } from '../../src/contracts/generation.ts';
import { compileConstraint, constraintAutomaton } from '../../src/grammar/constraint.ts';
import { leadsSomewhere, refusalOf } from './refusals.ts';

const ofSchema = (schema: object): Constraint => ({ kind: 'json_schema', schema });
const list = <T>(length: number, make: (i: number) => T): T[] =>
  Array.from({ length }, (_, i) => make(i));

test('a schema that takes too much memory is refused by what takes the most of it', () => {
  const many = Object.fromEntries(list(500, (i) => [`p${i}`, { type: 'string' }]));
  const anyRequired = (from: number) => ({
    anyOf: list(50, (i) => ({ required: [`p${from + i}`] })),
  });
  const parts = [anyRequired(0), anyRequired(50)];
  const cases: [schema: object, place: RegExp, most: string][] = [
    [
      { type: 'object', properties: many, allOf: parts },
      /^#\/allOf\/1\/anyOf/,
      'parts of patterns',
    ],
    [
      { type: 'array', uniqueItems: true, maxItems: 2, items: { enum: list(1900, Number) } },
      /^#\/uniqueItems$/,
      'parts of patterns',
    ],
    [
      { type: 'string', pattern: '^(){0,100000000}a?$', minLength: 1 },
      /^#\/pattern$/,
      'states of expressions',
    ],
  ];
  for (const [schema, place, most] of cases) {
    const refusal = refusalOf(ofSchema(schema));
    assert.ok(refusal, JSON.stringify(schema).slice(0, 100));
    assert.ok(refusal.message.startsWith('is too large: it takes more than 64 MiB to compile'));
    assert.ok(refusal.message.includes(`most of it for ${most}. Use `), refusal.message);
    assert.match(refusal.path, place);
    assert.ok(leadsSomewhere(schema, refusal.path));
  }
});

test('what one compilation took does not count for the next one', () => {
  const constraint = ofSchema({ enum: list(3000, (i) => `value ${i}`) });
  for (let i = 0; i < 60; i++) constraintAutomaton(constraint);
});

test('a schema or grammar that is nested deeper than the stack is refused', () => {
  const deep: Constraint[] = [
    ofSchema({ type: 'array', prefixItems: list(20_000, () => true) }),
    ofSchema({ anyOf: list(300_000, () => true) }),
  ];
  for (const constraint of deep)
    assert.equal(refusalOf(constraint)?.message, 'is nested too deeply');
});

test('an escape of the newer syntax is none in an expression of the older one', () => {
  // Without its brace it is valid only there. Parsing it began again at the start, without end.
  for (const pattern of ['\\u{1F600', '\\u{41}\\_', 'a\\01']) {
    assert.match(refusalOf({ kind: 'regex', pattern })!.message, /escape/);
  }
});

test('a repeat in blocks matches every count that it should, and no other', () => {
  const most = Number.POSITIVE_INFINITY;
  for (const [min, max] of [
    [0, 1000],
    [300, 1000],
    [257, 257],
    [129, 128 ** 2 + 1],
    [999, most],
  ] as const) {
    const pattern = `a{${min},${max === most ? '' : max}}`;
    const automaton = constraintAutomaton({ kind: 'regex', pattern });
    let state: typeof automaton.start | null = automaton.start;
    for (let count = 0; count <= Math.min(max, 2000 + 128 ** 2); count++) {
      assert.ok(state, `${pattern} ends before ${count}`);
      assert.equal(state.canEnd, count >= min, `${pattern}: ${count}`);
      state = automaton.step(state, 97, { visits: 0 });
    }
    assert.equal(state === null, max < most, `${pattern} goes on`);
  }
});

test('counts are exact up to the largest that is, and larger ones are refused', () => {
  const largest = Number.MAX_SAFE_INTEGER;
  for (const max of [1000, 128 ** 2, 2 ** 31 - 1, largest]) {
    const { nfa } = compileConstraint(ofSchema({ type: 'string', minLength: 300, maxLength: max }));
    assert.ok(nfa.byteLength < 100_000, `${max}: ${nfa.byteLength} bytes`);
  }
  const digits = '9'.repeat(400);
  for (const counts of [`{${digits}}`, `{0,${largest + 1}}`, `{${digits},}`, `{1,${digits}}`]) {
    const refusals = [
      refusalOf({ kind: 'regex', pattern: `a${counts}` }),
      refusalOf({ kind: 'grammar', source: `root ::= "a"${counts}` }),
    ];
    for (const refusal of refusals)
      assert.match(refusal!.message, /a count above 9007199254740991/);
  }
});
