// Jobs, adapters and status in a real browser, on the toy base, also on a slow network and with a dead server.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import type { Page } from 'playwright-core';
import { createRepository } from '../../adapters/repository/repository.ts';
import { createFsStore } from '../../adapters/store/fs.ts';
import { guardStore } from '../../adapters/store/guarded-store.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import type { FineTuningJob } from '../../src/contracts/fine-tuning-api.ts';
import type { Adapter } from '../../src/contracts/management-api.ts';
import { readArtifactInfo } from '../../src/import/artifact.ts';
import { NO_STEPS } from '../../src/tinker/loss-curve.ts';
import { Runs } from '../../src/tinker/runs.ts';
import { ask, fetchJson, postJson } from '../api.ts';
import { freePort } from '../free-port.ts';
import { pluck } from '../pluck.ts';
import { skipUnlessLong, testUnless } from '../shared.ts';
import { until } from '../until.ts';
import {
  accessFaults,
  measureLoads,
  openPage,
  overhang,
  PHONE,
  START,
  servePages,
  TOY_MODEL,
  test,
  textOf,
} from './browser.ts';
import { chat, untilTrue } from './playground-page.ts';
import { serveFor, startServing } from './program.ts';
import { numberRows } from './rows.ts';
import { writeToyAdapter, writeToyClassifier } from './toy-adapter.ts';

/** The delay of a slow response. */
const SLOW_MS = 3_000;
const TRAINED_MS = 180_000;

const FLAGS = ['--slots', '2', '--weights', 'f32'];
/** Two jobs with the same name, whose adapter therefore has several versions. */
let jobs: FineTuningJob[] = [];
const pages = servePages(async (home) => {
  writeToyAdapter(path.join(home, 'adapters', 'parrot'), 1);
  const store = path.join(home, 'store');
  mkdirSync(store);
  const files = createFsStore(store);
  const repository = createRepository(files);
  const publish = (name: string, directory: string) =>
    repository.publish({ tenant: 'local', name }, { directory });
  await publish('sentiment', writeToyClassifier(path.join(home, 'mood'), 2, ['glad', 'sad']));
  for (const seed of [3, 4]) {
    const directory = writeToyAdapter(path.join(home, `toy-${seed}`), seed);
    for (const name of ['poems', 'steps', 'vectors']) await publish(name, directory);
  }
  await repository.moveAlias({ tenant: 'local', name: 'steps' }, 'latest', { version: 1 });
  await saveRun(files, writeToyAdapter(path.join(home, 'toy-loop'), 5));
  return [...FLAGS, '--adapters', path.join(home, 'adapters')];
}, trainJobs);

/** The run of a training loop whose client has left. */
const RUN = `tinker-${'0123456789ab'.repeat(2)}:train:0`;

async function saveRun(files: ObjectStore, directory: string): Promise<void> {
  const repository = createRepository(files);
  const store = guardStore(files);
  const runs = new Runs({ store, repository, onPublished() {}, now: () => Date.now() - 90_000 });
  const { digest } = readArtifactInfo(path.resolve('models/toy'));
  const run = { id: RUN, tenant: 'local', baseModel: 'toy', baseDigest: digest, rank: 4 };
  await runs.create({ ...run, metadata: { recipe: 'rhymes' } });
  const points = Array.from({ length: 40 }, (_, i): [number, number] => [i + 1, 3 - i / 20]);
  await runs.note('local', RUN, { ...NO_STEPS, steps: 40, seq: 80, points }, Date.now() - 90_000);
  await runs.save(
    await runs.find('local', RUN),
    { folder: 'sampler_weights', name: 'final', expiresMs: null, metadata: null },
    { directory, momentsFile: undefined, publicationId: 'final' },
  );
}

async function trainJobs(): Promise<void> {
  const [training_file, validation_file] = [await upload('train', 40), await upload('held-out', 8)];
  const created = await Promise.all(
    [1, 2].map((n_epochs) =>
      createJob({
        model: 'base',
        training_file,
        validation_file,
        suffix: 'Numbers',
        hyperparameters: { n_epochs, batch_size: 8 },
      }),
    ),
  );
  jobs = await Promise.all(created.map(({ id }) => ended(id)));
  assert.deepEqual(pluck(jobs, 'status'), ['succeeded', 'succeeded']);
}

