// The account button on every page, in a real browser on a server with keys: sign in, change the key, sign out.
import assert from 'node:assert/strict';
import path from 'node:path';
import type { Page } from 'playwright-core';
import { withResolvers } from '../../src/common/waiting.ts';
import {
  accessFaults,
  openPage,
  outlineFaults,
  PHONE,
  servePages,
  THEMES,
  TOY_MODEL,
  test,
  textOf,
} from './browser.ts';
import { chat, send } from './playground-page.ts';
import { createKey, runLorikeet, serveFor, startServing } from './program.ts';

const PAGES = ['/', '/fine-tuning', '/adapters', '/status', '/docs'];
const keys: Record<string, { id: string; key: string }> = {};
const pages = servePages(async (home) => {
  for (const tenant of ['acme', 'globex', 'gone', 'left']) {
    keys[tenant] = await createKey(tenant, home);
  }
  return ['--slots', '2'];
});
const { open } = pages;

const stored = (page: Page) =>
  page.evaluate<Record<string, string>>('({ ...sessionStorage, ...localStorage })');

async function signIn(page: Page, key: string): Promise<void> {
  await page.locator('#account-key').fill(key);
  await page.locator('#account-submit').click();
}

/** Waits until the account button shows a name. */
async function waitForName(page: Page, name: string): Promise<void> {
  await page.locator('#account-name', { hasText: new RegExp(`^${name}$`) }).waitFor();
}

test('every page signs in, shows the tenant, and removes everything it stored on signing out', async (t) => {
  for (const where of PAGES) {
    const { page } = await open(t, where);
    await waitForName(page, 'Sign in');
    await page.locator('#account-dialog').waitFor();
    assert.deepEqual(await outlineFaults(page), []);
    await signIn(page, keys['acme']!.key);
    await page.locator('#account-dialog').waitFor({ state: 'hidden' });
    await waitForName(page, 'acme');
    assert.deepEqual(await outlineFaults(page), []);
    if (where === '/') {
      await page.locator('#system').fill('a secret of acme');
      await chat(page, 'a secret, too');
    }
    await page.evaluate("sessionStorage.setItem('lorikeet.other', 'a secret of a page')");
    await page.locator('#account-button').click();
    await page.locator('#account-identity', { hasText: 'signed in as acme.' }).waitFor();
    await page.locator('#account-sign-out').click();
    await waitForName(page, 'Sign in');
    const rest = JSON.stringify(await stored(page)) + page.url();
    assert.ok(!rest.includes('secret') && !rest.includes('lorikeet_'), rest);
  }
});

test('the focus stays on Sign in while a slow server checks a key, and a second click asks nothing', async (t) => {
  const { page } = await open(t, '/adapters');
  await page.locator('#account-dialog').waitFor();
  let asked = 0;
  const { promise: answered, resolve: answer } = withResolvers<void>();
  await page.route('**/v1/me', async (route) => {
    asked++;
    await answered;
    await route.continue();
  });
  await signIn(page, keys['acme']!.key);
  await page.locator('#account-submit').click();
  assert.equal(await page.evaluate('document.activeElement.id'), 'account-submit');
  answer();
  await waitForName(page, 'acme');
  assert.equal(asked, 1);
});

test("a closed dialog stays closed for the page's own requests", async (t) => {
  const { page } = await open(t, '/pages/icon.svg');
  await page.clock.install();
  await page.goto(`${pages.server.url}/fine-tuning`);
  await page.locator('#account-dialog').waitFor();
  await page.locator('#account-close').click();
  await page.locator('#jobs-help', { hasText: 'key' }).waitFor();
  for (let i = 0; i < 3; i++) {
    const asked = page.waitForResponse(/fine_tuning\/jobs/);
    await page.clock.fastForward(6_000);
    assert.equal((await asked).status(), 401);
    await page.clock.runFor(50);
    assert.equal(await page.locator('#account-dialog').isVisible(), false);
  }
  await page.locator('#account-button').click();
  await signIn(page, keys['acme']!.key);
  await page.locator('#jobs-help', { hasText: 'No jobs yet' }).waitFor();
});

