// Facts about jobs, as the list, the comparison and a job's page show them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FineTuningJob } from '../../src/contracts/fine-tuning-api.ts';
import { accuracyOf, rewardOf } from '../../src/pages/job-facts.js';

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
