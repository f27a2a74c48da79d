import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DecodeRow, PrefillBatch } from '../../src/engine/batch.ts';
import { RUNS_REMEMBERED, RunTimes } from '../../src/engine-client/watchdog.ts';
import { sizeOf } from '../../src/scheduler/step-runner.ts';

const LIMIT_MS = 60_000;

test('the longest run of a size counts, and other sizes do not change it', () => {
  const times = new RunTimes();
  const size = { tokens: 8, keys: 512 };
  assert.equal(times.longestMs(size, LIMIT_MS), undefined);
  for (const ms of [100, 300, 200]) times.record(size, ms);
  times.record({ tokens: 16, keys: 512 }, 9_000);
  times.record({ tokens: 8, keys: 256 }, 10);
  assert.equal(times.longestMs(size, LIMIT_MS), 300);
});

test('F04: a stall is forgotten, but not before many more runs of its size', () => {
  const times = new RunTimes();
  const size = { tokens: 8, keys: 512 };
  times.record(size, 14_000);
  for (let run = 1; run <= 2 * RUNS_REMEMBERED; run++) {
    times.record(size, 100);
    times.record({ tokens: 16, keys: 512 }, 5_000); // other sizes do not count
    if (run <= RUNS_REMEMBERED) assert.equal(times.longestMs(size, LIMIT_MS), 14_000, `${run}`);
  }
  assert.equal(times.longestMs(size, LIMIT_MS), 100);
});

test('the time of an unknown size follows from the size that tells most about it', () => {
  const times = new RunTimes();
  times.record({ tokens: 1, keys: 64 }, 100);
  times.record({ tokens: 64, keys: 2048 }, 500);
  assert.equal(times.longestMs({ tokens: 2, keys: 64 }, LIMIT_MS), 200);
  assert.equal(times.longestMs({ tokens: 1, keys: 256 }, LIMIT_MS), 400);
  assert.equal(times.longestMs({ tokens: 32, keys: 2048 }, LIMIT_MS), 500);
  assert.equal(times.longestMs({ tokens: 128, keys: 8192 }, LIMIT_MS), 2_000);
  assert.equal(times.longestMs({ tokens: 2 ** 20, keys: 2 ** 30 }, LIMIT_MS), LIMIT_MS);
});

test('a size counts tokens, drafts and the keys that they attend to, in powers of two', () => {
  const prefill = { kind: 'prefill', tokenIds: Array(100).fill(1), pastLength: 200 };
  assert.deepEqual(sizeOf(prefill as unknown as PrefillBatch), { tokens: 128, keys: 32_768 });
  const row = (pastLength: number, draftIds: number[]) => {
    return { pastLength, draftIds } as unknown as DecodeRow;
  };
  const decode = { kind: 'decode', rows: [row(99, []), row(40, [1, 2])] } as const;
  assert.deepEqual(sizeOf(decode), { tokens: 4, keys: 256 });
  assert.deepEqual(sizeOf({ kind: 'decode', rows: [row(100, []), row(41, [1, 2])] }), {
    tokens: 4,
    keys: 256,
  });
});