const createJob = (body: unknown) =>
  ask<FineTuningJob>(`${pages.server.url}/v1/fine_tuning/jobs`, body);

async function upload(name: string, rows: number): Promise<string> {
  const form = new FormData();
  form.append('purpose', 'fine-tune');
  form.append('file', new Blob([numberRows(rows).join('\n')]), `${name}.jsonl`);
  const sent = { method: 'POST', body: form };
  return (await fetchJson<{ id: string }>(`${pages.server.url}/v1/files`, sent)).id;
}

function ended(id: string): Promise<FineTuningJob> {
  const findEnded = async () => {
    const job = await fetchJson<FineTuningJob>(`${pages.server.url}/v1/fine_tuning/jobs/${id}`);
    return job.finished_at !== null && job;
  };
  return until(`the end of ${id}`, findEnded, { deadlineMs: TRAINED_MS, pollMs: 250 });
}

const open = async (t: TestContext, where: string, options = {}) =>
  (await pages.open(t, where, options)).page;

/** Delays every response of the API. */
async function slow(page: Page): Promise<void> {
  await page.route('**/v1/**', async (route) => {
    await page.waitForTimeout(SLOW_MS);
    await route.continue().catch(() => {}); // the test may have ended
  });
}

test('a job shows base and adapter side by side, its kept step, and its name to copy', async (t) => {
  const [, job] = jobs;
  const { page, context } = await pages.open(t, `/fine-tuning#${job!.id}`);
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  const evaluation = job!.lorikeet['evaluation'] as Record<string, number>;
  const accuracy = page.locator('#outcome .tiles > div', { hasText: 'Validation accuracy' });
  await accuracy.locator('strong').nth(1).waitFor();
  const shown = await accuracy.locator('strong').allTextContents();
  const percent = (share: number) => `${Number((share * 100).toFixed(1))}%`;
  assert.deepEqual(shown, [
    percent(evaluation['base_validation_token_accuracy']!),
    percent(evaluation['validation_token_accuracy']!),
  ]);
  for (const name of ['Validation loss', 'Training loss', 'Duration']) {
    const value = page.locator('#outcome .tiles > div', { hasText: name }).locator('dd').first();
    assert.match(await textOf(value), /\d/, name);
  }
  const kept = page.locator('#results tr', { has: page.locator('.kept') });
  await kept.waitFor();
  assert.match(await textOf(kept.locator('th')), new RegExp(`^${job!.lorikeet['kept_step']}`));
  assert.match(await textOf(kept.locator('td').nth(2)), /^[\d.]+$/);
  await page.locator('.model-line button', { hasText: 'Copy' }).click();
  await page.locator('.model-line button', { hasText: 'Copied' }).waitFor();
  assert.equal(await page.evaluate('navigator.clipboard.readText()'), job!.fine_tuned_model);
});

test('jobs are listed with their results, searched and compared', async (t) => {
  const page = await open(t, '/fine-tuning');
  await slow(page);
  const rows = page.locator('#jobs tbody tr');
  await rows.nth(1).waitFor();
  for (const row of await rows.allTextContents()) {
    assert.match(row, /Numbers.*succeeded[\d.]+.*%.*(s|min).*toy/);
  }
  await page.locator('#job-search').fill('nothing like this');
  await page.locator('#jobs-help', { hasText: 'No matching jobs' }).waitFor();
  await page.locator('#job-search').fill(jobs[0]!.id.slice(-6));
  assert.equal(await rows.count(), 1);
  await page.locator('#job-search').fill('');
  for (const { id } of jobs) await page.locator(`#compare-${id}`).check();
  await page.locator('#compare-button', { hasText: 'Compare 2' }).click();
  await page.locator('#compared thead a').nth(1).waitFor();
  const epochs = page.locator('#compared tr', { hasText: 'Epochs' }).locator('td');
  assert.deepEqual((await epochs.allTextContents()).sort(), ['1', '2']);
  assert.equal(await page.locator('#compared tr', { hasText: 'Batch size' }).count(), 0);
  await page.locator('#compared-equal summary', { hasText: /\d rows are the same/ }).click();
  await page.locator('#compared-equal dt', { hasText: 'Batch size' }).waitFor();
  await page.locator('#compared-validation [role=img][aria-label*="2 jobs"]').waitFor();
});

