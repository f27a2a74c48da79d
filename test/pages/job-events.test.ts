// A job's events become curves, no matter in which pages of the list they were read.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FineTuningJobEvent } from '../../src/contracts/fine-tuning-api.ts';
import { EventLog } from '../../src/pages/job-events.js';

function event(seq: number, more: Partial<FineTuningJobEvent> = {}): FineTuningJobEvent {
  return {
    object: 'fine_tuning.job.event',
    id: `ftevent-x-${String(seq).padStart(9, '0')}`,
    created_at: 1000,
    level: 'info',
    message: `event ${seq}`,
    type: 'message',
    data: {},
    ...more,
  };
}

const step = (seq: number, n: number, more: object = {}) =>
  event(seq, { type: 'metrics', data: { step: n, train_loss: 10 / n, ...more } });

test('the newest validation is found by its loss or its reward', () => {
  for (const measured of [{ full_valid_loss: 4 }, { full_valid_mean_reward: 0.5 }]) {
    const log = new EventLog();
    log.add([step(1, 1, measured), step(2, 2, measured), step(3, 3)]);
    assert.equal(log.lastValidated()?.['step'], 2);
  }
});

test('overlapping pages in any order give each step and event once', () => {
  const events = [
    event(0),
    step(1, 1),
    step(2, 2, { full_valid_loss: 4 }),
    event(3, { level: 'warn', message: 'old', data: { code: 'overfitting' } }),
    step(4, 10),
    event(5, { level: 'warn', message: 'new', data: { code: 'overfitting' } }),
    event(6, { level: 'warn', message: 'other' }),
  ];
  const log = new EventLog();
  log.add(events.slice(4).reverse());
  log.add(events.slice(0, 5).reverse());
  log.add(events.slice(3, 6));
  assert.equal(log.count, 7);
  assert.deepEqual(log.points(['train_loss', 'full_valid_loss']), [
    [1, 2, 10],
    [10, 5, 1],
    [null, 4, null],
  ]);
  assert.deepEqual(
    log.events().map(({ message }) => message),
    ['other', 'new', 'event 4', 'old', 'event 2', 'event 1', 'event 0'],
  );
  assert.deepEqual(
    log.warnings().map(({ message }) => message),
    ['other', 'new'],
  );
  assert.equal(log.last()?.['step'], 10);
});

test('without events there are no curves, and values that are not numbers are gaps', () => {
  const log = new EventLog();
  assert.deepEqual(log.points(['train_loss']), [[], []]);
  assert.equal(log.last(), undefined);
  log.add([
    step(1, 1, { train_loss: 'NaN' }),
    event(2, { type: 'metrics', data: { step: 'x' as never } }),
  ]);
  assert.deepEqual(log.points(['train_loss']), [[1], [null]]);
});
