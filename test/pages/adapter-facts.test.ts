// Facts about adapters, as the table and the page of each show them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Adapter } from '../../src/contracts/management-api.ts';
import {
  checkpointStep,
  currentVersion,
  evaluationText,
  factsOf,
  originOf,
  requestsOf,
  type Version,
} from '../../src/pages/adapters/facts.ts';

const JOB_ALIAS = 'a'.repeat(24);
const version = (number: number, fields: Partial<Version> = {}): Version => ({
  version: number,
  created_at: 0,
  digest: 'd'.repeat(64),
  rank: 4,
  targets: ['q_proj'],
  bytes: 2048,
  classes: null,
  base: 'served',
  job: null,
  training: null,
  evaluation: null,
  traffic: null,
  ...fields,
});
const adapter = (fields: Partial<Adapter> = {}): Adapter => ({
  id: 'acme/zen',
  object: 'adapter',
  name: 'zen',
  owner: 'acme',
  is_writable: true,
  about: { kind: 'chat', description: '', tags: [], examples: [], revision: 0 },
  last_used_at: null,
  aliases: [],
  versions: [version(2), version(1)],
  ...fields,
});
const alias = (name: string, to: number) => ({
  alias: name,
  leads_to: [{ version: to, percent: 100 }],
  previous: null,
  is_rolled_back: false,
});

test('an evaluation is the accuracy, else the reward, else the loss, next to the base, with its gates', () => {
  const text = (evaluation: Record<string, unknown>) => evaluationText(version(1, { evaluation }));
  const loss = { base_validation_loss: 2, validation_loss: 0.5 };
  assert.equal(text(loss), 'validation loss 2 → 0.5');
  const accuracy = { base_validation_token_accuracy: 0.5, validation_token_accuracy: 0.875 };
  assert.equal(text({ ...loss, ...accuracy }), 'validation accuracy 50% → 87.5%');
  const reward = { base_reward: 0.1, reward: 0.9 };
  const gates = [{ gate: 'loss', passed: true }];
  assert.equal(text({ ...reward, gates }), 'reward 0.1 → 0.9, passed 1 gate');
  assert.equal(text({ gates: [{ gate: 'loss', passed: false }] }), 'failed: loss');
  assert.equal(evaluationText(version(1)), '');
});

test('the current version is the released one, else the newest', () => {
  assert.equal(currentVersion(adapter())?.version, 2);
  assert.equal(currentVersion(adapter({ aliases: [alias('latest', 1)] }))?.version, 1);
});

test('a checkpoint is a version that only its job names', () => {
  const step = (...aliases: string[]) =>
    checkpointStep(adapter({ aliases: aliases.map((name) => alias(name, 1)) }), version(1));
  assert.equal(step(`${JOB_ALIAS}.ckpt-step-20`), '20');
  assert.equal(step(`${JOB_ALIAS}.ckpt-step-20`, 'stable'), undefined);
  assert.equal(step(), undefined);
});

test('an origin is a job, a training loop or a push, and the owner of what others may only read', () => {
  const origin = (fields: Partial<Version>, more: Partial<Adapter> = {}) =>
    originOf(adapter({ versions: [version(1, fields)], ...more }));
  assert.deepEqual(origin({ job: 'ftjob-1' }), { text: 'job', href: 'fine-tuning#ftjob-1' });
  assert.equal(origin({ job: 'tinker-1:train:0' }).text, 'training loop');
  assert.equal(origin({}).text, 'pushed');
  assert.equal(origin({}, { is_writable: false, owner: 'shared' }).text, 'shared');
});

test('requests are summed over versions, and unknown to readers', () => {
  const traffic = { running: 0, requests: 3, errors: 0, first_token_ms: 1, token_ms: 1 };
  const versions = [version(2, { traffic }), version(1, { traffic })];
  assert.equal(requestsOf(adapter({ versions })), 6);
  assert.equal(requestsOf(adapter({ versions, is_writable: false })), undefined);
});

test('facts that are unknown are left out', () => {
  const names = factsOf(adapter({ versions: [version(1)] }), 'toy', 0)
    .filter(([, text]) => text !== undefined)
    .map(([name]) => name);
  assert.deepEqual(names, ['Base', 'Version', 'Origin', 'Last used']);
});