test('the status page asks for a key, and without one shows no figures and asks no more', async (t) => {
  const { page } = await open(t, '/pages/icon.svg');
  await page.clock.install();
  await page.goto(`${pages.server.url}/status`);
  await page.locator('#account-dialog').waitFor();
  await page.locator('#account-close').click();
  await page.locator('#problem', { hasText: 'key' }).waitFor();
  assert.equal(await page.locator('#state').textContent(), 'Not signed in');
  assert.equal(await page.locator('#figures').isVisible(), false);
  assert.equal(await page.locator('#tiles dt').count(), 0);
  let requests = 0;
  page.on('request', () => requests++);
  for (let i = 0; i < 3; i++) {
    await page.clock.fastForward(15_000);
    await page.clock.runFor(50);
  }
  assert.equal(requests, 0);
  await page.locator('#account-button').click();
  await signIn(page, keys['acme']!.key);
  await page.locator('#tiles dd', { hasText: '0 of 3' }).waitFor();
  await page.locator('#no-jobs', { hasText: 'No jobs yet' }).waitFor();
  assert.ok(await page.locator('#more').isVisible());
});

test("a user's action opens the dialog again and continues with the key", async (t) => {
  const { page } = await open(t, '/');
  await page.locator('#account-dialog').waitFor();
  await page.locator('#account-close').click();
  await send(page, 'Hello');
  await page.locator('#account-dialog').waitFor();
  await signIn(page, keys['acme']!.key);
  await page.locator('.answer .facts', { hasText: 'token' }).waitFor();
});

test('a rejected key is not stored, and an invalid character is named', async (t) => {
  const { page } = await open(t, '/');
  const problem = page.locator('#account-problem');
  for (const [key, words] of [
    ['wrong', /Unknown API key/],
    ['lorikeet_schlüssel', /contains “ü”/],
    ['ключ', /contains “к”/],
    ['two words', /contains a space/],
  ] as const) {
    await signIn(page, key);
    await problem.filter({ hasText: words }).waitFor();
    assert.equal((await stored(page))['lorikeet.key'], undefined);
  }
  await page.route('**/v1/me', (route) => route.abort());
  await signIn(page, 'lorikeet_x');
  await problem.filter({ hasText: 'does not answer' }).waitFor();
});

test("another tenant's key hides the previous tenant's chats, and removes the rest", async (t) => {
  const { page } = await open(t, '/');
  const useKey = async (tenant: string) => {
    await signIn(page, keys[tenant]!.key);
    await waitForName(page, tenant);
  };
  await useKey('acme');
  await page.locator('#chosen', { hasText: 'toy' }).waitFor({ state: 'attached' });
  await chat(page, 'of acme');
  await page.locator('.chat', { hasText: 'of acme' }).waitFor();
  await page.evaluate("sessionStorage.setItem('lorikeet.other', 'of acme')");
  await page.locator('#account-button').click();
  assert.match(await textOf(page.locator('#account-submit')), /Change key/);
  await useKey('globex');
  await page.locator('#chats-help', { hasText: 'No chats yet' }).waitFor();
  assert.ok(!(await page.locator('body').textContent())!.includes('of acme'));
  assert.ok(!Object.values(await stored(page)).includes('of acme'));
  await page.locator('#account-button').click();
  await useKey('acme');
  await page.locator('.chat', { hasText: 'of acme' }).click();
  await page.locator('.said', { hasText: 'of acme' }).waitFor();
  const records = JSON.stringify(await savedChats(page));
  assert.ok(records.includes('of acme') && !records.includes('lorikeet_'));
});

