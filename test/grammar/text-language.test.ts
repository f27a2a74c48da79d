// Strings that several expressions define, against those expressions one by one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Automaton, found } from '../../src/grammar/automaton.ts';
import { buildNfa } from '../../src/grammar/nfa-builder.ts';
import { toTextRule } from '../../src/grammar/schema-strings.ts';
import { TextLanguage, type TextRule } from '../../src/grammar/text-language.ts';
import { repeat, type TextPattern, text } from '../../src/grammar/text-pattern.ts';

const SOURCES = [
  '^a',
  'b$',
  'c',
  '^(ab|c)*$',
  '^.{2}$',
  '^(?!a)',
  '^(?=a).*c$',
  '(^a|b)c',
  '^$',
  'a|b',
];
const TEXTS = textsUpTo(4);

/** All texts of these letters. */
function textsUpTo(length: number): string[] {
  if (length === 0) return [''];
  const shorter = textsUpTo(length - 1);
  return [...new Set(['', ...shorter.flatMap((head) => [...'abc'].map((last) => head + last))])];
}

function matcherOf(pattern: TextPattern): (text: string) => boolean {
  const automaton = new Automaton(buildNfa(pattern));
  return (input) =>
    found(automaton.stepAll(automaton.start, Buffer.from(input), { visits: 0 }))?.canEnd === true;
}

const ruleOf = (value: string, use: TextRule['use']): TextRule => ({
  ...toTextRule({ keyword: 'pattern', value, path: '#' }),
  use,
});
const plain = (ranges: readonly (readonly [number, number])[]): TextPattern => ({
  kind: 'chars',
  ranges,
});

test('texts match all expressions, none of the excluded ones, and have the length', () => {
  for (const one of SOURCES) {
    for (const other of SOURCES) {
      for (const use of ['match', 'exclude'] as const) {
        const rules = [ruleOf(one, 'match'), ruleOf(other, use)];
        const language = new TextLanguage(rules, { min: 1, max: 3 });
        const expected = TEXTS.filter((input) => {
          const isLong = input.length >= 1 && input.length <= 3;
          return (
            isLong &&
            new RegExp(one).test(input) &&
            new RegExp(other).test(input) === (use === 'match')
          );
        });
        const name = `${one} ${use} ${other}`;
        // Other texts than those of these letters may match.
        if (language.labels.size === 0) assert.deepEqual(expected, [], name);
        else assert.deepEqual(TEXTS.filter(matcherOf(language.pattern(plain))), expected, name);
      }
    }
  }
});

test('labels say which expressions a text matches', () => {
  const rules = SOURCES.map((source) => ruleOf(source, 'label'));
  const language = new TextLanguage(rules);
  const labelsOf = (input: string) =>
    SOURCES.reduce((bits, source, i) => bits | (Number(new RegExp(source).test(input)) << i), 0);
  for (const labels of language.labels) {
    const matches = matcherOf(language.pattern(plain, labels));
    for (const input of TEXTS) assert.equal(matches(input), labelsOf(input) === labels, input);
  }
});

test('large counts are exact', () => {
  for (const [min, max] of [
    [0, 300],
    [299, 301],
    [1000, 1000],
    [5, 20_000],
    [300, Number.POSITIVE_INFINITY],
  ] as const) {
    const matches = matcherOf(repeat(text('a'), min, max));
    const counts = [0, 1, 127, 128, 129, min - 1, min, min + 1, max - 1, max, max + 1, 25_000];
    for (const count of counts.filter((value) => value >= 0 && Number.isFinite(value))) {
      assert.equal(
        matches('a'.repeat(count)),
        count >= min && count <= max,
        `${count} of ${min} to ${max}`,
      );
    }
  }
});

test('large counts need few nodes', () => {
  const { nodes } = buildNfa(repeat(text('ab'), 1000, 1_000_000));
  assert.ok(nodes < 2500, `${nodes} nodes`);
});
