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
  servePages,
  TOY_MODEL,
  test,
  textOf,
} from './browser.ts';
import { chat } from './playground-page.ts';
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
    for (const name of ['poems', 'vectors']) await publish(name, directory);
  }
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
  await page.locator('#compared-validation [role=img][aria-label*="2 jobs"]').waitFor();
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
  await page.locator('#plan dd', { hasText: '4, 4 per epoch' }).waitFor({ timeout: 60_000 });
  const sent = page.waitForRequest((request) => request.method() === 'POST');
  await page.locator('#start-button:enabled').click();
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
  const row = page.locator('#jobs tbody tr', { hasText: 'Numbers' }).first();
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
  await page.locator('.notice', { hasText: 'from 1e-9 to 1.' }).waitFor();
  await page.locator('.notice a').click();
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

test('adapters are shown, promoted, rolled back, downloaded and deleted', async (t) => {
  const page = await open(t, '/adapters');
  await slow(page);
  await page
    .locator('.adapter', { hasText: 'parrot' })
    .locator('.pill', { hasText: 'local folder' })
    .waitFor();
  const card = page.locator('.adapter', { has: page.locator('h2', { hasText: 'numbers' }) });
  const latest = card.locator('.aliases li', { hasText: 'latest' });
  const before = (await latest.locator('div').first().textContent())!;
  await card.locator('summary', { hasText: /^\d+ versions$/ }).click();
  const versions = card.locator('[id^=versions] > .versions li');
  const count = await versions.count();
  assert.ok(count >= 2);
  const [saved] = await Promise.all([
    page.waitForEvent('download'),
    versions.first().locator('button', { hasText: 'Download' }).click(),
  ]);
  assert.match(saved.suggestedFilename(), /^adapter_/);
  const oldest = (await versions.last().locator('strong').textContent())!.toLowerCase();
  await versions.last().locator('button', { hasText: 'Promote' }).click();
  await page
    .locator('#release-says', { hasText: /get version \d+ instead of version \d+\./ })
    .waitFor();
  await page.locator('#release-yes').click();
  await latest.locator('div', { hasText: new RegExp(`→ ${oldest}$`) }).waitFor();
  assert.ok(await versions.first().isVisible(), 'what was open stays open');
  assert.equal(await page.evaluate('document.activeElement.tagName'), 'H2');
  await latest.locator('button', { hasText: 'Roll back' }).click();
  await latest.locator('div', { hasText: before }).first().waitFor();
  // Deleting needs a confirmation.
  await card.locator('.head button', { hasText: 'Delete' }).click();
  await page.locator('#confirm-dialog button', { hasText: 'Keep' }).click();
  assert.equal(await card.count(), 1);
  await page.locator('#search').fill('no such');
  await page.locator('#adapters-help', { hasText: 'No adapter matches' }).waitFor();
});

test('an adapter without a released version is marked and comes last, and its versions are tried', async (t) => {
  const page = await open(t, '/pages/icon.svg');
  await page.route(/\/v1\/adapters\?/, async (route) => {
    const response = await route.fetch();
    const list = await response.json();
    const [{ versions, ...released }] = list.data;
    const version = { ...versions[0], version: 1, job: 'ftjob-1' };
    const refused = { ...released, id: 'local/a', name: 'a', aliases: [], versions: [version] };
    await route.fulfill({ response, json: { ...list, data: [refused, ...list.data] } });
  });
  await page.goto(`${pages.server.url}/adapters`);
  const cards = page.locator('.adapter', { has: page.locator('details') });
  await cards.nth(1).waitFor();
  const last = page.locator('[id="adapter-local/a"]');
  const ids = await cards.evaluateAll((all) => all.map(({ id }) => id));
  assert.ok(ids.indexOf('adapter-local/a') > ids.indexOf('adapter-local/vectors'), ids.join());
  await last.locator('.pill', { hasText: 'not released' }).waitFor();
  assert.equal(await last.locator('.warning a').getAttribute('href'), 'fine-tuning#ftjob-1');
  assert.equal(await last.locator('.head a').count(), 0);
  await last.locator('summary', { hasText: '1 version' }).click();
  assert.equal(await last.getByText('Try it').getAttribute('href'), './?model=a%401');
});

