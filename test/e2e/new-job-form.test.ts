// The form of a new fine-tuning job, on a slow network and with a server that dies: Start is enabled only if the plan on the
// page matches the settings.
import assert from 'node:assert/strict';
import path from 'node:path';
import type { TestContext } from 'node:test';
import type { Page } from 'playwright-core';
import { recommendCompute } from '../../trainer/planner/method-memory.ts';
import { freePort } from '../free-port.ts';
import {
  accessFaults,
  jsonlFile,
  openPage,
  overhang,
  START,
  servePages,
  slowDown,
  TOY_MODEL,
  test,
  textOf,
} from './browser.ts';
import { pressAt } from './keyboard.ts';
import { untilTrue } from './playground-page.ts';
import { serveFor, startServing } from './program.ts';
import { numberRows } from './rows.ts';

/** The delay of a slow response. */
const SLOW_MS = 3_000;

const FLAGS = ['--slots', '2', '--weights', 'f32', '--train-priority', 'nice'];
const pages = servePages(() => FLAGS);
const TRAINING_FILE = jsonlFile('train.jsonl', numberRows(40));
const VALIDATION_FILE = jsonlFile('held-out.jsonl', numberRows(8));

async function openForm(t: TestContext, url = pages.server.url) {
  const { page } = await openPage(t, pages.browser, `${url}/fine-tuning#new`);
  await page.locator('summary', { hasText: 'Hyperparameters' }).click();
  return page;
}

/** Opens the form with a training file, whose plan is shown. */
async function openWithRows(t: TestContext, url?: string) {
  const page = await openForm(t, url);
  await page.locator('#training-file').setInputFiles(TRAINING_FILE);
  await page.locator(START).waitFor();
  return page;
}

/** Delays every upload. */
async function slowUploads(page: Page): Promise<void> {
  await page.route('**/v1/files', async (route) => {
    if (route.request().method() === 'POST') await page.waitForTimeout(SLOW_MS);
    await route.continue();
  });
}

/** Presses Start and returns the body that is sent. */
async function pressStart(page: Page) {
  const sent = page.waitForRequest(
    (request) =>
      request.url().endsWith('/fine_tuning/jobs') &&
      request.method() === 'POST' &&
      !request.postDataJSON().lorikeet?.dry_run, // a plan may be under way
  );
  await page.locator(START).click();
  return (await sent).postDataJSON();
}

