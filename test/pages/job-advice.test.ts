// A failed job says what to try next, with numbers made from its own settings.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FineTuningJob } from '../../src/contracts/fine-tuning-api.ts';
import { adviceFor, inWords } from '../../src/pages/fine-tuning/advice.ts';

function failed(code: string, hyperparameters = {}, lorikeet = {}): FineTuningJob {
  const method = { type: 'supervised', supervised: { hyperparameters } };
  const error = { code, message: 'It failed.', param: null };
  return { error, method, lorikeet } as unknown as FineTuningJob;
}

const gates = (...names: string[]) => ({
  evaluation: { gates: names.map((gate) => ({ gate, passed: false })), skipped: [] },
});

for (const [code, hyperparameters, lorikeet, changes] of [
  ['non_finite_loss', { learning_rate_multiplier: 2 }, {}, { learning_rate_multiplier: '0.6' }],
  ['non_finite_loss', {}, {}, { learning_rate_multiplier: '0.3' }],
  ['out_of_memory', { batch_size: 8 }, {}, { batch_size: '4' }],
  ['out_of_memory', { batch_size: 1 }, { rank: 16 }, { rank: '8' }],
  ['gate_failed', { n_epochs: 3 }, gates('validation'), { n_epochs: '6' }],
  ['gate_failed', {}, gates('applied', 'validation'), { learning_rate_multiplier: '3.3' }],
  ['gate_failed', { n_epochs: 50 }, gates('validation'), { n_epochs: '50' }],
  ['gate_failed', {}, gates('forgetting'), { learning_rate_multiplier: '0.3' }],
  ['nothing_to_learn', {}, {}, {}],
  ['grader_fails', {}, {}, {}],
  ['reward_constant', {}, {}, {}],
] as const) {
  test(`${code} ${JSON.stringify([hyperparameters, lorikeet])}`, () => {
    const advice = adviceFor(failed(code, hyperparameters, lorikeet));
    assert.deepEqual(advice?.changes, changes);
    for (const value of Object.values(changes)) assert.ok(advice?.text.includes(value));
  });
}

test('a job that has not failed gets no advice, nor one that failed for an unknown reason', () => {
  assert.equal(adviceFor({ ...failed('x'), error: null }), undefined);
  assert.equal(adviceFor(failed('internal_error')), undefined);
});

for (const [raw, shown] of [
  [
    "ENOENT: no such file or directory, open '/srv/jobs/7/train.jsonl'",
    'The file train.jsonl is missing on the server (ENOENT).',
  ],
  [
    "The run failed: EACCES: permission denied, rename '/a/b' -> '/a/c'",
    'The run failed: The file b may not be read or written by the server (EACCES).',
  ],
  ['EIO: i/o error, read', 'A file cannot be read or written (EIO).'],
  ['gate applied: it changes nothing', 'gate applied: it changes nothing'],
] as const) {
  test(`"${raw}" is shown in words`, () => assert.equal(inWords(raw), shown));
}
