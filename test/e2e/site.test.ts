// The site of `npm run docs` in a real browser, from a server of files: search, sidebar, next and previous, both themes, phones, and
// axe. test/docs/site.test.ts follows its links.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { after, before, type TestContext } from 'node:test';
import type { BrowserContextOptions } from 'playwright-core';
import { writeSite } from '../../scripts/site.ts';
import { temporaryFolder } from '../fixtures.ts';
import { accessFaults, launchBrowser, openPage, overhang, PHONE, test, textOf } from './browser.ts';

const folder = path.join(temporaryFolder(), 'site');
const browser = launchBrowser();
/** The site needs no more, and nothing inline. */
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'";
const server = createServer(({ url = '' }, response) => {
  const [, type] = /\.(html|css|js)$/.exec(url) ?? [];
  response.setHeader('content-type', type ? `text/${type}` : 'image/png');
  response.setHeader('content-security-policy', POLICY);
  response.end(readFileSync(path.join(folder, url)));
});
let pages: string[] = [];
before(() => {
  pages = writeSite('.', folder);
  server.listen(0);
});
after(() => server.close());

const urlOf = (name: string) =>
  `http://127.0.0.1:${(server.address() as AddressInfo).port}/${name}`;

const open = async (t: TestContext, name: string, options?: BrowserContextOptions) =>
  (await openPage(t, browser(), urlOf(name), options)).page;

test('the search finds a field, and keys lead to its section', async (t) => {
  const page = await open(t, 'docs/tutorial.html');
  await page.keyboard.press('/');
  await page.keyboard.type('cache_salt');
  const found = page.locator('.results a', { hasText: 'Request fields' }).first();
  assert.match(await textOf(found), /cache_salt/);
  await page.keyboard.press('ArrowDown');
  await page.locator('.results a:focus').waitFor();
  await page.keyboard.press('ArrowUp');
  await page.keyboard.type(' nonesuch');
  await page.locator('.results', { hasText: 'Nothing found.' }).waitFor();
  await page.locator('input').fill('limits of several servers');
  await page.locator('.results a').first().waitFor();
  await page.keyboard.press('Enter');
  await page.waitForURL('**/docs/tenants.html#limits-of-several-servers');
});

test('the sidebar marks the page, and next and previous lead through the pages', async (t) => {
  const page = await open(t, 'README.html');
  await page.locator('.sidebar a', { hasText: 'Structured outputs' }).click();
  const current = page.locator('.sidebar [aria-current]');
  assert.equal(await textOf(current), 'Structured outputs');
  const url = page.url();
  await page.locator('[rel=next]').click();
  assert.equal(await textOf(current), 'Tools');
  await page.locator('[rel=prev]').click();
  assert.equal(page.url(), url);
  await page.locator('.contents a').last().click();
  assert.match(page.url(), /structured-outputs\.html#/);
});

test('every page fits a phone and shows its pictures, and its sidebar unfolds', async (t) => {
  const page = await open(t, 'README.html', PHONE);
  const pictures = 'Array.from(document.images).filter((image) => image.naturalWidth === 0).length';
  for (const name of pages) {
    await page.goto(urlOf(name));
    assert.equal(await overhang(page), 0, name);
    assert.equal(await page.evaluate(pictures), 0, name);
  }
  await page.locator('.sidebar summary').click();
  await page.locator('.sidebar a', { hasText: 'Glossary' }).click();
  assert.match(await textOf(page.locator('h1')), /Glossary/);
});

for (const colorScheme of ['light', 'dark'] as const) {
  test(`axe finds nothing, ${colorScheme}`, async (t) => {
    const page = await open(t, 'README.html', { colorScheme });
    const ground: string = await page.evaluate('getComputedStyle(document.body).backgroundColor');
    assert.equal(/\b255\b/.test(ground), colorScheme === 'light', ground);
    for (const name of ['README', 'docs/tutorial', 'docs/request-fields', 'docs/benchmarks']) {
      await page.goto(urlOf(`${name}.html`));
      await page.locator('input').fill('adapter');
      await page.locator('.results a').first().waitFor();
      assert.deepEqual(await accessFaults(page), [], name);
    }
  });
}