test('a job proves itself on the rows that it held out, and they open in the playground', async (t) => {
  const page = await open(t, `/fine-tuning#${jobs[1]!.id}`);
  const rows = page.locator('#proof tbody tr');
  await rows.nth(7).waitFor();
  await page.locator('#proof-run').click();
  await page
    .locator('#proof-help', { hasText: /^Base: \d of 8 right\. Adapter: \d of 8 right\.$/ })
    .waitFor();
  assert.equal(await rows.first().locator('.pill').count(), 2);
  assert.deepEqual(await accessFaults(page), []);
  await rows.nth(2).locator('a').click();
  await page.locator('#model').waitFor();
  assert.equal(await page.locator('#prompt').inputValue(), 'Number 2?');
});

test('one step is a point of its chart, and a job without steps shows what there is', async (t) => {
  const hyperparameters = { n_epochs: 1, batch_size: 40 };
  const request = { model: 'base', training_file: jobs[0]!.training_file, hyperparameters };
  const [one, none] = [await createJob(request), await createJob(request)];
  await postJson(`${pages.server.url}/v1/fine_tuning/jobs/${none.id}/cancel`, {});
  const page = await open(t, `/fine-tuning#${none.id}`);
  await page.locator('#job-name .cancelled').waitFor();
  assert.equal(await page.locator('.chart').count(), 0);
  const text = await textOf(page.locator('#job'));
  assert.doesNotMatch(text, /not measured yet|You can try a checkpoint/);
  assert.match(text, /the job ended before it was measured.*ended before its first checkpoint/);
  await ended(one.id);
  await page.goto(`${pages.server.url}/fine-tuning#${one.id}`);
  await page.locator('#loss-chart [aria-label*="step 1, training"] canvas').waitFor();
  await untilTrue(
    page,
    `(() => {
      const canvas = document.querySelector('#loss-chart canvas');
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      const isAccent = (red, i) => i % 4 === 0 && red === 13 && data[i + 1] === 115;
      return data.some(isAccent);
    })()`,
  );
});

test('a job is repeated with changes', async (t) => {
  const page = await open(t, `/fine-tuning#${jobs[0]!.id}`);
  await page.locator('#job-actions a', { hasText: 'Repeat' }).click();
  await page.locator('#training-drop', { hasText: 'train.jsonl' }).waitFor();
  await page.locator('#validation-drop', { hasText: 'held-out.jsonl' }).waitFor();
  assert.equal(await page.locator('#suffix').inputValue(), 'Numbers');
  await page.locator('summary', { hasText: 'Hyperparameters' }).click();
  assert.equal(await page.locator('#batch_size').inputValue(), '8');
  await page.locator('#batch_size').fill('10');
  await page.locator('#plan dd', { hasText: '4, 4 per epoch' }).waitFor();
  const sent = page.waitForRequest((request) => request.method() === 'POST');
  await page.locator(START).click();
  const body = (await sent).postDataJSON();
  assert.equal(body.training_file, jobs[0]!.training_file);
  assert.equal(body.method.supervised.hyperparameters.batch_size, 10);
  await page.locator('#job-actions button', { hasText: 'Cancel' }).waitFor();
  await page.locator('#job-actions button', { hasText: 'Cancel' }).click();
  await page.locator('#confirm-yes', { hasText: 'Cancel job' }).click();
  await page.locator('#job-name .cancelled').waitFor();
});

