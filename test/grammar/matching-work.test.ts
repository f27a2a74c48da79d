// The work of matching: what a probe finds, how a search waits for more work, and what is remembered.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Constraint } from '../../src/contracts/generation.ts';
import { compileConstraint, constraintAutomaton } from '../../src/grammar/constraint.ts';
import { Grammars } from '../../src/grammar/grammars.ts';
import type { Matcher } from '../../src/grammar/matcher.ts';
import { ambiguous } from './ambiguous.ts';
import { compiled } from './compiled.ts';
import { idsOf, seeded, vocabularyOf, WORDS } from './written.ts';

const tokenizer = vocabularyOf([...WORDS, 'QJ', 'JQQ', 'QQJJ']);
const [Q, J] = [...Buffer.from('QJ')];

const HIDDEN: [name: string, constraint: Constraint][] = [
  ['a literal', { kind: 'regex', pattern: `${'x'.repeat(60)}${ambiguous(1900)}` }],
  ['bytes that lead to one state', { kind: 'regex', pattern: `[a-z]{60}${ambiguous(1900)}` }],
  [
    'the name of a member',
    {
      kind: 'json_schema',
      schema: {
        type: 'object',
        properties: { ['x'.repeat(60)]: { type: 'string', pattern: `^${ambiguous(900)}$` } },
        required: ['x'.repeat(60)],
        additionalProperties: false,
      },
    },
  ],
  [
    'the text of a grammar',
    {
      kind: 'grammar',
      source: `root ::= "${'x'.repeat(60)}" (${Array.from({ length: 900 }, (_, i) => `[QJ]* "Q" [QJ]{20} "${i}"`).join(' | ')})`,
    },
  ],
];

for (const [name, constraint] of HIDDEN) {
  test(`T44: the probe reads past ${name}, and finds the ambiguity behind it`, () => {
    assert.throws(() => compileConstraint(constraint), /too ambiguous/);
  });
}

test('a long text before a plain pattern is no reason to refuse it', () => {
  compileConstraint({ kind: 'regex', pattern: `${'x'.repeat(500)}[a-z]{1,40}( [a-z]+)*` });
  compileConstraint({ kind: 'regex', pattern: '[a-z]*' });
});

/** Draws tokens with grants of a few visits each. Returns the ids and the number of grants. */
function draw(matcher: Matcher, visits: number): { ids: number[]; grants: number } {
  const random = seeded(3);
  const ids: number[] = [];
  let grants = 0;
  const prepare = (what: 'forced' | 'allowed') => {
    for (;;) {
      matcher.setBudget({ left: visits });
      grants++;
      if (matcher.prepare(what)) return;
    }
  };
  for (let i = 0; i < 12; i++) {
    prepare('forced');
    const forced = matcher.forced().ids;
    prepare('allowed');
    const allowed = idsOf(matcher.allowed());
    const id = forced[0] ?? allowed[Math.floor(random() * allowed.length)];
    if (id === undefined) break;
    ids.push(id);
    matcher.accept(id);
  }
  return { ids, grants };
}

test('a search that waits for work finds the tokens that it finds without waiting', () => {
  const pattern = `xxx${ambiguous(40)}|xxxyyy${ambiguous(40)}`;
  const matcher = () =>
    new Grammars(tokenizer, tokenizer.vocabSize).createMatcher(
      compiled({ kind: 'regex', pattern }),
    );
  const whole = draw(matcher(), Number.POSITIVE_INFINITY);
  const sliced = draw(matcher(), 10);
  assert.deepEqual(sliced.ids, whole.ids);
  assert.ok(whole.ids.length > 5 && whole.grants <= 24, `${whole.grants} grants`);
  assert.ok(sliced.grants > 50, `${sliced.grants} grants`);
});

test('a search goes beyond its budget by one byte at most', () => {
  const constraint: Constraint = { kind: 'regex', pattern: ambiguous(300) };
  const matcher = new Grammars(tokenizer, tokenizer.vocabSize).createMatcher(compiled(constraint));
  const mostPositions = 4 * 2 * (300 + 32); // a byte leaves as many positions as it leads to
  for (let i = 0; i < 6; i++) {
    const work = { left: 100 };
    matcher.setBudget(work);
    const isReady = matcher.prepare('allowed');
    assert.ok(work.left > -mostPositions, `${work.left}`);
    if (isReady) matcher.accept(i % 2 ? Q! : J!);
  }
});

/** Reads random Q and J with a request's choices one after the other, until one fails. Returns the work of them all. */
function exhaust(matchers: readonly Matcher[], maxTokens: number): number {
  const random = seeded(1);
  const work = { left: 1e9 };
  for (const matcher of matchers) {
    matcher.setBudget(work);
    for (let i = 0; i < maxTokens; i++) {
      try {
        matcher.allowed();
      } catch {
        break;
      }
      matcher.accept(random() < 0.5 ? Q! : J!);
    }
  }
  return 1e9 - work.left;
}

test('the choices of a request share one budget, and those of another tenant have their own', () => {
  const grammars = new Grammars(tokenizer, tokenizer.vocabSize);
  const constraint: Constraint = { kind: 'regex', pattern: ambiguous(1000) };
  const matchers = (tenant: string, count: number) =>
    Array.from({ length: count }, () =>
      grammars.createMatcher(compiled(constraint), undefined, tenant),
    );
  const first = exhaust(matchers('a', 32), 8);
  const perToken = 5_000 + tokenizer.vocabSize / 4;
  const overshoot = 32 * 4 * 1032;
  assert.ok(first <= 200_000 + 32 * 8 * perToken + overshoot, `${first} visits`);
  assert.ok(first > 200_000, `only ${first} visits`);
  const [late] = matchers('a', 1);
  const [other] = matchers('b', 1);
  assert.throws(() => exhaustOnce(late!), /too ambiguous/);
  exhaustOnce(other!);
});

/** Reads tokens that nobody has read before. */
function exhaustOnce(matcher: Matcher): void {
  for (const id of [J!, J!, J!, Q!]) {
    matcher.allowed();
    matcher.accept(id);
  }
}

test('an automaton remembers a bounded number of positions, however many positions its states have', () => {
  const automaton = constraintAutomaton({ kind: 'regex', pattern: ambiguous(1900) });
  const random = seeded(2);
  globalThis.gc?.();
  const before = process.memoryUsage().heapUsed;
  const work = { visits: 0 };
  let state = automaton.start;
  let most = 0;
  for (let i = 0; i < 300; i++) {
    state = automaton.step(state, random() < 0.5 ? Q! : J!, work)!;
    assert.ok(automaton.size <= 2 ** 17 + 4096, `${automaton.size} positions`);
    if (i % 30 > 0) continue;
    globalThis.gc?.();
    most = Math.max(most, process.memoryUsage().heapUsed - before);
  }
  assert.ok(work.visits > 5 * 2 ** 17, 'it has forgotten some');
  assert.ok(most < 20 * 2 ** 20, `${most} bytes`);
});
