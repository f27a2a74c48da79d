// The pages in a real browser, on the toy base: from an empty server to the answer of a trained adapter, with the mouse, with
// the keyboard, on a phone, in light and dark.
import assert from 'node:assert/strict';
import path from 'node:path';
import type { Page } from 'playwright-core';
import { fetchJson, postJson } from '../api.ts';
import {
  accessFaults,
  jsonlFile,
  measureLoads,
  openPage,
  overhang,
  PHONE,
  START,
  servePages,
  THEMES,
  TOY_MODEL,
  test,
  textOf,
} from './browser.ts';
import { hasFocus, pressAt, tabTo } from './keyboard.ts';
import { chat, readCode } from './playground-page.ts';
import { createKey, serveFor } from './program.ts';
import { numberRows } from './rows.ts';
import { writeToyAdapter } from './toy-adapter.ts';

/** A training file for jobs with ten steps per epoch. */
const ROWS = numberRows(40);

const pages = servePages((home) => {
  for (const [i, name] of ['parrot', 'zebra'].entries()) {
    writeToyAdapter(path.join(home, 'adapters', name), i + 1);
  }
  return ['--adapters', path.join(home, 'adapters'), '--slots', '4', '--weights', 'f32'];
});
const { open } = pages;

test('the greeting shows their address', () => {
  assert.ok(pages.server.output.out.includes(`${pages.server.url}/`));
  assert.match(pages.server.output.out, /[Pp]layground/);
});

test('a file is dropped, corrected, planned and trained, and the adapter answers', async (t) => {
  const { page } = await open(t, '/fine-tuning');
  await page.locator('a', { hasText: 'New job' }).click();
  const bad = [...ROWS.slice(0, 12), '{"messages": []}', ...ROWS.slice(12, 20), 'no JSON'];
  await drop(page, '#training-drop', bad.join('\n'));
  const lines = page.locator('#bad-lines li');
  await lines.nth(1).waitFor();
  assert.deepEqual(await lines.locator('strong').allTextContents(), ['Line 13', 'Line 22']);
  assert.deepEqual(await lines.locator('pre').allTextContents(), ['{"messages": []}', 'no JSON']);
  assert.ok(await page.locator('#start-button').isDisabled());

  await page.locator('#training-file').setInputFiles(jsonlFile('numbers.jsonl', ROWS));
  await page.locator(START).waitFor();
  await page.locator('#validation-file').setInputFiles(jsonlFile('more.jsonl', ROWS.slice(0, 8)));
  await page.locator('#plan dd', { hasText: '8 examples' }).waitFor();
  await page.locator('#suffix').fill('Numbers');
  await page.locator('summary', { hasText: 'Hyperparameters' }).click();
  await page.locator('#batch_size').fill('4');
  await page.locator('#n_epochs').fill('2');
  await page.locator('#n_epochs').blur();
  await page.locator('#plan dd', { hasText: '20, 10 per epoch' }).waitFor();
  assert.match((await page.locator('#plan .warning').allTextContents()).join(), /also trained on/);
  assert.deepEqual(
    (await page.locator('#plan pre mark').allTextContents()).map((text) => text.trim()),
    (await page.locator('#plan pre').allTextContents()).map((text) => /odd|even/.exec(text)?.[0]),
  );
  await page.locator('#start-button').click();
  await page.locator('#job-name .succeeded, #job-name .failed').waitFor();
  assert.deepEqual(await page.locator('#job-problems .problem').allTextContents(), []);
  assert.match(await textOf(page.locator('#job-name')), /Numbers\s*succeeded/);
  const label = await page.locator('#loss-chart [role=img]').getAttribute('aria-label');
  assert.match(label ?? '', /step 20, training loss [\d.]+/);
  await page.locator('#loss-chart canvas').waitFor(); // the page loads the library with the first step
  const events = await page.locator('#events li').allTextContents();
  assert.match(events[0]!, /The job has successfully completed/);
  assert.equal(events.filter((text) => /Step \d+\/20/.test(text)).length, 20);
  assert.ok((await page.locator('#gates .passed').count()) >= 3);
  await page.locator('#job-facts', { hasText: 'numbers.jsonl' }).waitFor();
  const [table] = await Promise.all([
    page.waitForEvent('download'),
    page.locator('#downloads button').first().click(),
  ]);
  assert.match(table.suggestedFilename(), /\.csv$/);

  await page.locator('#results a').first().click();
  assert.match(await page.locator('#model').inputValue(), /^ft:toy:local:numbers:/);
  await chat(page, 'Number 3?');
  assert.equal(await page.locator('.answer .facts', { hasText: 'token' }).count(), 2);
});