test("a classifier's accuracy counts texts, in the list and on its page", async (t) => {
  const page = await open(t, '/pages/icon.svg');
  await page.route(/fine_tuning\/jobs(\/[^/]*)?(\?.*)?$/, async (route) => {
    const response = await route.fetch();
    const body = await response.json();
    for (const job of body.data ?? [body]) {
      const {
        base_validation_token_accuracy: _,
        validation_token_accuracy: __,
        ...rest
      } = job.lorikeet.evaluation ?? {};
      const evaluation = { ...rest, base_accuracy: 0.5, accuracy: 0.9 };
      job.lorikeet = { ...job.lorikeet, num_classes: 2, evaluation };
    }
    await route.fulfill({ response, json: body });
  });
  await page.goto(`${pages.server.url}/fine-tuning`);
  const row = page.locator('#jobs tbody tr', { hasText: 'Numbers' }).last(); // the others may have no steps
  assert.equal(await row.locator('[data-name=Accuracy]').textContent(), '90%');
  await row.locator('a').click();
  const tile = page.locator('#outcome .tiles > div', { hasText: 'Validation accuracy' });
  await tile.locator('dd', { hasText: 'texts classified correctly' }).waitFor();
  assert.deepEqual(await tile.locator('strong').allTextContents(), ['50%', '90%']);
  assert.equal(await page.locator('#accuracy-title').textContent(), 'Accuracy');
});

test('a latency above the last bound is shown as such, and attached adapters do not wait', async (t) => {
  const page = await open(t, '/pages/icon.svg');
  await page.route('**/metrics/status', async (route) => {
    const response = await route.fetch();
    const status = await response.json();
    status.inter_token_latency = [2.5, 10, null].map((le) => ({ le, count: le === null ? 9 : 0 }));
    status.attached = ['poems'];
    status.awaited = ['poems', 'vectors'];
    await route.fulfill({ response, json: status });
  });
  await page.goto(`${pages.server.url}/status`);
  const tile = page.locator('#tiles > div', { hasText: 'Inter-token latency' });
  await tile.locator('dd', { hasText: '> 10 s' }).first().waitFor();
  const facts = await page.locator('#attached').textContent();
  assert.equal(facts, 'Attached: poems. Waiting to load: vectors.');
});

test('a job that failed says what to try, and the form is filled with it', async (t) => {
  const { training_file, validation_file } = jobs[0]!;
  const hyperparameters = { n_epochs: 1, learning_rate_multiplier: 1e-9 };
  const request = { model: 'base', training_file, validation_file, hyperparameters };
  const failed = await ended((await createJob(request)).id);
  assert.equal(failed.error?.code, 'gate_failed');
  const page = await open(t, `/fine-tuning#${failed.id}`);
  await page.locator('#job-problems .warning', { hasText: 'from 1e-9 to 1.' }).waitFor();
  await page.locator('#job-problems .warning a').click();
  await page.locator('#training-drop', { hasText: 'train.jsonl' }).waitFor();
  assert.equal(await page.locator('#learning_rate_multiplier').inputValue(), '1');
  assert.ok(await page.locator('#learning_rate_multiplier').isVisible());
});

test("a training loop's run shows its losses and its checkpoints, which can be tried", async (t) => {
  const page = await open(t, '/fine-tuning');
  const row = page.locator('#runs tbody tr');
  assert.match(await textOf(row), /ended1.05404toy/);
  await row.locator('a').click();
  await page.locator('#run-chart [role=img][aria-label*="step 40, loss 1.05"]').waitFor();
  await page.locator('#run-facts', { hasText: 'rhymes' }).waitFor();
  const checkpoint = page.locator('#run-checkpoints li');
  const text = await textOf(checkpoint);
  assert.ok(text.includes(`tinker://${RUN}/sampler_weights/final`), text);
  await checkpoint.locator('a', { hasText: 'Try it' }).click();
  assert.match(await page.locator('#model').inputValue(), /^tinker-.*-0:sampler\.final$/);
  await chat(page, 'Hello');
});

test('on a phone a job takes two or three lines', async (t) => {
  const page = await open(t, '/fine-tuning', PHONE);
  const row = page.locator('#jobs tbody tr', { hasText: 'Numbers' }).first();
  await row.waitFor();
  assert.equal(await overhang(page), 0);
  const { height = 0, width = 0 } = (await row.boundingBox()) ?? {};
  assert.ok(height < 110, `${height} px`);
  assert.ok(width <= 360, `${width} px`);
  await row.locator('input').check();
});

const openAdapter = (t: TestContext, name: string) => open(t, `/adapters#local/${name}`);
const rowOf = (page: Page, alias: string) => page.locator('#releases li', { hasText: alias });