/** Cancels the job that a test has started. */
async function cancelJob(page: Page): Promise<void> {
  await page.waitForURL(/#ftjob-/);
  const id = new URL(page.url()).hash.slice(1);
  await page.request.post(`${new URL(page.url()).origin}/v1/fine_tuning/jobs/${id}/cancel`);
}

test('a setting that changes during an upload is kept, and so is the file', async (t) => {
  const page = await openWithRows(t);
  await slowUploads(page);
  await page.locator('#validation-file').setInputFiles(VALIDATION_FILE);
  await page.locator('#n_epochs').fill('2');
  await page.locator('#n_epochs').blur();
  assert.ok(await page.locator('#start-button').isDisabled());
  await page.locator('#plan dd', { hasText: '8 examples' }).waitFor();
  const body = await pressStart(page);
  assert.match(body.validation_file, /^file-/);
  assert.equal(body.method.supervised.hyperparameters.n_epochs, 2);
  await cancelJob(page);
});

test('both files are uploaded in parallel, and the plan covers both', async (t) => {
  const page = await openForm(t);
  await slowUploads(page);
  await page.locator('#training-file').setInputFiles(TRAINING_FILE);
  await page.locator('#validation-file').setInputFiles(VALIDATION_FILE);
  await page.locator('#training-drop', { hasText: 'uploading' }).waitFor();
  await page.locator('#plan dd', { hasText: '8 examples' }).waitFor();
  assert.match(await textOf(page.locator('#training-drop')), /uploaded/);
  await page.locator(START).waitFor();
  // A removed file is neither in the plan nor sent.
  await page.getByRole('button', { name: 'Remove: Validation file' }).click();
  assert.ok(await page.locator('#start-button').isDisabled());
  await page.locator('#plan dd', { hasText: 'none' }).waitFor();
  const body = await pressStart(page);
  assert.equal(body.validation_file, undefined);
  await cancelJob(page);
});

test('the recommended arithmetic is preselected, and another choice stays', async (t) => {
  const page = await openWithRows(t);
  const compute = page.locator('#compute');
  const recommended = recommendCompute('qlora');
  assert.equal(await compute.inputValue(), recommended);
  await page.locator('#plan dd', { hasText: recommended }).waitFor();
  await compute.selectOption('float32');
  await page.locator('#plan dd', { hasText: 'float32' }).waitFor();
  const body = await pressStart(page);
  assert.equal(body.lorikeet.compute, 'float32');
  await cancelJob(page);
});

test('Start waits for the plan of the typed settings', async (t) => {
  const page = await openWithRows(t);
  await page.locator('#n_epochs').pressSequentially('4');
  assert.ok(await page.locator('#start-button').isDisabled());
  await page.locator('#plan dd', { hasText: '20, 5 per epoch' }).waitFor();
  await page.locator('#n_epochs').fill('-1');
  await page.locator('#plan .problem', { hasText: 'Epochs' }).waitFor();
  assert.ok(await page.locator('#start-button').isDisabled());
});

test('a file of pairs offers to switch to preference, and its plan shows both outputs', async (t) => {
  const page = await openForm(t);
  const output = (content: string) => [{ role: 'assistant', content }];
  const pairs = Array.from({ length: 16 }, (_, i) =>
    JSON.stringify({
      input: { messages: [{ role: 'user', content: `What is ${i}?` }] },
      preferred_output: output('Blue.'),
      non_preferred_output: output('Red.'),
    }),
  );
  await page.locator('#training-file').setInputFiles(jsonlFile('pairs.jsonl', pairs));
  const change = page.getByRole('button', { name: 'Switch to preference' });
  await change.waitFor();
  assert.equal(await page.locator('#plan [role=alert]').count(), 1);
  assert.ok(await page.locator('#beta').isHidden());
  await change.click();
  assert.equal(await page.locator('#method').inputValue(), 'dpo');
  await page.locator('#plan pre', { hasText: 'Non-preferred' }).first().waitFor();
  await page.locator('#beta').fill('0.3');
  await page.locator('#beta').blur();
  const body = await pressStart(page);
  assert.deepEqual(body.method, { type: 'dpo', dpo: { hyperparameters: { beta: 0.3 } } });
  await cancelJob(page);
});

test('with keys a grader is tried on a row, and the samples of its job are read', async (t) => {
  const page = await openForm(t);
  const prompts = Array.from({ length: 10 }, (_, i) =>
    JSON.stringify({ messages: [{ role: 'user', content: `What is ${i}?` }], wanted: 'Blue.' }),
  );
  await page.locator('#method').selectOption('reinforcement');
  await page.locator('#training-file').setInputFiles(jsonlFile('prompts.jsonl', prompts));
  await pressAt(page, '#grader-trial summary', 'Enter');
  await page.locator('#trial-item pre', { hasText: 'item.wanted: Blue.' }).waitFor();
  const [grader, verdict] = [page.locator('#grader'), page.locator('#grader-verdict')];
  await page.locator('#grader-template').selectOption('multi');
  const template = await grader.inputValue();
  assert.match(template, /"\{\{item.wanted\}\}"/);
  for (const [from, to, reason] of [
    ['{', '', 'Not JSON'],
    ['0.7 * equal', 'equals', '"equals" is not one of the graders'],
    ['item.wanted', 'item.answer', 'row 1 lacks item.answer. It has wanted.'],
  ] as const) {
    await grader.fill(template.replace(from, to));
    await verdict.filter({ hasText: reason }).waitFor();
    assert.equal(await grader.getAttribute('aria-invalid'), String(!reason.includes('row 1')));
  }
  await grader.fill(template.replace('0.7 * equal', '0.5 * equal'));
  await verdict.filter({ hasText: /^Valid$/ }).waitFor();
  await page.locator('#trial-output').fill('Blue.');
  await pressAt(page, '#trial-run', 'Enter');
  await page.locator('#trial-result', { hasText: 'Reward0.8equal1alike1' }).waitFor();
  await pressAt(page, '#trial-sample', 'Space');
  await page.locator('#trial-result', { hasText: /Reward0\.[0-2]/ }).waitFor();
  assert.notEqual(await page.locator('#trial-output').inputValue(), 'Blue.');
  assert.deepEqual(await accessFaults(page), []);

  for (const [id, value] of [
    ['n_epochs', '1'],
    ['batch_size', '5'],
    ['completions', '4'],
    ['completion_length', '4'],
  ] as const) {
    await page.locator(`#${id}`).fill(value);
  }
  await page.locator('#reasoning_effort').selectOption('low');
  await page.locator('#plan h3', { hasText: 'The first prompts' }).waitFor();
  const { method, lorikeet } = await pressStart(page);
  assert.equal(method.reinforcement.grader.calculate_output, '0.5 * equal + 0.3 * alike');
  assert.equal(method.reinforcement.hyperparameters.reasoning_effort, 'low');
  assert.deepEqual([lorikeet.completions, lorikeet.completion_length], [4, 4]);
  await page.locator('#sample-label', { hasText: 'Step 2, the newest' }).waitFor();
  await pressAt(page, '#sample-earlier', 'Enter');
  await page.locator('#sample-label', { hasText: 'Step 1 of 2' }).waitFor();
  await pressAt(page, '#sample-step:focus', 'ArrowRight', 'ArrowLeft');
  await pressAt(page, '#sample-prompt-4', 'Enter');
  const samples = page.locator('#samples details', { hasText: 'Prompt 5' }).locator('li');
  const rewards = (await samples.locator('strong').allTextContents()).map(Number);
  assert.deepEqual(
    rewards,
    rewards.toSorted((a, b) => b - a),
  );
  assert.match(await textOf(samples.first()), /equal 0 · alike 0\.\d+ · [1-4] tokens/);
  const label = await page.locator('#reward-chart [role=img]').getAttribute('aria-label');
  assert.match(label ?? '', /step [12], training reward 0\.\d+/);
  assert.ok(await page.locator('#loss-chart').isHidden());
  assert.deepEqual(await accessFaults(page), []);
  await page.setViewportSize({ width: 360, height: 740 });
  assert.equal(await overhang(page), 0);
  await cancelJob(page);
  await page.locator('#job-actions a', { hasText: 'Repeat' }).click();
  await untilTrue(page, 'document.querySelector("#compute_multiplier")?.value === "1"');
  await page.locator(START).waitFor();
  const repeated = await pressStart(page);
  const shown = { compute_multiplier: 1, learning_rate_multiplier: 1 }; // for `auto`
  assert.deepEqual(repeated.method.reinforcement, {
    ...method.reinforcement,
    hyperparameters: { ...shown, ...method.reinforcement.hyperparameters },
  });
  assert.deepEqual(repeated.lorikeet, lorikeet);
  await cancelJob(page);
});

test('an upload that fails because the server dies can be retried', async (t) => {
  const port = await freePort();
  const ownHome = path.join(pages.home, 'dies');
  const own = await startServing([...TOY_MODEL, ...FLAGS, '--port', String(port)], ownHome);
  t.after(() => own.child.kill('SIGKILL'));
  const page = await openWithRows(t, own.url);
  own.child.kill('SIGKILL');
  await page.locator('#validation-file').setInputFiles(VALIDATION_FILE);
  const problem = page.locator('#plan [role=alert]', {
    hasText: 'held-out.jsonl was not uploaded',
  });
  await problem.waitFor();
  assert.ok(await page.locator('#start-button').isDisabled());
  await serveFor(t, [...TOY_MODEL, ...FLAGS, '--port', String(port)], ownHome);
  await page.locator('#plan button', { hasText: 'Try again' }).click();
  await page.locator('#plan dd', { hasText: '8 examples' }).waitFor();
  await page.locator(START).waitFor();
});

test('the form shows what a typed name becomes', async (t) => {
  const page = await openWithRows(t);
  const suffix = page.locator('#suffix');
  await suffix.fill('My Model (v2)');
  await page.locator('#suffix-help', { hasText: 'called my-model-v2.' }).waitFor();
  await page.locator(START).waitFor();
  await suffix.fill('a/b');
  assert.ok(await page.locator('#start-button').isDisabled());
  assert.equal(await suffix.getAttribute('aria-invalid'), 'true');
  await suffix.fill('My Model (v2)');
  await pressStart(page);
  await page.locator('#job-facts', { hasText: 'my-model-v2' }).waitFor();
  await cancelJob(page);
});

test('a model name that does not fit into its field is shown whole below it', async (t) => {
  const page = await openForm(t);
  const name = 'ft:toy:local:numbers-of-the-second-quarter:01a2331906e3f5f8';
  await page.locator('#start-model').fill(name);
  await page.locator('#start-model').blur();
  assert.equal(await textOf(page.locator('#start-model-help')), name);
  await page.setViewportSize({ width: 360, height: 740 });
  assert.equal(await overhang(page), 0);
});

test('the plan of a classifier shows its classes and the class of each text', async (t) => {
  const page = await openForm(t);
  const lines = numberRows(12).map((_, i) =>
    JSON.stringify({ text: `Number ${i}`, label: i % 2 ? 'odd' : 'even' }),
  );
  await page.locator('#training-file').setInputFiles(jsonlFile('kinds.jsonl', lines));
  await page.locator('#plan dd', { hasText: '2: even, odd' }).waitFor();
  for (const text of await page.locator('#plan pre').allTextContents())
    assert.match(text, /[02468] → even$|[13579] → odd$/);
});

test('a draft and its files survive another page, and a name in use says what it replaces', async (t) => {
  const page = await openForm(t);
  await page.route('**/v1/models/taken', (route) =>
    route.fulfill({ json: { id: 'taken', object: 'model', parent: 'toy', root: 'taken@3' } }),
  );
  await page.route('**/v1/adapters/taken', (route) =>
    route.fulfill({ json: { id: 'local/taken', versions: [{ version: 7 }, { version: 3 }] } }),
  );
  await page.locator('#suffix').fill('Taken');
  const replaced = page.locator('#suffix-help .warning', { hasText: 'now get taken@3. If' });
  await replaced.filter({ hasText: 'becomes version 8 ' }).waitFor();
  await page.locator('#rank').fill('99');
  await page.locator('#training-file').setInputFiles(TRAINING_FILE);
  await page.locator('#plan .problem', { hasText: /rank 99 is over the limit of 64/ }).waitFor();
  await page.locator('#rank').fill('4');
  await page.locator(START).waitFor();
  await slowUploads(page);
  await page.locator('#validation-file').setInputFiles(VALIDATION_FILE);
  await page.locator('nav a', { hasText: 'Status' }).click();
  await page.locator('nav a', { hasText: 'Fine-tuning' }).click();
  await page.locator('a', { hasText: 'New job' }).click();
  await page.locator('#training-drop', { hasText: 'train.jsonl' }).waitFor();
  await page.locator('#plan .problem', { hasText: 'held-out.jsonl was not uploaded' }).waitFor();
  await page.getByRole('button', { name: 'Remove: Validation file' }).click();
  await page.locator(START).waitFor();
  assert.equal(await page.locator('#suffix').inputValue(), 'Taken');
  assert.equal(await page.locator('#rank').inputValue(), '4');
});

test('a table is converted, a part of it is held out, and its rows are chosen again', async (t) => {
  const page = await openForm(t);
  const rows = Array.from({ length: 20 }, (_, i) => `${i},"What, ${i}?",${i % 2 ? 'odd' : 'even'}`);
  const table = jsonlFile('quiz.csv', ['id,question,kind', ...rows, '20,No answer?,']);
  await page.locator('#training-file').setInputFiles(table);
  const count = page.locator('#table-count');
  await count.filter({ hasText: '20 rows. 1 row without a value' }).waitFor();
  assert.equal(await page.locator('#table-rows tbody tr').count(), 5);
  assert.equal(await page.locator('#role-prompt option:checked').textContent(), 'question');
  await page.locator('#table-first pre', { hasText: '"content": "What, 0?"' }).waitFor();
  await page.locator('#role-completion').selectOption('question');
  await count.filter({ hasText: 'Choose a different column' }).waitFor();
  assert.ok(await page.locator('#table-yes').isDisabled());
  await page.locator('#table-form').selectOption('classifier');
  await page.locator('#role-text').selectOption('question');
  await page.locator('#role-label').selectOption('kind');
  await count.filter({ hasText: '20 rows. 1 row without a value' }).waitFor();
  assert.deepEqual(await accessFaults(page), []);
  await page.locator('#table-yes').click();
  await page.locator('#training-drop', { hasText: 'quiz.jsonl' }).waitFor();
  await page.locator('#plan dd', { hasText: '2: even, odd' }).waitFor();
  await page.locator('#split').fill('25');
  await page.locator('#plan dd', { hasText: '5 examples' }).waitFor();
  const body = await pressStart(page);
  assert.equal(body.lorikeet.validation_split, 0.25);
  await cancelJob(page);

  await page.goto(`${pages.server.url}/fine-tuning#new`);
  await page.getByRole('button', { name: 'Use an uploaded file: Training file' }).click();
  await page.getByRole('button', { name: 'Use quiz.jsonl' }).click();
  await page.locator('#training-drop', { hasText: 'quiz.jsonl' }).waitFor();
  await page.locator('#plan dd', { hasText: '2: even, odd' }).waitFor();
});

test('a job leaves nothing in the form for the next one', async (t) => {
  const page = await openWithRows(t);
  const settings = { suffix: 'once', n_epochs: '2', batch_size: '4', seed: '7' };
  for (const [id, value] of Object.entries(settings)) await page.locator(`#${id}`).fill(value);
  await page.locator('summary', { hasText: 'Epochs 2, Batch size 4, Seed 7' }).waitFor();
  const { seed } = await pressStart(page);
  assert.equal(seed, 7);
  await cancelJob(page);
  for (const open of [() => page.goBack(), () => page.reload()]) {
    await open();
    await page.locator('#training-drop:not(.full)').waitFor();
    for (const id of Object.keys(settings))
      assert.equal(await page.locator(`#${id}`).inputValue(), '', id);
  }
});

test('a table in Latin 1 keeps its accents, takes a system prompt, and may be for a classifier', async (t) => {
  const page = await openForm(t);
  const rows = Array.from({ length: 20 }, (_, i) => `Größe ${i}?,${i % 2 ? 'möglich' : 'nein'}`);
  const buffer = Buffer.from(['question,answer', ...rows].join('\n'), 'latin1');
  const table = { name: 'größen.csv', mimeType: 'text/csv', buffer };
  await page.locator('#training-file').setInputFiles(table);
  await page.locator('#table-dialog .warning', { hasText: 'not UTF-8' }).waitFor();
  assert.match(await textOf(page.locator('#table-rows')), /Größe 0\?.*möglich/s);
  assert.match(await textOf(page.locator('#table-classes')), /2 answers: nein, möglich/);
  await page.locator('#table-system').fill('Antworte kurz.');
  const first = page.locator('#table-first pre');
  await first.filter({ hasText: '"content": "Antworte kurz."' }).waitFor();
  await first.filter({ hasText: '"content": "Größe 0?"' }).waitFor();
  assert.deepEqual(await accessFaults(page), []);
  await page.locator('#table-yes').click();
  await page.locator('#plan pre', { hasText: 'Antworte kurz.' }).first().waitFor();
  await page.getByRole('button', { name: 'Train a classifier' }).press('Enter');
  await page.locator('#plan dd', { hasText: '2: möglich, nein' }).waitFor();
});

test('bad lines are skipped, and what is left is planned', async (t) => {
  const page = await openForm(t);
  const bad = Array.from({ length: 20 }, (_, i) => (i % 2 ? 'no JSON' : '{"text": ""}'));
  const rows = [...bad, ...numberRows(20), '{"messages": 1}', ...numberRows(5)];
  await page.locator('#training-file').setInputFiles(jsonlFile('some-bad.jsonl', rows));
  await page.locator('#bad-lines li').nth(9).waitFor();
  await page.getByRole('button', { name: 'Skip the 21 bad lines and continue' }).press('Enter');
  await page.locator('#plan .lead', { hasText: '25 examples, all lines valid' }).waitFor();
});

test('a table that cannot be read says why, and one whose reader does not load is tried again', async (t) => {
  const page = await openForm(t);
  const table = { name: 'quiz.csv', mimeType: 'text/csv', buffer: Buffer.from('text,label\na,b') };
  await page.evaluate(`File.prototype.arrayBuffer = () => {
    delete File.prototype.arrayBuffer;
    return Promise.reject(new Error('It has changed.'));
  }`);
  await page.locator('#training-file').setInputFiles(table);
  await page.locator('#start-problem', { hasText: 'quiz.csv could not be read: It has' }).waitFor();
  let refused = 0;
  await page.route(/shared-/, (route) => (refused++ === 0 ? route.abort() : route.continue()));
  await page.locator('#training-file').setInputFiles(table);
  await page.locator('#table-count', { hasText: '1 row.' }).waitFor();
  assert.ok(refused > 0);
  assert.ok(await page.locator('#start-problem').isHidden());
});

test('an upload shows how far it is', async (t) => {
  const page = await openForm(t);
  await slowDown(page, 0, 200_000);
  const lines = numberRows(40).map((row) => row.replace('}', `}${' '.repeat(10_000)}`));
  await page.locator('#training-file').setInputFiles(jsonlFile('long.jsonl', lines));
  const value = () =>
    page.evaluate<number>("document.querySelector('#training-drop progress').value");
  let share = 0;
  while (share === 0) share = await value();
  assert.ok(share > 0 && share < 1, String(share));
  await page.locator('#training-drop progress').waitFor({ state: 'hidden' });
});

test('of 500 invalid lines the first ten are shown', async (t) => {
  const page = await openForm(t);
  const bad = Array.from({ length: 500 }, (_, i) => (i % 2 ? '{"text": ""}' : '{"bad": 1}'));
  await page.locator('#training-file').setInputFiles(jsonlFile('bad.jsonl', bad));
  await page.locator('#bad-lines li').nth(9).waitFor();
  assert.match(await textOf(page.locator('#plan .problem')), /500 bad lines/);
  assert.equal(await page.locator('#bad-lines li').count(), 10);
  const equal = Array.from({ length: 500 }, (_, i) => `{"bad": ${i}}`);
  await page.locator('#training-file').setInputFiles(jsonlFile('equal.jsonl', equal));
  await page
    .locator('#plan .problem', { hasText: '500 lines have the same fault: has neither' })
    .waitFor();
  assert.equal(await page.locator('#bad-lines li').count(), 1);
  assert.equal(await page.locator('#plan button').count(), 0);
});

test('a file that is dropped beside the field is ignored', async (t) => {
  const page = await openForm(t);
  for (const type of ['dragover', 'drop']) {
    const isLeft = await page.evaluate(`(() => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File(['x'], 'stray.jsonl'));
      const event = new DragEvent('${type}', { dataTransfer, bubbles: true, cancelable: true });
      return document.querySelector('h1').dispatchEvent(event);
    })()`);
    assert.equal(isLeft, false, `${type}: the browser would open the file`);
  }
  assert.equal(await page.locator('.drop.full').count(), 0);
});