test('without a mouse a table becomes a job, which is paused, cancelled, compared and tried', async (t) => {
  const { page } = await open(t, '/fine-tuning');
  await pressAt(page, 'a[href="#new"]', 'Enter');
  await page.locator('#form-title:focus').waitFor();
  const press = (selector: string, ...keys: string[]) => pressAt(page, selector, ...keys);
  const rows = ROWS.map((_, i) => `${i},"What, ${i}?",${i % 2 ? 'odd' : 'even'}`);
  await tabTo(page, '#training-file');
  const table = jsonlFile('quiz.csv', ['id,question,kind', ...rows]);
  await page.locator('#training-file').setInputFiles(table);
  await page.locator('#table-dialog').waitFor();
  await press('#role-prompt', 'i'); // the column `id`
  await page.locator('#table-first', { hasText: '"content": "0"' }).waitFor();
  await press('#table-yes', 'Enter');
  await page.locator('#training-drop', { hasText: 'quiz.jsonl' }).waitFor();
  await press('#split', ...Array(5).fill('ArrowRight'));
  await press('#suffix', 'K', 'e', 'y', 's');
  await press('#new-job summary:not(#grader-trial > *)', 'Enter');
  await press('#n_epochs', '5', '0');
  await press('#batch_size', '1');
  await page.locator('#plan dd', { hasText: '1,900, 38 per epoch' }).waitFor();
  await page.locator(START).waitFor();
  await press('#start-button', 'Enter');

  await page.locator('#results a').first().waitFor(); // a checkpoint
  assert.ok(await page.locator('#job-progress progress').isVisible());
  const [pause = '', resume = '', cancel = ''] = [1, 1, 2].map(
    (i) => `#job-actions button:nth-child(${i})`,
  );
  await press(pause, 'Enter');
  await page.locator('#job-name .paused').waitFor();
  assert.ok(await hasFocus(page, resume));
  await press(resume, 'Space');
  await page.locator('#job-name .running').waitFor();
  assert.ok(await hasFocus(page, pause));
  await press(cancel, 'Enter');
  assert.ok(await hasFocus(page, '#confirm-no'));
  await press('#confirm-yes', 'Escape');
  assert.ok(await hasFocus(page, cancel));
  await press(cancel, 'Enter');
  // Asked again before the page hears that the dialog was closed, as by a user who is faster than a busy browser.
  const again = `document.querySelector('#confirm-dialog').close(); document.querySelector('${cancel}').click()`;
  await page.evaluate(again);
  await page.locator('#confirm-dialog[open] #confirm-no:focus').waitFor();
  await press('#confirm-yes', 'Enter');
  await page.locator('#job-name .cancelled').waitFor();
  assert.ok(await hasFocus(page, '#job-name'));
  assert.equal(await page.locator('#job-actions button:visible').count(), 0);

  const { hash } = new URL(page.url());
  await press('a[href="#all"]', 'Enter');
  const row = page.locator('#jobs tr', { hasText: 'Keys' });
  await row.locator('.cancelled').waitFor();
  for (const i of [1, 2]) await press(`#jobs tbody tr:nth-child(${i}) input`, 'Space');
  await press('#compare-button', 'Enter');
  await page.locator('#compared thead a').nth(1).waitFor();
  assert.ok(await hasFocus(page, '#comparison-title'));
  await press('nav a[href="status"]', 'Enter');
  await row.locator('.cancelled').waitFor();
  await press(`#jobs a[href$="${hash}"]`, 'Enter');
  await page.locator('#job-name .cancelled').waitFor();
  await page.locator('#results a').first().waitFor();
  await press('#results a', 'Enter');
  await page.locator('#chosen', { hasText: 'keys' }).waitFor({ state: 'attached' });
  await press('#prompt', 'W', 'h', 'o', 'Enter');
  await page.locator('.answer .facts', { hasText: 'token' }).nth(1).waitFor();
});

