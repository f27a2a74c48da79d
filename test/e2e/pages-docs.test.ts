// The API docs in a real browser, on a server with keys: the key is never on the page, examples and curl commands work, and
// the page is accessible.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import type { BrowserContextOptions, Page } from 'playwright-core';
import { accessFaults, overhang, PHONE, servePages, skipWithoutBrowser } from './browser.ts';
import { runLorikeet } from './program.ts';

const skip = skipWithoutBrowser;
let key = '';
const pages = servePages(async (home) => {
  const { out } = await runLorikeet(['keys', 'create', '--tenant', 'acme', '--json'], home);
  ({ key } = JSON.parse(out));
  return ['--slots', '2'];
});

async function open(t: TestContext, options?: BrowserContextOptions): Promise<Page> {
  const { page } = await pages.open(t, '/docs', options);
  await page.locator('#account-key').fill(key);
  await page.locator('#account-submit').click();
  await page.locator('.opblock-summary').first().waitFor();
  return page;
}

/** Sends an operation's example unchanged. */
async function tryOut(page: Page, operation: string): Promise<void> {
  const block = page.locator(`[id^=operations-][id$="${operation}"]`);
  await block.locator('.opblock-summary-control').click();
  await block.locator('.try-out__btn').click();
  await block.locator('.execute').click();
  await block.locator('.live-responses-table tbody .response-col_status').waitFor();
}

const status = (page: Page, operation: string) =>
  page
    .locator(`[id$="${operation}"] .live-responses-table tbody .response-col_status`)
    .first()
    .textContent();

test('an example is sent with the key, and its curl command has a shell variable instead', {
  skip,
}, async (t) => {
  const page = await open(t);
  for (const operation of ['post_v1_chat_completions', 'post_v1_completions']) {
    await tryOut(page, operation);
    assert.equal((await status(page, operation))?.trim(), '200');
  }
  assert.ok(!(await page.content()).includes(key));
  const curl = await page.locator('[id$=post_v1_chat_completions] .curl').first().textContent();
  assert.match(curl ?? '', /"authorization: Bearer \$OPENAI_API_KEY"/);
  const env = { ...process.env, OPENAI_API_KEY: key };
  const { stdout } = await promisify(execFile)('bash', ['-c', curl ?? ''], { env });
  assert.equal(JSON.parse(stdout).object, 'chat.completion');
});

test('operations are grouped', { skip }, async (t) => {
  const page = await open(t);
  const groups = await page
    .locator('.opblock-tag')
    .evaluateAll((tags) => tags.map((tag) => tag.getAttribute('data-tag')));
  assert.deepEqual(groups.slice(0, 3), ['Generation', 'Embeddings', 'Models']);
  assert.ok(groups.includes('Fine-tuning') && !groups.includes('default'));
});

for (const colorScheme of ['light', 'dark'] as const) {
  test(`axe finds nothing serious, ${colorScheme}`, { skip }, async (t) => {
    const page = await open(t, { colorScheme });
    await tryOut(page, 'post_v1_chat_completions');
    assert.deepEqual(await accessFaults(page), []);
  });
}

test('it fits a phone', { skip }, async (t) => {
  const page = await open(t, PHONE);
  assert.equal(await overhang(page), 0);
});
