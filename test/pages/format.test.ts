// Times and ranges of time.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { progressText } from '../../src/pages/fine-tuning/facts.ts';
import { durationRange, shortTime } from '../../src/pages/format.ts';

test('a range has one unit and is rounded outwards', () => {
  for (const [from, to, text] of [
    [245, 412, '4 to 7 min'],
    [12, 21, '10 to 25 s'],
    [2, 4, 'less than 5 s'],
    [70, 100, '1 to 2 min'],
    [4000, 9000, '1 to 2.5 h'],
    [30, 95, 'less than 2 min'],
    [180_000, 260_000, '2 to 3.5 days'],
  ] as const) {
    assert.equal(durationRange(from, to), text);
  }
});

test('the remaining time of a job is a range around the measured speed', () => {
  const job = { status: 'running', estimated_finish: 1600, lorikeet: { step: 5, total_steps: 20 } };
  assert.equal(progressText(job as never, 1000), '25%, 8 to 12 min left');
});

test('a time of today has no date, and one of another year has its year', () => {
  const now = new Date(2026, 11, 2, 18, 0);
  const shown = (...then: [number, number, number, number]) =>
    shortTime(new Date(...then).getTime() / 1000, now);
  assert.match(shown(2026, 11, 2, 9), /9.*00/);
  assert.doesNotMatch(shown(2026, 11, 1, 9), /00|2026/);
  assert.match(shown(2025, 11, 2, 9), /2025/);
});