test('adapters are listed, released, rolled back, downloaded and deleted', async (t) => {
  const page = await open(t, '/adapters');
  await slow(page);
  const rows = page.locator('#adapters tbody tr');
  await rows.filter({ hasText: 'parrot' }).filter({ hasText: 'local folder' }).waitFor();
  const row = rows.filter({ hasText: 'numbers' });
  assert.equal(await row.locator('a', { hasText: 'job' }).count(), 1);
  await row.locator('th a').click();
  await page.locator('h1', { hasText: 'numbers' }).waitFor();
  const latest = rowOf(page, 'latest');
  const before = (await latest.locator('[role=status]').textContent())!;
  const versions = page.locator('#versions > .items li');
  const count = await versions.count();
  assert.ok(count >= 2);
  const [saved] = await Promise.all([
    page.waitForEvent('download'),
    versions.first().locator('button', { hasText: 'Download' }).click(),
  ]);
  assert.match(saved.suggestedFilename(), /^adapter_/);
  const oldest = (await versions.last().locator('strong').textContent())!.toLowerCase();
  await versions.last().locator('button', { hasText: 'Release…' }).click();
  await page
    .locator('#release-says', { hasText: /get version \d+ instead of version \d+\./ })
    .waitFor();
  await page.locator('#release-yes').click();
  await latest.locator('[role=status]', { hasText: new RegExp(`→ ${oldest}$`) }).waitFor();
  await latest.locator('button', { hasText: /^(Undo|Roll back)/ }).click();
  await latest.locator('[role=status]', { hasText: before }).waitFor();
  // Deleting needs a confirmation.
  await page.locator('.head button', { hasText: 'Delete' }).click();
  await page.locator('#confirm-dialog button', { hasText: 'Keep' }).click();
  await page.locator('a', { hasText: 'All adapters' }).click();
  await row.waitFor();
  await page.locator('#search').fill('no such');
  await page.locator('#adapters-help', { hasText: 'No adapter matches' }).waitFor();
});

test('an adapter without a released version is marked and comes last, and its versions are tried', async (t) => {
  const page = await open(t, '/pages/icon.svg');
  const unreleased = ({ versions, ...released }: Adapter): Adapter => {
    const version = { ...versions[0]!, version: 1, job: 'ftjob-1' };
    return { ...released, id: 'local/a', name: 'a', aliases: [], versions: [version] };
  };
  await page.route(/\/v1\/adapters\?/, async (route) => {
    const response = await route.fetch();
    const list = await response.json();
    const data = [unreleased(list.data[0]), ...list.data];
    await route.fulfill({ response, json: { ...list, data } });
  });
  await page.route(/\/v1\/adapters\/a\?/, async (route) => {
    const response = await fetch(`${pages.server.url}/v1/adapters/poems`);
    await route.fulfill({ json: unreleased((await response.json()) as Adapter) });
  });
  await page.goto(`${pages.server.url}/adapters`);
  const links = page.locator('#adapters tbody th a[href^="#"]');
  await links.nth(1).waitFor();
  const names = await links.allTextContents();
  assert.ok(names.indexOf('a') > names.indexOf('vectors'), names.join());
  const row = page.locator('#adapters tr', { hasText: 'not released' });
  await row.getByRole('link', { name: 'a', exact: true }).click();
  await page.locator('.head .pill', { hasText: 'not released' }).waitFor();
  assert.equal(await page.locator('.warning a').getAttribute('href'), 'fine-tuning#ftjob-1');
  assert.equal(await page.locator('.head a', { hasText: 'Try it' }).count(), 0);
  const version = page.locator('#versions li');
  assert.equal(await version.getByText('Try it').getAttribute('href'), './?model=a%401');
});

