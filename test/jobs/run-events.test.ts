// A trainer's messages as a job's events: OpenAI's words and figures, each step once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stepEvent, withReport } from '../../src/jobs/trainer-events.ts';
import { messagesOf, newJob, step } from './sample-jobs.ts';

const report = { steps: [], events: [], estimatedFinishMs: undefined };

test('a step has its losses, and those of a validation if there was one', () => {
  assert.equal(stepEvent(step(2)).message, 'Step 2/4: training loss=1.23');
  const validated = stepEvent(step(4, { validationLoss: 0.4, validationTokenAccuracy: 0.75 }));
  assert.equal(validated.message, 'Step 4/4: training loss=1.23, full validation loss=0.40');
  assert.deepEqual(validated.data, {
    step: 4,
    total_steps: 4,
    train_loss: 1.234,
    train_mean_token_accuracy: 0.5,
    full_valid_loss: 0.4,
    full_valid_mean_token_accuracy: 0.75,
    learning_rate: 0.001,
    tokens_per_second: 100,
  });
});

test('known steps are not repeated, and new ones end a row of interruptions', () => {
  const job = newJob({ status: 'running', retries: 2, progress: { step: 2, totalSteps: 4 } });
  const again = withReport(job, { ...report, steps: [step(1), step(2)] }, 5);
  assert.equal(again, undefined);
  const next = withReport(job, { ...report, steps: [step(2), step(3)] }, 5)!;
  assert.deepEqual(messagesOf(next), ['Step 3/4: training loss=1.23']);
  assert.deepEqual(next.progress, { step: 3, totalSteps: 4, trainLoss: 1.234 });
  assert.equal(next.retries, 0);
});

test('an estimate alone is written down, and changes nothing else', () => {
  const job = newJob({ status: 'running', retries: 1, progress: { step: 2, totalSteps: 4 } });
  const next = withReport(job, { ...report, estimatedFinishMs: 99 }, 5)!;
  assert.deepEqual(next.progress, { step: 2, totalSteps: 4, estimatedFinishMs: 99 });
  assert.deepEqual([next.retries, next.recentEvents], [1, []]);
});

test('progress has the newest training loss, and the first step of the lowest validation loss', () => {
  const job = newJob({ status: 'running', progress: { step: 1, totalSteps: 4 } });
  const losses = [0.5, 0.4, 0.4];
  const steps = losses.map((validationLoss, i) => step(i + 2, { loss: i, validationLoss }));
  const first = withReport(job, { ...report, steps: steps.slice(0, 2) }, 5)!;
  assert.deepEqual(first.progress?.best, { step: 3, validationLoss: 0.4 });
  const next = withReport(first, { ...report, steps: steps.slice(2) }, 5)!;
  assert.deepEqual(next.progress?.best, { step: 3, validationLoss: 0.4 });
  assert.equal(next.progress?.trainLoss, 2);
});
