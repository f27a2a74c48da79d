// Facts about jobs, as the list, the comparison and a job's page show them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { accuracyOf } from '../../src/pages/job-facts.js';

test('the accuracy of a classifier counts classes, that of other adapters tokens', () => {
  const classes = { accuracy: 0.9, base_accuracy: 0.5, macro_f1: 0.8 };
  assert.deepEqual(accuracyOf(classes), { base: 0.5, adapter: 0.9 });
  const tokens = { validation_token_accuracy: 0.7, base_validation_token_accuracy: 0.2 };
  assert.deepEqual(accuracyOf(tokens), { base: 0.2, adapter: 0.7 });
  assert.deepEqual(accuracyOf({}), { base: undefined, adapter: undefined });
});