test("a prompt typed by one tenant is neither sent with another tenant's key nor stored as that tenant's", async (t) => {
  const { page } = await open(t, '/');
  await signIn(page, keys['left']!.key);
  await waitForName(page, 'left');
  await page.locator('#chosen', { hasText: 'toy' }).waitFor({ state: 'attached' });
  const { code } = await runLorikeet(['keys', 'revoke', keys['left']!.id], pages.home);
  assert.equal(code, 0);
  await waitUntilRefused(keys['left']!.key);
  const sent: string[] = [];
  page.on('request', (request) => {
    if (request.method() === 'POST') sent.push(request.headers()['authorization'] ?? '');
  });
  await send(page, 'a secret of left');
  await page.locator('#account-problem', { hasText: 'no longer accepts' }).waitFor();
  await page.locator('#prompt').evaluate("(field) => { field.value = 'an unsent secret' }");
  await Promise.all([
    page.waitForEvent('load'), // the page is loaded again for the other tenant
    signIn(page, keys['globex']!.key),
  ]);
  await waitForName(page, 'globex');
  await page.locator('#chats-help', { hasText: 'No chats yet' }).waitFor();
  assert.ok(!sent.includes(`Bearer ${keys['globex']!.key}`));
  assert.equal(await page.locator('#prompt').inputValue(), '');
  await page.locator('#prompt').fill('of globex');
  await page.locator('.chat', { hasText: 'of globex' }).waitFor();
  const owners = (await savedChats(page))
    .filter(([, chat]) => JSON.stringify(chat).includes('secret'))
    .map(([[tenant]]) => tenant);
  assert.deepEqual(new Set(owners), new Set(['left']));
});

test('a prompt typed before the server had keys is not stored as the chat of who signs in', async (t) => {
  const home = path.join(pages.home, 'keyless');
  const flags = [...TOY_MODEL, '--slots', '2'];
  const keyless = await startServing(flags, home);
  const { port } = new URL(keyless.url);
  const { page } = await openPage(t, pages.browser, `${keyless.url}/`);
  await waitForName(page, 'local');
  await page.locator('#chosen', { hasText: 'toy' }).waitFor({ state: 'attached' });
  await keyless.stop();
  const { key } = await createKey('acme', home);
  await serveFor(t, [...flags, '--port', port], home);
  await send(page, 'a secret of local');
  await page.locator('#account-dialog').waitFor();
  await Promise.all([page.waitForEvent('load'), signIn(page, key)]);
  await waitForName(page, 'acme');
  await page.locator('#chats-help', { hasText: 'No chats yet' }).waitFor();
  const owners = (await savedChats(page)).map(([[tenant]]) => tenant);
  assert.deepEqual(owners, ['local']);
});

/** Returns the chats in the browser's storage, each with its key [tenant, id]. */
function savedChats(page: Page): Promise<[[tenant: string, id: string], unknown][]> {
  return page.evaluate(`new Promise((resolve) => {
    const opening = indexedDB.open('lorikeet /', 1);
    opening.onsuccess = () => {
      const found = [];
      opening.result.transaction('chats').objectStore('chats').openCursor().onsuccess = ({ target }) => {
        const cursor = target.result;
        if (!cursor) return resolve(found);
        found.push([cursor.key, cursor.value]);
        cursor.continue();
      };
    };
  })`);
}

/** Waits until the server has noticed that a key was revoked. */
async function waitUntilRefused(key: string): Promise<void> {
  const isAccepted = async () => {
    const headers = { authorization: `Bearer ${key}` };
    return (await fetch(`${pages.server.url}/v1/me`, { headers })).status !== 401;
  };
  while (await isAccepted());
}

test('a key that is revoked while pages are open is removed, and the dialog opens', async (t) => {
  const watched = await Promise.all([open(t, '/fine-tuning'), open(t, '/status')]);
  for (const { page } of watched) {
    await signIn(page, keys['gone']!.key);
    await waitForName(page, 'gone');
  }
  await watched[1]!.page.locator('#tiles dd', { hasText: '0 of 3' }).waitFor();
  const { code } = await runLorikeet(['keys', 'revoke', keys['gone']!.id], pages.home);
  assert.equal(code, 0);
  for (const { page } of watched) {
    await page.locator('#account-problem', { hasText: 'no longer accepts' }).waitFor();
    assert.equal((await stored(page))['lorikeet.key'], undefined);
    await waitForName(page, 'Sign in');
  }
});

for (const colorScheme of THEMES) {
  test(`axe finds nothing serious in the dialog, signed in and out, in ${colorScheme}`, async (t) => {
    const { page } = await open(t, '/', { colorScheme, ...PHONE });
    await signIn(page, 'wrong');
    await page.locator('#account-problem').waitFor();
    assert.deepEqual(await accessFaults(page), []);
    await signIn(page, keys['acme']!.key);
    await waitForName(page, 'acme');
    await page.locator('#account-button').click();
    assert.deepEqual(await accessFaults(page), []);
  });
}