test('a classifier sorts a text, an embedding adapter compares two, and both are described', async (t) => {
  const classifier = await openAdapter(t, 'sentiment');
  await classifier.locator('.pill', { hasText: 'classifier' }).waitFor();
  await classifier.getByLabel('Text', { exact: true }).fill('What a day');
  await classifier.locator('button', { hasText: 'Classify' }).click();
  await classifier.locator('.alternatives p').nth(1).waitFor();
  const classes = await classifier.locator('.alternatives code').allTextContents();
  assert.deepEqual(classes.sort(), ['glad', 'sad']);

  const page = await openAdapter(t, 'vectors');
  await page.locator('summary', { hasText: 'Describe' }).click();
  await page.getByLabel('Description').fill('Places similar texts close together.');
  await page.getByLabel('Tags').fill('search, short texts');
  await page.getByLabel('Example prompts').fill('a parcel\na parcel');
  await page.getByLabel('Used for').selectOption('embedding');
  await page.locator('button', { hasText: 'Save' }).click();
  await page.locator('.problem', { hasText: 'contains a prompt twice' }).waitFor();
  await page.getByLabel('Example prompts').fill('a parcel\na letter');
  const others = { description: 'Other words.', revision: 0 };
  await postJson(`${pages.server.url}/v1/adapters/vectors`, others);
  await page.locator('button', { hasText: 'Save' }).click();
  await page.locator('.problem', { hasText: '“Other words.”' }).waitFor();
  await page.locator('button', { hasText: 'Save' }).click();
  await page.locator('p.lead', { hasText: 'Places similar texts' }).waitFor();
  assert.deepEqual(await page.locator('.tags .pill').allTextContents(), ['search', 'short texts']);
  assert.equal(await page.getByLabel('First text').inputValue(), 'a parcel');
  await page.getByLabel('Second text').fill('a parcel');
  await page.locator('button', { hasText: 'Compare' }).click();
  await page.locator('.alternatives span').nth(1).waitFor();
  assert.deepEqual(await page.locator('.alternatives span').allTextContents(), ['1.000', '1.000']);
  assert.deepEqual(await accessFaults(page), []);
  await page.goto(`${pages.server.url}/?model=vectors`);
  await page.locator('.starter', { hasText: 'a letter' }).waitFor();
});

test('a version gets a share of an alias after a look at its figures, and goes back', async (t) => {
  const page = await openAdapter(t, 'poems');
  await page.locator('#releases button', { hasText: 'Release…' }).click();
  const says = page.locator('#release-says');
  await says.locator('text=That is how it is now.').waitFor();
  assert.ok(await page.locator('#release-yes').isDisabled());
  await page.locator('#release-alias').fill('canary');
  await says.locator('text=New name: requests for poems:canary get version 2.').waitFor();
  await page.locator('#release-alias').press('Enter'); // releases, not cancels
  await rowOf(page, 'canary').waitFor();
  await page.locator('#releases button', { hasText: 'Release…' }).click();
  assert.equal(await page.locator('#release-alias').inputValue(), 'latest');
  await page.locator('#release-version').selectOption('1');
  await page.locator('#release-share').fill('10');
  await says.locator('text=then 90% version 2, 10% version 1').waitFor();
  await page.locator('#release-figures th', { hasText: 'Version 2' }).waitFor();
  assert.deepEqual(await accessFaults(page), []);
  const compare = page.locator('#release-dialog a', { hasText: 'Try it' });
  assert.equal(await compare.getAttribute('href'), './?model=poems%402&beside=poems%401');
  await page.locator('#release-yes').click();
  const latest = rowOf(page, 'latest');
  await latest.locator('text=→ 90% version 2, 10% version 1').waitFor();
  await latest.locator('button', { hasText: 'Roll back to version 2' }).click();
  await latest.locator('[role=status]', { hasText: /→ version 2$/ }).waitFor();
  // What was rolled back is not offered as a rollback again.
  await latest.locator('button', { hasText: 'Undo the rollback: 90% version 2' }).waitFor();
  assert.equal(await latest.locator('button', { hasText: 'Roll back' }).count(), 0);
});

