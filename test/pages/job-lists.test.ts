// A search of jobs, and what a comparison shows.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { FineTuningJob } from '../../src/contracts/fine-tuning-api.ts';
import { createListStore, matching } from '../../src/pages/fine-tuning/list-store.ts';
import { compareTexts } from '../../src/pages/fine-tuning/settings.ts';
import { pagedQuery } from '../../src/pages/store/pages.ts';

const jobOf = (id: string, more: object = {}) =>
  ({
    id,
    model: 'base',
    user_provided_suffix: null,
    fine_tuned_model: null,
    status: 'succeeded',
    method: { type: 'supervised', supervised: { hyperparameters: { n_epochs: 3 } } },
    seed: 1,
    finished_at: null,
    validation_file: null,
    lorikeet: {},
    ...more,
  }) as unknown as FineTuningJob;

test('a search reads older pages until a job matches, in one loop for all keystrokes', async () => {
  const PAGE_SIZE = 2;
  const jobs = Array.from({ length: 9 }, (_, i) => jobOf(`ftjob-${i}`));
  const reads: string[] = [];
  const query = pagedQuery<FineTuningJob>('jobs', async (path) => {
    reads.push(path);
    const after = /after=(.*)/.exec(path)?.[1];
    const from = after === undefined ? 0 : jobs.findIndex(({ id }) => id === after) + 1;
    await null; // as a request does, it lets other work run
    const data = jobs.slice(from, from + PAGE_SIZE);
    return { data, has_more: from + PAGE_SIZE < jobs.length };
  });
  const store = createListStore(query);
  await query.refresh();
  for (const text of ['f', 'ft', 'ftjob-7']) store.searchFor(text);
  await setImmediate();
  assert.deepEqual(
    store.matches.value.map(({ id }) => id),
    ['ftjob-7'],
  );
  assert.deepEqual(reads, [
    'jobs',
    'jobs?after=ftjob-1',
    'jobs?after=ftjob-3',
    'jobs?after=ftjob-5',
  ]);
  for (const text of ['ftjob-9', 'ftjob-99']) store.searchFor(text);
  await setImmediate();
  assert.equal(reads.length, 5);
});

test('a search finds names, models and states by all of its words', () => {
  const jobs = [
    jobOf('ftjob-1', { user_provided_suffix: 'Tickets' }),
    jobOf('ftjob-2', { user_provided_suffix: 'Tickets', status: 'failed' }),
    jobOf('ftjob-3', { fine_tuned_model: 'ft:toy:local:zen:3' }),
  ];
  const found = (search: string) => matching(jobs, search).map(({ id }) => id.slice(-1));
  assert.deepEqual(found(''), ['1', '2', '3']);
  assert.deepEqual(found('failed TICKETS'), ['2']);
  assert.deepEqual(found('zen'), ['3']);
});

test('a comparison separates the rows in which jobs differ', () => {
  const other = { supervised: { hyperparameters: { n_epochs: 5 } }, type: 'supervised' };
  const jobs = [jobOf('a'), jobOf('b', { method: other, lorikeet: { rank: 8 } })];
  const compared = jobs.map((job) => ({ job, steps: [{ step: 1, train_loss: 2 }] }));
  const { different, equal } = compareTexts(compared, 0);
  assert.deepEqual(different, [
    ['Epochs', '3', '5'],
    ['LoRA rank', '–', '8'],
  ]);
  assert.deepEqual(
    equal.map(([name, first]) => `${name} ${first}`),
    ['Status succeeded', 'Training loss 2', 'Base model base', 'Method Supervised', 'Seed 1'],
  );
});
