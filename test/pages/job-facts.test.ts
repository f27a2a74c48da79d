// Facts about jobs, as the list, the comparison and a job's page show them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FineTuningJob } from '../../src/contracts/fine-tuning-api.ts';
import { accuracyOf, progressText, rewardOf } from '../../src/pages/fine-tuning/facts.ts';
import { resultsOf } from '../../src/pages/fine-tuning/results.ts';

test('the accuracy of a classifier counts classes, that of other adapters tokens', () => {
  const classes = { accuracy: 0.9, base_accuracy: 0.5, macro_f1: 0.8 };
  assert.deepEqual(accuracyOf(classes), { base: 0.5, adapter: 0.9 });
  const tokens = { validation_token_accuracy: 0.7, base_validation_token_accuracy: 0.2 };
  assert.deepEqual(accuracyOf(tokens), { base: 0.2, adapter: 0.7 });
  assert.deepEqual(accuracyOf({}), { base: undefined, adapter: undefined });
});

test('the reward is the evaluated one, or the best of the validations so far', () => {
  const rewardIn = (lorikeet: object) => rewardOf({ lorikeet } as FineTuningJob);
  assert.equal(rewardIn({ valid_reward: 0.4, evaluation: { reward: 0.5 } }), 0.5);
  assert.equal(rewardIn({ valid_reward: 0.4 }), 0.4);
  assert.equal(rewardIn({}), undefined);
});

test('once all steps are done, the progress names what still runs', () => {
  const progressOf = (step: number, status = 'running') =>
    progressText({ status, lorikeet: { step, total_steps: 4 } } as FineTuningJob, 0);
  assert.equal(progressOf(3), '75%');
  assert.equal(progressOf(4), '100%, evaluating the adapter');
  assert.equal(progressOf(4, 'succeeded'), '');
});

const metrics = [{ step: 1, train_loss: 2, full_valid_loss: 3 }];
const textsOf = (job: object) =>
  resultsOf(
    { validation_file: 'f', method: { type: 'supervised' }, finished_at: null, ...job } as never,
    metrics,
    0,
  ).map(({ name, base, value, help }) => [name, base, value, help].filter(Boolean).join(' | '));

test('a job that has ended does not say that a result is to come', () => {
  const duration = 'Duration | – | not started';
  assert.deepEqual(textsOf({ status: 'running', lorikeet: {} }), [
    'Validation accuracy | – | not measured yet',
    'Validation loss | – | 3 | lower is better',
    'Training loss | 2 | not measured yet',
    duration,
  ]);
  const [accuracy] = textsOf({ status: 'failed', lorikeet: {} });
  assert.equal(accuracy, 'Validation accuracy | – | the job ended before it was measured');
  assert.match(
    textsOf({ status: 'failed', validation_file: null, lorikeet: {} })[0]!,
    /needs validation rows/,
  );
});
