// The rates of the last hour combine the server's history with the page's own readings.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ratePoints, readingsOfHistory } from '../../src/pages/server-stats.js';

const at = (s: number, generatedTokens: number, promptTokens = 0) => ({
  atMs: s * 1000,
  stats: { generatedTokens, promptTokens },
});

test("rates continue from the server's history to the page's readings", () => {
  const remembered = [at(0, 0), at(10, 100, 20), at(20, 100)];
  const [times, generated, prompt] = ratePoints(
    remembered,
    [at(12, 140, 30), at(14, 150, 30)],
    14_000,
  );
  assert.deepEqual(times, [0, 10, 12, 14]);
  assert.deepEqual(generated, [null, 10, 20, 5]);
  assert.deepEqual(prompt, [null, 2, 5, 0]);
});

test('a missing or restarted engine leaves a gap, and points older than an hour are dropped', () => {
  const away = { atMs: 10_000, stats: undefined };
  const [, generated] = ratePoints(
    [at(0, 0), away, at(20, 50), at(30, 10), at(40, 20)],
    [],
    40_000,
  );
  assert.deepEqual(generated, [null, null, null, null, 1]);
  assert.deepEqual(ratePoints([at(0, 0)], [at(4000, 1)], 4_000_000)[0], [4000]);
});

test('a sample without totals has no stats', () => {
  const sample = {
    at: 5,
    is_ready: false,
    running: null,
    waiting: null,
    prompt_tokens: null,
    generated_tokens: null,
  };
  assert.deepEqual(readingsOfHistory({ samples: [sample] } as never), [
    { atMs: 5000, stats: undefined },
  ]);
});
