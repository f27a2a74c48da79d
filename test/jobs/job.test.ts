// A job as functions from state to state: transitions, repeated actions of clients, events.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { JOB_STATUSES, type JobStatus } from '../../src/contracts/job-status.ts';
import { checkpointMetricsSchema } from '../../src/contracts/metrics.ts';
import { withInterruption } from '../../src/jobs/interrupted-job.ts';
import {
  advance,
  applyClientAction,
  type ClientAction,
  hasEnded,
  isWanted,
  type JobAction,
  messageEvent,
  nextStatus,
  withCheckpoint,
  withEvents,
  withFault,
} from '../../src/jobs/job.ts';
import { pluck } from '../pluck.ts';
import { messagesOf, newJob } from './sample-jobs.ts';

const ACTIONS: readonly JobAction[] = [
  'validate',
  'start',
  'requeue',
  'pause',
  'resume',
  'cancel',
  'fail',
  'succeed',
];
const ENDED: readonly JobStatus[] = ['succeeded', 'failed', 'cancelled'];

/** The API's contract, written out: status → action → status. */
const CONTRACT: Record<JobStatus, Partial<Record<JobAction, JobStatus>>> = {
  validating_files: { validate: 'queued', cancel: 'cancelled', fail: 'failed' },
  queued: {
    start: 'running',
    requeue: 'queued',
    pause: 'paused',
    cancel: 'cancelled',
    fail: 'failed',
  },
  running: {
    start: 'running',
    requeue: 'queued',
    pause: 'paused',
    cancel: 'cancelled',
    fail: 'failed',
    succeed: 'succeeded',
  },
  paused: { resume: 'queued', cancel: 'cancelled', fail: 'failed' },
  succeeded: {},
  failed: {},
  cancelled: {},
};

describe('a job', () => {
  test('goes from status to status by the contract and in no other way', () => {
    for (const status of JOB_STATUSES) {
      for (const action of ACTIONS) {
        const expected = CONTRACT[status][action];
        assert.equal(nextStatus(status, action), expected, `${action} of ${status}`);
        const changed = advance(newJob({ status }), action, { nowMs: 5, events: [] });
        assert.equal(changed?.status, expected);
        assert.equal(changed?.finishedMs, expected && ENDED.includes(expected) ? 5 : undefined);
      }
    }
  });

  test('ends once, whatever is done to it in whatever order', () => {
    const actions = fc.array(fc.constantFrom(...ACTIONS), { maxLength: 30 });
    fc.assert(
      fc.property(actions, (taken) => {
        let job = newJob();
        let ends = 0;
        for (const action of taken) {
          const next = advance(job, action, { nowMs: 5, events: [messageEvent(action)] });
          if (!next) continue;
          assert.ok(!hasEnded(job), `${action} after ${job.status}`);
          if (hasEnded(next)) ends++;
          job = next;
        }
        assert.equal(ends, Number(hasEnded(job)));
        assert.deepEqual(
          pluck(job.recentEvents, 'seq'),
          job.recentEvents.map((_, i) => i),
        );
      }),
    );
  });

  test('is no longer being published when it has ended', () => {
    const job = newJob({ status: 'running', isPublishing: true });
    assert.equal(advance(job, 'succeed', { nowMs: 1, events: [] })?.isPublishing, false);
    assert.equal(advance(job, 'fail', { nowMs: 1, events: [] })?.isPublishing, false);
  });
});

describe('an action of a client', () => {
  const allowed: Record<ClientAction, readonly JobStatus[]> = {
    cancel: ['validating_files', 'queued', 'running', 'paused'],
    pause: ['queued', 'running'],
    resume: ['paused'],
  };
  const reached: Record<ClientAction, readonly JobStatus[]> = {
    cancel: ['cancelled'],
    pause: ['paused'],
    resume: ['queued', 'running'],
  };
  for (const action of ['cancel', 'pause', 'resume'] as const) {
    test(`${action} is done, was done already, or is refused with the state's name`, () => {
      for (const status of JOB_STATUSES) {
        const ask = () => applyClientAction(newJob({ status }), action, 9);
        if (allowed[action].includes(status)) {
          const next = ask();
          assert.ok(next);
          assert.equal(messagesOf(next).length, 1);
        } else if (reached[action].includes(status)) {
          assert.equal(ask(), undefined);
        } else {
          assert.throws(ask, {
            code: 'invalid_request',
            message: new RegExp(`is ${status}, so it cannot ${action}`),
            name: 'ServeError',
          });
        }
      }
    });
  }

  test('is refused while the result is on its way to its alias', () => {
    const job = newJob({ status: 'running', isPublishing: true });
    for (const action of ['cancel', 'pause'] as const) {
      assert.throws(() => applyClientAction(job, action, 1), /is running and being published/);
    }
  });
});