test('a grader in Python is offered if the server runs them', async (t) => {
  const { page } = await open(t, '/fine-tuning#new');
  const method = page.locator('#method');
  const python = page.locator('#grader-template option[value=python]');
  const asked = page.waitForResponse((one) => !!one.request().postData()?.includes('def grade'));
  await method.selectOption('reinforcement');
  assert.equal((await asked).status(), 400);
  assert.equal(await python.count(), 0);
  await page.route('**/graders/validate', (route) => route.fulfill({ json: {} }));
  await page.reload();
  await python.waitFor({ state: 'attached' });
  await page.locator('#grader-template').selectOption('python');
  assert.match(await page.locator('#grader').inputValue(), /def grade\(sample, item\)/);
});

test('the status page counts requests while it is open', async (t) => {
  const { page } = await open(t, '/status');
  const tile = (name: string) =>
    page.locator('#tiles > div', { has: page.locator('dt', { hasText: name }) });
  await tile('Slots in use').locator('dd', { hasText: '0 of 4' }).waitFor();
  const body = { model: 'zebra', prompt: 'Hello', max_tokens: 50, ignore_eos: true };
  await postJson(`${pages.server.url}/v1/completions`, body);
  await page.locator('#rate [role=img][aria-label*="generated"]').waitFor();
  await tile('First token')
    .locator('dd', { hasText: /\d m?s/ })
    .first()
    .waitFor();
  await page.locator('#busiest tr', { hasText: 'zebra' }).waitFor();
  assert.match(await textOf(page.locator('#tiers')), /Slots.*Memory.*Disk/s);
  assert.equal(await page.locator('#state').evaluate((e) => e.textContent?.split(',')[0]), 'Ready');
  const request = page.locator('#requests tr', { hasText: 'zebra' });
  assert.match(await textOf(request.first()), /^zebralocalok\d+50/);
  await page.locator('#reasons li', { hasText: /Nothing waits|The CPU is busy/ }).waitFor();
  await page.locator('#hours tbody tr').first().waitFor();
});

for (const [name, options] of Object.entries({ desktop: {}, phone: PHONE })) {
  test(`nothing moves while the pages load on a ${name}`, async (t) => {
    const { page } = await open(t, '/pages/icon.svg', options);
    const jobs = `${pages.server.url}/v1/fine_tuning/jobs`;
    const { data } = await fetchJson<{ data: { id: string }[] }>(jobs);
    const job = `/fine-tuning#${data[0]!.id}`;
    const paths = ['/', '/fine-tuning', job, '/adapters', '/status', '/docs'];
    const urls = paths.map((where) => `${pages.server.url}${where}`);
    const loads = await measureLoads(page, urls);
    for (const [i, { shift }] of loads.entries()) assert.ok(shift < 0.05, `${paths[i]}: ${shift}`);
  });
}

