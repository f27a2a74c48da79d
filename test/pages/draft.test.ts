// The draft of a new job becomes the request that the server plans, and a job becomes a draft again.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FineTuningJob } from '../../src/contracts/fine-tuning-api.ts';
import { hyperparametersSchema } from '../../src/contracts/fine-tuning-api.ts';
import {
  type DraftFile,
  draftFault,
  draftOfJob,
  EMPTY_DRAFT,
  fieldFault,
  fieldsOf,
  type JobDraft,
  parseDraft,
  toRequest,
} from '../../src/pages/fine-tuning/new-job/draft.ts';

const FILE: DraftFile = {
  ...{ id: 'file-1', name: 'rows.jsonl', byteSize: 3, problem: '', isOwn: true },
  ...{ share: 1, file: new File(['abc'], 'rows.jsonl') },
};
const DRAFT: JobDraft = { ...EMPTY_DRAFT, files: { training: FILE } };

test('empty fields are left out of a request', () => {
  assert.deepEqual(toRequest(DRAFT, ''), {
    model: 'base',
    training_file: 'file-1',
    lorikeet: {},
  });
});

test('settings are numbers below their parents, and those of other methods are left out', () => {
  const fields = { n_epochs: '2', beta: '0.3', rank: '4', seed: '7', completions: '4' };
  const { method, lorikeet, ...job } = toRequest({ ...DRAFT, method: 'dpo', fields }, 'int8');
  assert.deepEqual(method, { type: 'dpo', dpo: { hyperparameters: { n_epochs: 2, beta: 0.3 } } });
  assert.deepEqual(lorikeet, { rank: 4, compute: 'int8' });
  assert.equal((job as { seed?: number }).seed, 7);
});

test('a chosen arithmetic stays, whatever a plan recommends', () => {
  const { lorikeet } = toRequest({ ...DRAFT, fields: { compute: 'float32' } }, 'int8');
  assert.equal(lorikeet['compute'], 'float32');
});

test('rows are held out only without a validation file', () => {
  const draft = { ...DRAFT, heldOut: 25 };
  assert.equal(toRequest(draft, '').lorikeet['validation_split'], 0.25);
  const files = { training: FILE, validation: { ...FILE, id: 'file-2' } };
  const both = toRequest({ ...draft, files }, '');
  assert.equal(both['validation_file'], 'file-2');
  assert.equal(both.lorikeet['validation_split'], undefined);
});

test('what a field accepts the API accepts, and the fault of the first other one is named', () => {
  for (const field of fieldsOf('reinforcement').filter(({ min }) => min !== undefined)) {
    for (const typed of ['x', '1e999', String(field.min! - 1), String(field.max! + 1)])
      assert.notEqual(fieldFault(field, typed), '', `${field.id} ${typed}`);
    for (const typed of ['', String(field.max)]) assert.equal(fieldFault(field, typed), '');
    if (field.parent !== 'hyperparameters') continue;
    hyperparametersSchema.partial().parse({ [field.id]: field.max });
    assert.equal(fieldFault(field, '2.5') === '', !field.isInteger);
  }
  const fields = { rank: '99999', n_epochs: '-1' };
  assert.equal(draftFault({ ...DRAFT, fields }, ''), 'Epochs: must be from 1 to 50.');
  assert.equal(draftFault({ ...DRAFT, fields: { beta: '-1' } }, ''), undefined, 'a hidden field');
  const rewarded = { ...DRAFT, method: 'reinforcement' } as const;
  assert.equal(draftFault({ ...rewarded, grader: '{' }, ''), 'The grader is not JSON.');
  assert.equal(draftFault(rewarded, 'why'), 'The grader is not valid: why');
});

const JOB = {
  model: 'toy',
  seed: 7,
  user_provided_suffix: 'Numbers',
  method: {
    type: 'reinforcement',
    reinforcement: {
      hyperparameters: { n_epochs: 2, batch_size: 'auto', reasoning_effort: 'low' },
      grader: { type: 'string_check' },
      response_format: { type: 'json_object' },
    },
  },
  lorikeet: { adapter: 'numbers', rank: 4, targets: 'q_proj', validation_split: 0.25 },
} as unknown as FineTuningJob;

test('a repeated job asks for what the job was, but for the changes', () => {
  const draft = draftOfJob(JOB, { n_epochs: '4' });
  const { method, lorikeet, ...job } = toRequest({ ...draft, files: DRAFT.files }, 'int8');
  assert.deepEqual(method, {
    type: 'reinforcement',
    reinforcement: {
      grader: { type: 'string_check' },
      response_format: { type: 'json_object' },
      hyperparameters: { n_epochs: 4, reasoning_effort: 'low' },
    },
  });
  const compute = 'float32'; // of a job that names none
  assert.deepEqual(lorikeet, { targets: 'q_proj', rank: 4, compute, validation_split: 0.25 });
  assert.deepEqual(job, { model: 'toy', training_file: 'file-1', seed: 7 });
  assert.equal(draft.suffix, 'Numbers');
});

test('a stored draft comes back without the bytes of its files', () => {
  const { file: _, ...stored } = FILE;
  const draft = { ...DRAFT, suffix: 'x', fields: { rank: '4' } };
  const restored = (one: JobDraft) => parseDraft(JSON.stringify(one));
  assert.deepEqual(restored(draft), { ...draft, files: { training: stored } });
  const { files } = restored({ ...draft, files: { validation: { ...FILE, id: '' } } });
  assert.match(files.validation!.problem, /Choose the file again/);
  const older = JSON.stringify({ ...draft, files: [stored] });
  for (const text of [
    null,
    '1',
    'null',
    '{"model": "", "typed": {}, "files": [null, null]}',
    older,
  ])
    assert.equal(parseDraft(text), EMPTY_DRAFT);
});