describe('events', () => {
  test('are numbered on from those before them, wherever those are', () => {
    const events = [messageEvent('one'), messageEvent('two')];
    const job = withEvents(newJob({ eventCount: 40 }), events, 77);
    const shown = job.recentEvents.map(({ seq, atMs, message }) => `${seq} ${atMs} ${message}`);
    assert.deepEqual(shown, ['40 77 one', '41 77 two']);
    assert.equal(job.eventCount, 42);
  });

  test('of a fault carry its code and lines, and the job its text', () => {
    const fault = { code: 'invalid_training_file', message: 'bad', param: 'training_file' };
    const failed = withFault(newJob(), { ...fault, lines: [3, 9] }, 5)!;
    assert.deepEqual(failed.error, fault);
    assert.deepEqual(failed.recentEvents[0]!.data, { code: fault.code, lines: [3, 9] });
    assert.equal(failed.recentEvents[0]!.level, 'error');
    assert.equal(withFault(newJob({ status: 'cancelled' }), fault, 5), undefined);
  });
});

test('the three newest checkpoints are kept, each step once', () => {
  const metrics = { loss: 1, tokenAccuracy: 0.5 };
  let job = newJob();
  for (const [i, step] of [10, 20, 20, 40, 30].entries()) {
    const version = i + 1;
    job = withCheckpoint(job, { step, version, digest: `d${version}`, createdMs: 1, metrics });
  }
  const kept = job.checkpoints.map(({ step, version }) => `${step}@${version}`);
  assert.deepEqual(kept, ['20@3', '30@5', '40@4']);
  assert.deepEqual(job.dropped, [
    { step: 20, version: 2 },
    { step: 10, version: 1 },
  ]);
});

test('a checkpoint has the names of release 0.3.0, too, and those are enough to read it', () => {
  const older = { trainLoss: 1, trainTokenAccuracy: 0.5, 'rewards/margins': 2 };
  const newer = { loss: 1, tokenAccuracy: 0.5, 'rewards/margins': 2 };
  const both = { ...older, ...newer };
  for (const metrics of [older, newer, both]) {
    assert.deepEqual(checkpointMetricsSchema.parse(metrics), both);
  }
});

test('of rewarded checkpoints those with the highest rewards are kept, and others are not wanted', () => {
  let job = newJob();
  const of = (step: number, reward: number) => ({
    ...{ step, version: step, digest: `d${step}`, createdMs: 1 },
    metrics: { loss: 1, tokenAccuracy: 1, reward: 0, eval_reward: reward },
  });
  const wanted = [0.5, 0.1, 0.9, 0.5, 0.1, 0.6].map((reward, i) => {
    const checkpoint = of(i + 1, reward);
    const isKept = isWanted(job, checkpoint);
    if (isKept) job = withCheckpoint(job, checkpoint);
    return isKept;
  });
  assert.deepEqual(wanted, [true, true, true, true, false, true]);
  assert.deepEqual(pluck(job.checkpoints, 'step'), [1, 3, 6]);
  assert.deepEqual(pluck(job.dropped, 'step'), [2, 4]);
  assert.ok(!isWanted(job, of(3, 0.9)));
});

describe('an interruption', () => {
  const fault = { code: 'trainer_lost', message: 'gone', param: null };

  test('requeues a running job three times, then fails it', () => {
    let job = newJob({ status: 'running', progress: { step: 3, totalSteps: 9 } });
    for (let count = 1; count <= 3; count++) {
      job = withInterruption({ ...job, status: 'running' }, fault, 1)!;
      assert.equal(job.status, 'queued');
      assert.match(
        job.recentEvents.at(-1)!.message,
        new RegExp(`after step 3: gone Retry ${count} of 3`),
      );
    }
    const failed = withInterruption({ ...job, status: 'running' }, fault, 1)!;
    assert.equal(failed.status, 'failed');
    assert.deepEqual(failed.error, fault);
  });

  test('keeps the status of a job in validation, and ignores an ended one', () => {
    assert.equal(withInterruption(newJob(), fault, 1)!.status, 'validating_files');
    for (const status of ENDED)
      assert.equal(withInterruption(newJob({ status }), fault, 1), undefined);
  });
});