test('a version is released at 10% with its traffic next to it, then to all, and rolled back', async (t) => {
  const page = await openAdapter(t, 'steps');
  const latest = rowOf(page, 'latest');
  const traffic = page.locator('#releases table');
  await latest.locator('button', { hasText: 'Release version 2 at 10%' }).click();
  await latest.locator('text=→ 90% version 1, 10% version 2').waitFor();
  await ask(`${pages.server.url}/v1/chat/completions`, {
    model: 'steps@2',
    max_tokens: 2,
    messages: [{ role: 'user', content: 'Hello' }],
  });
  const row = traffic.locator('tr', { hasText: 'Version 2' });
  await row.locator('[data-name="Requests"]', { hasText: '1' }).waitFor();
  assert.match(await textOf(row.locator('[data-name="First token"]')), /ms|s$/);
  assert.equal(await textOf(row.locator('[data-name="Share of latest"]')), '10%');
  await latest.locator('button', { hasText: 'Release version 2 to 100%' }).click();
  await latest.locator('[role=status]', { hasText: /→ version 2$/ }).waitFor();
  await latest.locator('button', { hasText: 'Roll back to version 1' }).click();
  await latest.locator('[role=status]', { hasText: /→ version 1$/ }).waitFor();
  assert.equal(await page.evaluate('document.activeElement.role'), 'status');
  await page.locator('#users td', { hasText: '1' }).first().waitFor();
});

test('the page of a finished job releases its version at 10%, and rolls it back', async (t) => {
  const newest = jobs.toSorted((a, b) => versionOf(b) - versionOf(a))[0]!;
  const page = await open(t, `/fine-tuning#${newest.id}`);
  const panel = page.locator('#release');
  await panel.locator('text=gets all requests for numbers.').waitFor();
  await panel.locator('button', { hasText: 'at 10%' }).click();
  await panel.locator(`text=10% version ${versionOf(newest)}.`).waitFor();
  await panel.locator('tr', { hasText: `Version ${versionOf(newest)}` }).waitFor();
  await panel.locator('button', { hasText: 'Roll back to version' }).click();
  await panel.locator(`text=Version ${versionOf(newest)} gets none.`).waitFor();
  await panel.locator('button', { hasText: 'Undo the rollback' }).click();
  await panel.locator(`text=10% version ${versionOf(newest)}.`).waitFor();
  await panel.locator('button', { hasText: 'to 100%' }).click();
  await panel.locator('text=gets all requests for numbers.').waitFor();
});

const versionOf = ({ lorikeet }: FineTuningJob) => Number(lorikeet['version']);

test('a version is released and rolled back with the keyboard alone', async (t) => {
  const page = await open(t, '/adapters');
  const focused = () => page.evaluate<string>('document.activeElement.textContent');
  const tab = async (text: string) => {
    for (let i = 0; i < 100 && (await focused()) !== text; i++) await page.keyboard.press('Tab');
    assert.equal(await focused(), text);
  };
  await page.locator('#search').fill('poems');
  await page.locator('#adapters tbody tr').nth(1).waitFor({ state: 'detached' });
  await page.locator('#search').focus();
  await tab('poems');
  await page.keyboard.press('Enter');
  await page.locator('h1', { hasText: 'poems' }).waitFor();
  await tab('Release…');
  await page.keyboard.press('Enter');
  await page.locator('#release-dialog[open]').waitFor();
  assert.equal(await page.evaluate('document.activeElement.id'), 'release-version');
  await page.keyboard.press('ArrowDown');
  await page.locator('#release-says', { hasText: 'poems get version 1' }).waitFor();
  await tab('Release');
  await page.keyboard.press('Enter');
  const latest = rowOf(page, 'latest');
  await latest.locator('[role=status]', { hasText: /→ version 1$/ }).waitFor();
  assert.equal(await focused(), 'Release…', 'the dialog gives the focus back');
  await page.locator('h1').focus();
  await tab('Roll back to version 2');
  await page.keyboard.press('Enter');
  await latest.locator('[role=status]', { hasText: /→ version 2$/ }).waitFor();
  assert.match(await focused(), /^latest/);
  await page.keyboard.press('Shift+Tab');
  assert.notEqual(await page.evaluate('document.activeElement.tagName'), 'BODY');
});

test('an uploaded file is deleted, and the rows of the others stay', async (t) => {
  await upload('to-keep', 3);
  const id = await upload('to-delete', 3);
  const page = await open(t, '/adapters');
  const row = page.locator('#files tr', { hasText: 'to-delete.jsonl' });
  const other = page.locator('#files tr', { hasText: 'to-keep.jsonl' });
  await other.evaluate((row) => row.setAttribute('data-same', ''));
  await row.locator('button', { hasText: 'Delete' }).click();
  await page.locator('#confirm-yes').click();
  await page.locator('#files-help', { hasText: 'Deleted to-delete.jsonl' }).waitFor();
  assert.notEqual(await other.getAttribute('data-same'), null);
  assert.equal(await row.count(), 0);
  assert.notEqual(await page.evaluate('document.activeElement.tagName'), 'BODY');
  assert.equal((await fetch(`${pages.server.url}/v1/files/${id}`)).status, 404);
});

