// Similarities of texts. The values were computed by rapidfuzz 3.14, sacrebleu 2.6, nltk 3.10 and rouge-score 0.1.2;
// test/e2e/text-metrics.test.ts compares 200 pairs with the packages.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { commonLength, TEXT_METRICS, textSimilarity } from '../../src/graders/text-similarity.ts';
import { seededRandom } from '../fixtures.ts';

/** In the order of the values below. */
const METRICS = TEXT_METRICS.filter((metric) => metric !== 'rouge_4' && metric !== 'rouge_5');

const PAIRS: readonly (readonly [text: string, reference: string, values: readonly number[]])[] = [
  [
    'The cat sat on the mat.',
    'A cat was sitting on the mats.',
    [0.716981, 0.135404, 0.181818, 0.37037, 0.461538, 0.181818, 0.0, 0.461538],
  ],
  [
    'Intent: PlayMusic, artist = Queen',
    'Intent: PlayMusic, artist = The Queen',
    [0.942857, 0.728955, 0.611111, 0.820339, 0.888889, 0.571429, 0.4, 0.888889],
  ],
  [
    'running runners ran quickly home',
    'quickly the runner runs home',
    [0.566667, 0.127033, 0.142857, 0.4, 0.4, 0.0, 0.0, 0.4],
  ],
  [
    'one two three four five six',
    'one two three four five six',
    [1.0, 1.0, 1.0, 0.997685, 1.0, 1.0, 1.0, 1.0],
  ],
  ['a', 'a b c d e f', [0.166667, 0.006738, 0.055556, 0.090909, 0.285714, 0.0, 0.0, 0.285714]],
  [
    "3.5 &amp; 1,000-fold don't",
    '3.5 & 1,000 fold do not',
    [0.816327, 0.324668, 0.055556, 0.086207, 0.666667, 0.461538, 0.181818, 0.666667],
  ],
];

test('similarities are those of the Python packages', () => {
  for (const [text, reference, values] of PAIRS) {
    for (const [i, metric] of METRICS.entries()) {
      const own = textSimilarity(metric, text, reference);
      assert.ok(Math.abs(own - values[i]!) < 1e-6, `${metric} of ${text}: ${own}, ${values[i]}`);
    }
  }
});

test('texts without anything in common have similarity 0', () => {
  for (const metric of TEXT_METRICS) assert.equal(textSimilarity(metric, 'abc', 'xyz'), 0, metric);
});

test('empty texts are compared without an error', () => {
  for (const metric of TEXT_METRICS) {
    assert.equal(textSimilarity(metric, '', 'x'), 0, metric);
    assert.equal(textSimilarity(metric, 'x', ''), 0, metric);
    assert.equal(textSimilarity(metric, '', ''), metric === 'fuzzy_match' ? 1 : 0, metric);
  }
});

/** The usual table, one cell at a time. */
function commonLengthByTable(a: readonly string[], b: readonly string[]): number {
  let row = new Array<number>(b.length + 1).fill(0);
  for (const item of a) {
    const next = [0];
    for (const [j, other] of b.entries()) {
      next.push(item === other ? row[j]! + 1 : Math.max(row[j + 1]!, next[j]!));
    }
    row = next;
  }
  return row[b.length]!;
}

test('the longest common subsequence is that of the table', () => {
  const random = seededRandom(1);
  const draw = (letters: number) => String(Math.floor(((random() + 1) / 2) * letters));
  for (const [size, letters] of [
    [0, 2],
    [1, 2],
    [31, 2],
    [32, 3],
    [33, 2],
    [64, 4],
    [150, 3],
    [150, 30],
  ] as const) {
    const a = Array.from({ length: size }, () => draw(letters));
    const b = Array.from({ length: 100 }, () => draw(letters));
    assert.equal(commonLength(a, b), commonLengthByTable(a, b), `${size}, ${letters}`);
    assert.equal(commonLength(b, a), commonLengthByTable(a, b), `${size}, ${letters}`);
  }
});
