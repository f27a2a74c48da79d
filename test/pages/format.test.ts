// Ranges of time, and the curves of several jobs in one chart.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { durationRange } from '../../src/pages/format.js';
import { EventLog, overlayCurves } from '../../src/pages/job-events.js';
import { progressText } from '../../src/pages/job-facts.js';

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

test('curves of jobs with different steps share one axis', () => {
  const [one, other] = [new EventLog(), new EventLog()];
  const event = (step: number, loss: number) => ({
    id: `e${step}`,
    type: 'metrics',
    data: { step, train_loss: loss },
  });
  one.add([event(1, 3), event(2, 2)] as never);
  other.add([event(2, 5), event(4, 4)] as never);
  assert.deepEqual(overlayCurves([one, other], 'train_loss'), [
    [1, 2, 4],
    [3, 2, null],
    [null, 5, 4],
  ]);
});
