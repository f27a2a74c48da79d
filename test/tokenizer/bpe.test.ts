import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createMergeTokens } from '../../src/tokenizer/bpe.ts';

const keepAll = () => true;

/** A simple reference: repeatedly merges the first of the best pairs. */
function mergeNaively(merges: readonly [string, string][], text: string): string[] {
  const tokens = Array.from(text);
  const rankAt = (at: number) => {
    const rank = merges.findIndex(
      ([left, right]) => left === tokens[at] && right === tokens[at + 1],
    );
    return rank < 0 ? Number.POSITIVE_INFINITY : rank;
  };
  while (true) {
    const ranks = tokens.slice(1).map((_, at) => rankAt(at));
    const best = Math.min(...ranks);
    if (best === Number.POSITIVE_INFINITY) return tokens;
    tokens.splice(ranks.indexOf(best), 2, merges[best]!.join(''));
  }
}

test('random merges give the same tokens as repeatedly merging the best pair', () => {
  const part = fc.stringMatching(/^[abc\u{1F5FC}]{1,3}$/u);
  const merges = fc.uniqueArray(fc.tuple(part, part), { selector: String, maxLength: 20 });
  fc.assert(
    fc.property(merges, fc.stringMatching(/^[abcd\u{1F5FC}]{0,40}$/u), (some, text) => {
      assert.deepEqual(createMergeTokens(some, keepAll)(text), mergeNaively(some, text));
    }),
    { numRuns: 500 },
  );
});

test('a pre-token of 200,000 characters is merged like a short one', () => {
  const merges: [string, string][] = [
    ['a', 'a'],
    ['aa', 'aa'],
    ['aaaa', 'aaaa'],
  ];
  const tokens = createMergeTokens(merges, keepAll)('a'.repeat(200_007));
  assert.equal(tokens.length, 25_003);
  assert.deepEqual(tokens.slice(-4), ['aaaaaaaa', 'aaaa', 'aa', 'a']);
});

test('rejected characters are removed before merging', () => {
  const merge = createMergeTokens(['a b'], (character) => character !== '-');
  assert.deepEqual(merge('a-b-'), ['ab']);
  assert.deepEqual(merge('-'), []);
});