test('a classifier sorts a text, an embedding adapter compares two, and both are described', async (t) => {
  const page = await open(t, '/adapters');
  const cardOf = (name: string) =>
    page.locator('.adapter', { has: page.locator('h2', { hasText: name }) });
  const classifier = cardOf('sentiment');
  await classifier.locator('.pill', { hasText: 'classifier' }).waitFor();
  await classifier.locator('summary', { hasText: 'Classify a text' }).click();
  await classifier.getByLabel('Text', { exact: true }).fill('What a day');
  await classifier.locator('button', { hasText: 'Classify' }).click();
  await classifier.locator('.alternatives p').nth(1).waitFor();
  const classes = await classifier.locator('.alternatives code').allTextContents();
  assert.deepEqual(classes.sort(), ['glad', 'sad']);

  const card = cardOf('vectors');
  await card.locator('summary', { hasText: 'Describe' }).click();
  await card.getByLabel('Description').fill('Places similar texts close together.');
  await card.getByLabel('Tags').fill('search, short texts');
  await card.getByLabel('Example prompts').fill('a parcel\na parcel');
  await card.getByLabel('Used for').selectOption('embedding');
  await card.locator('button', { hasText: 'Save' }).click();
  await card.locator('.problem', { hasText: 'contains a prompt twice' }).waitFor();
  await card.getByLabel('Example prompts').fill('a parcel\na letter');
  const others = { description: 'Other words.', revision: 0 };
  await postJson(`${pages.server.url}/v1/adapters/vectors`, others);
  await card.locator('button', { hasText: 'Save' }).click();
  await card.locator('.problem', { hasText: '“Other words.”' }).waitFor();
  await card.locator('button', { hasText: 'Save' }).click();
  await card.locator('p.lead', { hasText: 'Places similar texts' }).waitFor();
  assert.deepEqual(await card.locator('.tags .pill').allTextContents(), ['search', 'short texts']);
  await card.locator('summary', { hasText: 'Compare two texts' }).click();
  assert.equal(await card.getByLabel('First text').inputValue(), 'a parcel');
  await card.getByLabel('Second text').fill('a parcel');
  await card.locator('button', { hasText: 'Compare' }).click();
  await card.locator('.alternatives span').nth(1).waitFor();
  assert.deepEqual(await card.locator('.alternatives span').allTextContents(), ['1.000', '1.000']);
  assert.deepEqual(await accessFaults(page), []);
  await page.goto(`${pages.server.url}/?model=vectors`);
  await page.locator('.example', { hasText: 'a letter' }).waitFor();
});

test('a version gets a share of an alias after a look at its answers, and goes back', async (t) => {
  const page = await open(t, '/adapters');
  const card = page.locator('.adapter', { has: page.locator('h2', { hasText: 'poems' }) });
  await card.locator('button', { hasText: 'Release…' }).click();
  const says = page.locator('#release-says');
  await says.locator('text=That is how it is now.').waitFor();
  assert.ok(await page.locator('#release-yes').isDisabled());
  await page.locator('#release-alias').fill('canary');
  await says.locator('text=New name: requests for poems:canary get version 2.').waitFor();
  await page.locator('#release-alias').fill('latest');
  await page.locator('#release-version').selectOption('1');
  await page.locator('#release-share').fill('10');
  await says.locator('text=then 90% version 2, 10% version 1').waitFor();
  await page.locator('#release-figures th', { hasText: 'Version 2' }).waitFor();
  assert.deepEqual(await accessFaults(page), []);
  await page.locator('summary', { hasText: 'Compare answers' }).click();
  await page.locator('#prompts').fill('Hello');
  await page.locator('#compare-answers').click();
  const answers = page.locator('.answer-cell');
  await answers.filter({ hasNotText: '…' }).nth(1).waitFor();
  for (const text of await answers.allTextContents()) assert.doesNotMatch(text, /^Failed/);
  await page.locator('#release-yes').click();
  const latest = card.locator('.aliases li', { hasText: 'latest' });
  await latest.locator('div', { hasText: '→ 90% version 2, 10% version 1' }).first().waitFor();
  await latest.locator('button', { hasText: 'Roll back to version 2' }).click();
  await latest.locator('div', { hasText: /→ version 2$/ }).waitFor();
});

test('a version is released and rolled back with the keyboard alone', async (t) => {
  const page = await open(t, '/adapters');
  const focused = () => page.evaluate<string>('document.activeElement.textContent');
  const tab = async (text: string) => {
    for (let i = 0; i < 100 && (await focused()) !== text; i++) await page.keyboard.press('Tab');
    assert.equal(await focused(), text);
  };
  await page.locator('#search').fill('poems');
  await page.locator('.adapter').nth(1).waitFor({ state: 'detached' });
  await page.locator('#search').focus();
  await tab('Release…');
  await page.keyboard.press('Enter');
  await page.locator('#release-dialog').waitFor();
  assert.equal(await page.evaluate('document.activeElement.id'), 'release-version');
  await page.keyboard.press('ArrowDown');
  await page.locator('#release-says', { hasText: 'poems get version 1' }).waitFor();
  await tab('Release');
  await page.keyboard.press('Enter');
  const latest = page.locator('.aliases li', { hasText: 'latest' });
  await latest.locator('div', { hasText: /→ version 1$/ }).waitFor();
  assert.equal(await focused(), 'Release…', 'the dialog gives the focus back');
  await tab('Roll back to version 2');
  await page.keyboard.press('Enter');
  await latest.locator('div', { hasText: /→ version 2$/ }).waitFor();
  assert.match(await focused(), /^poems/);
  await tab('2 versions');
  await page.keyboard.press('Enter');
  await page.locator('.versions li').nth(1).waitFor();
});

test('an uploaded file is deleted', async (t) => {
  const id = await upload('to-delete', 3);
  const page = await open(t, '/adapters');
  const row = page.locator('#files tr', { hasText: 'to-delete.jsonl' });
  await row.locator('button', { hasText: 'Delete' }).click();
  await page.locator('#confirm-yes').click();
  await page.locator('#files-help', { hasText: 'Deleted to-delete.jsonl' }).waitFor();
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
      await page.locator('.adapter summary').first().click();
      await page.locator('#files tbody tr').first().waitFor();
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
    for (const colorScheme of ['light', 'dark'] as const) {
      const page = await open(t, where, { colorScheme });
      await show(page);
      assert.deepEqual(await accessFaults(page), [], colorScheme);
      await page.setViewportSize({ width: 640, height: 400 }); // a laptop's, at a zoom of 200%
      assert.equal(await overhang(page), 0, 'at 200%');
    }
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
