// The API docs in a real browser, on a server with keys: the key is never on the page, examples and curl commands work, the
// document is loaded once, and the page is accessible.
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { BrowserContextOptions, Page } from 'playwright-core';
import {
  accessFaults,
  overhang,
  PHONE,
  servePages,
  slowDown,
  THEMES,
  test,
  textOf,
} from './browser.ts';
import { execute } from './execute.ts';
import { pressAt } from './keyboard.ts';
import { createKey } from './program.ts';

const CHAT = '#post-v1-chat-completions';
let key = '';
const pages = servePages(async (home) => {
  ({ key } = await createKey('acme', home));
  return ['--slots', '2'];
});

async function open(t: TestContext, options?: BrowserContextOptions): Promise<Page> {
  const { page } = await pages.open(t, '/docs', options);
  await page.locator('#account-key').fill(key);
  await page.locator('#account-submit').click();
  await page.locator('.operation').first().waitFor();
  return page;
}

/** Sends an operation's example unchanged, and returns the status. */
async function send(page: Page, operation: string): Promise<string | null> {
  await page.locator(`${operation} > summary`).click();
  await page.locator(`${operation} button`, { hasText: 'Send' }).click();
  const status = page.locator(`${operation} .result .pill`);
  await status.waitFor();
  return status.textContent();
}

test('an example is sent with the key, and its curl command has a shell variable instead', async (t) => {
  const page = await open(t);
  assert.equal(await send(page, CHAT), '200');
  assert.match(await textOf(page.locator(`${CHAT} .result pre`)), /"choices"/);
  assert.equal(await send(page, '#get-v1-models'), '200');
  assert.ok(!(await page.content()).includes(key));
  const curl = await textOf(page.locator(`${CHAT} .curl`));
  assert.match(curl, /"authorization: Bearer \$OPENAI_API_KEY"/);
  const env = { ...process.env, OPENAI_API_KEY: key };
  const { stdout } = await execute('bash', ['-c', curl], { env });
  assert.equal(JSON.parse(stdout).object, 'chat.completion');
});

test('operations are grouped and searched, and a path has its parameters', async (t) => {
  const page = await open(t);
  const groups = await page.locator('#api h2').allTextContents();
  assert.deepEqual(groups.slice(0, 3), ['Generation', 'Embeddings', 'Models']);
  assert.ok(groups.includes('Fine-tuning'));
  await page.locator('#search').fill('delete model');
  const found = page.locator('.operation:visible');
  assert.match(await textOf(found.first()), /DELETE\/v1\/models\/\{id\}/);
  await page.locator('#search').fill('get one model');
  await found.locator('summary').click();
  await found.locator('input').fill('a b');
  assert.match(await textOf(found.locator('.curl')), /\/v1\/models\/a%20b/);
});

test('a field is found by its name, opened with its operation, and no result says so', async (t) => {
  const page = await open(t);
  await page.locator('#search').fill('cache_salt');
  await page.locator(`${CHAT} .found code`, { hasText: 'cache_salt' }).waitFor();
  await page.locator(`${CHAT} > summary`).click();
  await page.locator(`${CHAT} .fields mark`, { hasText: 'cache_salt' }).waitFor();
  await page.locator('#search').fill('nonesuch');
  await page.locator('#none', { hasText: 'contains “nonesuch”' }).waitFor();
  assert.equal(await page.locator('.operation').count(), 0);
});

test('a field is searched for, and its operation sent, with the keyboard alone', async (t) => {
  const page = await open(t);
  await pressAt(page, '#search', ...'cache_salt');
  await page.locator(`${CHAT} .found code`, { hasText: 'cache_salt' }).waitFor();
  await pressAt(page, `${CHAT} > summary`, 'Enter');
  await page.locator(`${CHAT} button.primary`).waitFor(); // else Tab goes on to the next operation
  await pressAt(page, `${CHAT} button.primary`, 'Enter');
  await page.locator(`${CHAT} .result .pill`, { hasText: '200' }).waitFor();
});

test('the contents lead to an operation, and the chosen language stays', async (t) => {
  const page = await open(t);
  assert.match(await textOf(page.locator('#start')), /\/v1.*Bearer KEY/s);
  await page.locator('.contents a[href$="#post-v1-embeddings"]').click();
  await page.locator('#post-v1-embeddings [role=tab]', { hasText: 'Python' }).click();
  const code = page.locator('#post-v1-embeddings pre code');
  assert.match(await textOf(code), /client\.embeddings\.create\(/);
  await page.locator('.contents a[href$="#get-v1-models"]').click();
  assert.match(await textOf(page.locator('#get-v1-models pre code')), /client\.models\.list\(\)/);
  await page.locator('#get-v1-models > summary').click();
  await page.locator('.contents a[href$="#get-v1-models"]').click();
  await page.locator('#get-v1-models[open]').waitFor();
  await page.setViewportSize({ width: 390, height: 844 });
  await page.locator('.contents > summary').click();
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.locator('.contents > summary').click();
  await page.locator('.contents a[href$="#get-v1-models"]').waitFor();
});

test('at 50 kB/s the docs appear within seconds, and the document is loaded once', async (t) => {
  const page = await open(t);
  const session = await page.context().newCDPSession(page);
  await session.send('Network.enable');
  await slowDown(page, 50, 50_000);
  let bytes = 0;
  session.on('Network.loadingFinished', ({ encodedDataLength }) => {
    bytes += encodedDataLength;
  });
  const paths: string[] = [];
  page.on('request', (request) => paths.push(new URL(request.url()).pathname));
  await page.reload();
  await page.locator('.operation').first().waitFor({ timeout: 10_000 });
  assert.equal(paths.filter((path) => path === '/openapi.json').length, 1);
  assert.ok(bytes < 100_000, `${bytes} bytes`);
});

for (const colorScheme of THEMES) {
  test(`axe finds nothing, ${colorScheme}`, async (t) => {
    const page = await open(t, { colorScheme });
    await send(page, CHAT);
    await page.locator(`${CHAT} .more > summary`).first().click();
    assert.deepEqual(await accessFaults(page), []);
  });
}

test('it fits a phone', async (t) => {
  const page = await open(t, PHONE);
  await send(page, CHAT);
  assert.equal(await overhang(page), 0);
});