test('while the server is dead the status page shows its last figures and since when', async (t) => {
  const port = await freePort();
  const own = [...TOY_MODEL, ...FLAGS, '--port', String(port)];
  const ownHome = path.join(pages.home, 'dies');
  const first = await startServing(own, ownHome);
  const { page } = await openPage(t, pages.browser, `${first.url}/status`);
  await page.locator('#state', { hasText: 'Ready' }).waitFor();
  await page.locator('#server dd', { hasText: 'toy' }).waitFor();
  await page.locator('#busiest tr', { hasText: 'toy (base)' }).waitFor();
  first.child.kill('SIGKILL');
  await page.locator('#state.bad', { hasText: /Not reachable since \d/ }).waitFor();
  assert.match(await textOf(page.locator('#problem')), /are from \d.*when it was ready/);
  assert.ok(await page.locator('#figures.stale').isVisible());
  assert.deepEqual(await accessFaults(page), []);
  await serveFor(t, own, ownHome);
  await page.locator('#state:not(.bad)', { hasText: 'Ready' }).waitFor();
  assert.equal(await page.locator('#figures.stale').count(), 0);
});

/** Page → how to show all of its parts. */
const STATES: Record<string, () => { where: string; show: (page: Page) => Promise<void> }> = {
  'a job': () => ({
    where: `/fine-tuning#${jobs[0]!.id}`,
    show: (page) => page.locator('#results .kept').waitFor(),
  }),
  "a training loop's run": () => ({
    where: `/fine-tuning#${RUN}`,
    show: (page) => page.locator('#run-checkpoints li').waitFor(),
  }),
  'a comparison': () => ({
    where: `/fine-tuning#compare=${jobs.map(({ id }) => id).join()}`,
    show: (page) => page.locator('#compared tbody tr').first().waitFor(),
  }),
  'the adapters': () => ({
    where: '/adapters',
    show: async (page) => {
      await page.locator('#adapters tbody tr').first().waitFor();
      await page.locator('#files tbody tr').first().waitFor();
    },
  }),
  'an adapter': () => ({
    where: '/adapters#local/numbers',
    show: async (page) => {
      await page.locator('summary', { hasText: 'Describe' }).click();
      await page.locator('#training dd').first().waitFor();
    },
  }),
  'the status': () => ({
    where: '/status',
    show: (page) => page.locator('#server dd').first().waitFor(),
  }),
};
for (const [name, state] of Object.entries(STATES)) {
  test(`${name} passes axe in both themes, and fits a phone and a zoom of 200%`, async (t) => {
    const { where, show } = state();
    const page = await open(t, where);
    await show(page);
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      assert.deepEqual(await accessFaults(page), [], colorScheme);
    }
    await page.setViewportSize({ width: 640, height: 400 }); // a laptop's, at a zoom of 200%
    assert.equal(await overhang(page), 0, 'at 200%');
    const phone = await open(t, where, PHONE);
    await show(phone);
    assert.equal(await overhang(phone), 0);
  });
}

testUnless(skipUnlessLong)(
  'at 50 kB/s the pages are usable within 5 s, and nothing moves',
  async (t) => {
    const paths = ['/', '/fine-tuning', ...Object.values(STATES).map((state) => state().where)];
    for (const options of [{}, PHONE]) {
      const page = await open(t, '/pages/icon.svg', options);
      const urls = paths.map((where) => `${pages.server.url}${where}`);
      const loads = await measureLoads(page, urls, 50_000);
      for (const [i, { ms, shift }] of loads.entries()) {
        t.diagnostic(`${paths[i]}: ${Math.round(ms)} ms, ${shift.toFixed(3)} moved`);
        assert.ok(ms < 5_000, `${paths[i]}: ${ms} ms`);
        assert.ok(shift < 0.05, `${paths[i]}: ${shift}`);
      }
    }
  },
);
