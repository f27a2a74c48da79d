// Text metrics of 200 pairs, equal to Python's rapidfuzz, sacrebleu, nltk and rouge-score.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import {
  TEXT_METRICS,
  type TextMetric,
  textSimilarity,
} from '../../src/graders/text-similarity.ts';
import { seededRandom, temporaryFolder } from '../fixtures.ts';
import { sharedPath, skipUnless } from '../shared.ts';
import { pythonWith } from './python-venv.ts';

const PAIRS = 200;
const data = sharedPath('data', 'moods', 'zen', 'train.jsonl');
const isLong = process.env['LORIKEET_E2E_LONG'] !== undefined;
const python = isLong
  ? await pythonWith(path.resolve('test/e2e/text-metrics.txt'))
  : { reason: 'LORIKEET_E2E_LONG is not set' };
const skip = skipUnless(data) || ('reason' in python ? python.reason : false);

/** Answers of a data set, each with an edited copy: words left out, swapped, or replaced by odd ones. */
function drawPairs(): [text: string, reference: string][] {
  const odd = [
    '3.5',
    '1,000-fold',
    "don't",
    '&quot;x&quot;',
    'Ünï',
    '<skipped>',
    '$5',
    'a-\nb',
    '🙂',
  ];
  const random = seededRandom(8);
  const draw = (count: number) => Math.min(count - 1, Math.floor(((random() + 1) / 2) * count));
  const lines = readFileSync(data!, 'utf8').split('\n').slice(0, PAIRS);
  return lines.map((line, i) => {
    const reference: string = JSON.parse(line).messages.at(-1).content;
    const words = reference.split(' ');
    for (let edit = 0; edit < i % 9; edit++) {
      const at = draw(words.length);
      const kind = draw(3);
      if (kind === 0) words.splice(at, 1);
      else if (kind === 1) words.splice(at, 1, odd[draw(odd.length)]!);
      else words.push(...words.splice(at, 1));
    }
    return [words.slice(0, i % 7 === 0 ? 3 : words.length).join(' '), reference];
  });
}

test('text metrics are those of the Python packages', { skip }, (t) => {
  const pairs = drawPairs();
  const file = path.join(temporaryFolder(t), 'pairs.json');
  writeFileSync(file, JSON.stringify(pairs));
  assert.ok('python' in python);
  const script = path.resolve('test/e2e/text_metrics.py');
  const output = execFileSync(python.python, [script, file], { encoding: 'utf8' });
  const expected = JSON.parse(output) as Record<TextMetric, number[]>;
  for (const metric of TEXT_METRICS) {
    for (const [i, [text, reference]] of pairs.entries()) {
      const own = textSimilarity(metric, text, reference);
      const wanted = expected[metric][i]!;
      assert.ok(Math.abs(own - wanted) < 1e-9, `${metric} of pair ${i}: ${own}, ${wanted}`);
    }
  }
});
