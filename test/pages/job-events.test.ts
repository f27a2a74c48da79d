// A job's events become curves, no matter in which pages of the list they were read.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FineTuningJobEvent } from '../../src/contracts/fine-tuning-api.ts';
import {
  lastValidated,
  overlayCurves,
  pointsOf,
  stepsOf,
  warningsOf,
  withEvents,
} from '../../src/pages/fine-tuning/events.ts';

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
    const steps = stepsOf([step(3, 3), step(2, 2, measured), step(1, 1, measured)]);
    assert.equal(lastValidated(steps)?.step, 2);
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
  const pages = [events.slice(4).reverse(), events.slice(0, 5).reverse(), events.slice(3, 6)];
  const all = pages.reduce(withEvents, []);
  assert.deepEqual(pointsOf(stepsOf(all), ['train_loss', 'full_valid_loss']), [
    [1, 2, 10],
    [10, 5, 1],
    [null, 4, null],
  ]);
  assert.deepEqual(
    all.map(({ message }) => message),
    ['other', 'new', 'event 4', 'old', 'event 2', 'event 1', 'event 0'],
  );
  assert.deepEqual(
    warningsOf(all).map(({ message }) => message),
    ['other', 'new'],
  );
  assert.equal(withEvents(all, pages[2]!), all, 'nothing new changes nothing');
});

test('without events there are no curves, and values that are not numbers are gaps', () => {
  assert.deepEqual(pointsOf([], ['train_loss']), [[], []]);
  const steps = stepsOf([
    step(1, 1, { train_loss: 'NaN' }),
    event(2, { type: 'metrics', data: { step: 'x' as never } }),
  ]);
  assert.deepEqual(pointsOf(steps, ['train_loss']), [[1], [null]]);
});

test('the curves of several jobs share their steps', () => {
  const jobs = [[step(1, 1), step(2, 5)], [step(1, 2)]].map(stepsOf);
  assert.deepEqual(overlayCurves(jobs, 'train_loss'), [
    [1, 2, 5],
    [10, null, 2],
    [null, 5, null],
  ]);
});