/** Pages, and how to show all of their parts. */
const STATES: readonly (readonly [where: string, show: (page: Page) => Promise<void>])[] = [
  ['/fine-tuning', (page) => page.locator('#jobs tbody tr').first().waitFor()],
  [
    '/fine-tuning#new',
    async (page) => {
      await page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true");
      await page.locator('#training-file').setInputFiles(jsonlFile('rows.jsonl', ROWS));
      await page.locator('#plan mark').first().waitFor();
    },
  ],
  [
    '/fine-tuning#new',
    async (page) => {
      const bad = JSON.stringify({ bad: 'x'.repeat(300) });
      await page.locator('#training-file').setInputFiles(jsonlFile('bad.jsonl', [bad, ...ROWS]));
      await page.locator('#bad-lines li').first().waitFor();
    },
  ],
  [
    '/fine-tuning#job',
    async (page) => {
      await page.locator('#jobs tr', { hasText: 'Numbers' }).locator('a').click();
      await page.locator('#results a').first().waitFor();
      await page.locator('#gates li').first().waitFor();
    },
  ],
  [
    '/status',
    async (page) => {
      await page.locator('#tiers tbody tr').first().waitFor();
      await page.locator('#jobs tbody tr').first().waitFor();
    },
  ],
];
for (const [where, show] of STATES) {
  for (const colorScheme of THEMES) {
    test(`axe finds nothing serious on ${where} in ${colorScheme}`, async (t) => {
      const { page } = await open(t, where, { colorScheme });
      await show(page);
      assert.deepEqual(await accessFaults(page), []);
    });
  }
  test(`${where} fits a phone`, async (t) => {
    const { page } = await open(t, where, PHONE);
    await show(page);
    assert.equal(await overhang(page), 0);
  });
}

test('on a server with keys a page asks for one, keeps it for the tab, and works below a base path', async (t) => {
  const keyedHome = path.join(pages.home, 'keyed');
  const { key } = await createKey('acme', keyedHome);
  const keyed = await serveFor(t, [...TOY_MODEL, '--slots', '2'], keyedHome, {
    LORIKEET_BASE_PATH: '/openai',
  });
  const { page } = await openPage(t, pages.browser, `${keyed.url}/openai/`);
  const dialog = page.locator('#account-dialog');
  await dialog.waitFor();
  assert.ok(await page.locator('#account-key-problem').isHidden());
  await page.keyboard.type('wrong');
  await page.keyboard.press('Enter');
  await page.locator('#account-key-problem').waitFor();
  assert.deepEqual(await accessFaults(page), []);
  await page.locator('#account-key').fill(key);
  await page.keyboard.press('Enter');
  await dialog.waitFor({ state: 'hidden' });
  await page.locator('#chosen', { hasText: 'toy' }).waitFor({ state: 'attached' });
  await chat(page, 'Hello');
  assert.equal(await page.locator('.answer .facts', { hasText: 'token' }).count(), 1);
  const code = await readCode(page, 'curl');
  assert.ok(code.includes('$OPENAI_API_KEY') && !code.includes(key));
  await page.keyboard.press('Escape');
  assert.equal(await page.evaluate('localStorage.length + document.cookie.length'), 0);
  for (const [name, path, shown] of [
    ['Fine-tuning', 'fine-tuning', '#jobs-help:text("No jobs yet")'],
    // With keys there is one slot beside --slots, for tenants with less than their share.
    ['Status', 'status', 'body:has(#more:visible) #tiles dd:text("0 of 3")'],
    ['API docs', 'docs', '.operation:has-text("/v1/chat/completions")'],
  ] as const) {
    await page.locator('nav a', { hasText: name }).click();
    assert.equal(page.url(), `${keyed.url}/openai/${path}`);
    await page.locator(shown).first().waitFor();
  }
  assert.ok(!(keyed.output.out + keyed.output.error).includes(key));
});

/** Drops a file on an element. */
async function drop(page: Page, selector: string, text: string): Promise<void> {
  const dataTransfer = await page.evaluateHandle(`(() => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([${JSON.stringify(text)}], 'dropped.jsonl'));
    return transfer;
  })()`);
  await page.dispatchEvent(selector, 'drop', { dataTransfer });
}
