// The account button on every page, in a real browser on a server with keys: sign in, change the key, sign out.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Page } from 'playwright-core';
import { withResolvers } from '../../src/common/waiting.ts';
import {
  accessFaults,
  openPage,
  outlineFaults,
  overhang,
  PHONE,
  servePages,
  THEMES,
  TOY_MODEL,
  test,
  textOf,
} from './browser.ts';
import { pressAt } from './keyboard.ts';
import { chat, send } from './playground-page.ts';
import { createKey, runLorikeet, serveFor, startServing } from './program.ts';

const PAGES = ['/', '/fine-tuning', '/adapters', '/status', '/usage', '/docs'];
const keys: Record<string, { id: string; key: string }> = {};
const pages = servePages(async (home) => {
  for (const tenant of ['acme', 'globex', 'gone', 'left']) {
    keys[tenant] = await createKey(tenant, home);
  }
  const file = path.join(home, 'keys.json');
  const written = JSON.parse(readFileSync(file, 'utf8'));
  written.tenants.globex.limits = { requestsPerMinute: 600 };
  writeFileSync(file, JSON.stringify(written));
  keys['ops'] = await createKey('ops', home, '--admin', '--read-only', '--name', 'dashboard');
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
  // Without a key the lists are not polled. They are read once more when they are shown again.
  let requests = 0;
  page.on('request', () => requests++);
  await page.clock.fastForward(15_000);
  await page.clock.runFor(50);
  assert.equal(requests, 0);
  await page.evaluate("location.hash = '#new'");
  await page.locator('#form-title').waitFor();
  const asked = page.waitForResponse(/fine_tuning\/jobs/);
  await page.evaluate("location.hash = '#all'");
  assert.equal((await asked).status(), 401);
  await page.clock.runFor(50);
  assert.equal(await page.locator('#account-dialog').isVisible(), false);
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
  const problem = page.locator('#account-key-problem');
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
  await page.locator('#account-key-problem', { hasText: 'no longer accepts' }).waitFor();
  await page.locator('#prompt').evaluate((field) => {
    (field as { value?: string }).value = 'an unsent secret';
  });
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
    await page.locator('#account-key-problem', { hasText: 'no longer accepts' }).waitFor();
    assert.equal((await stored(page))['lorikeet.key'], undefined);
    await waitForName(page, 'Sign in');
  }
});

test('a new tab continues the session, signing out ends it in all tabs, and other tenants keep theirs', async (t) => {
  const { page, context } = await open(t, '/adapters');
  await signIn(page, keys['acme']!.key);
  await waitForName(page, 'acme');
  const second = await context.newPage();
  await second.goto(`${pages.server.url}/usage`);
  await waitForName(second, 'acme');
  await second.locator('#usage').waitFor();
  // What was read before the key had come is read again.
  const status = await context.newPage();
  await status.goto(`${pages.server.url}/status`);
  await status.locator('#no-jobs').waitFor();
  await status.goto('about:blank'); // no page of this tab hears that the user signs out
  const third = await context.newPage();
  await third.goto(`${pages.server.url}/adapters`);
  await waitForName(third, 'acme');
  await third.locator('#account-button').click();
  await signIn(third, keys['globex']!.key);
  await waitForName(third, 'globex');
  // Nobody knows which of the two tenants a new tab is for.
  const fourth = await context.newPage();
  await fourth.goto(`${pages.server.url}/adapters`);
  await fourth.locator('#account-dialog').waitFor();
  await waitForName(fourth, 'Sign in');
  await second.locator('#account-button').click();
  await second.locator('#account-sign-out').click();
  for (const one of [page, second]) {
    await waitForName(one, 'Sign in');
    assert.equal((await stored(one))['lorikeet.key'], undefined);
  }
  await waitForName(third, 'globex');
  await status.goto(`${pages.server.url}/status`);
  await waitForName(status, 'Sign in');
  assert.equal((await stored(status))['lorikeet.key'], undefined);
});

test('a theme is chosen, kept, and taken back', async (t) => {
  const { page } = await open(t, '/docs', { colorScheme: 'light' });
  const paper = () => page.evaluate('getComputedStyle(document.body).backgroundColor');
  await signIn(page, keys['acme']!.key);
  await waitForName(page, 'acme');
  const light = await paper();
  await page.locator('#account-button').click();
  await page.locator('#theme').selectOption('dark');
  assert.notEqual(await paper(), light);
  await page.reload();
  assert.notEqual(await paper(), light);
  await waitForName(page, 'acme');
  await page.keyboard.press('Control+k');
  await page.locator('#palette-search').fill('system');
  await page.keyboard.press('Enter');
  await page.locator('#palette-dialog').waitFor({ state: 'hidden' });
  assert.equal(await paper(), light);
  await page.emulateMedia({ colorScheme: 'dark' });
  await page.locator('html[data-theme=dark]').waitFor();
  assert.notEqual(await paper(), light);
});

test('the palette goes to a page and to a model by name, and passes axe', async (t) => {
  const { page } = await open(t, '/adapters');
  await signIn(page, keys['acme']!.key);
  await waitForName(page, 'acme');
  await page.locator('#palette-button').click();
  await page.locator('#palette-search').fill('usage');
  assert.deepEqual(await accessFaults(page), []);
  await page.keyboard.press('Enter');
  await page.waitForURL('**/usage');
  await waitForName(page, 'acme');
  await page.keyboard.press('Control+k');
  await page.locator('#palette-search').fill('toy');
  await page.locator('#palette-search-list', { hasText: 'Model' }).waitFor();
  const visited: string[] = [];
  page.on('request', (one) => one.isNavigationRequest() && visited.push(one.url()));
  await page.keyboard.press('Enter');
  await page.waitForURL('**/?model=toy');
  assert.equal(visited.length, 1);
});

test("usage is the tenant's own, by day, and passes axe", async (t) => {
  const { page } = await open(t, '/usage');
  await signIn(page, keys['globex']!.key);
  await waitForName(page, 'globex');
  const headers = {
    authorization: `Bearer ${keys['globex']!.key}`,
    'content-type': 'application/json',
  };
  const body = JSON.stringify({ model: 'base', prompt: 'a', max_tokens: 2, ignore_eos: true });
  await fetch(`${pages.server.url}/v1/completions`, { method: 'POST', headers, body });
  await page.reload();
  await page.locator('#usage tbody th', { hasText: 'globex' }).waitFor();
  assert.equal(await page.locator('#usage tbody tr').count(), 1);
  assert.equal(await page.locator('.bars figure').count(), 7);
  const limits = page.locator('#limits tbody tr');
  assert.match(await textOf(limits.filter({ hasText: 'requests' })), /600.*\d{3}/);
  assert.deepEqual(await accessFaults(page), []);
  await page.locator('#span').selectOption('31');
  await page.locator('.bars figure').nth(30).waitFor();
});

for (const colorScheme of THEMES) {
  test(`an operator sees the limits, use and keys of all tenants in ${colorScheme}`, async (t) => {
    const { page } = await open(t, '/usage', { colorScheme });
    await signIn(page, keys['ops']!.key);
    const row = page.locator('#tenants tbody tr', { hasText: 'acme' });
    await row.waitFor();
    assert.equal(await row.locator('[data-name=Keys]').textContent(), '1');
    const key = page.locator('#all-keys tbody tr', { hasText: keys['ops']!.id });
    await key.locator('td', { hasText: 'dashboard' }).waitFor();
    assert.deepEqual(await key.locator('.pill').allTextContents(), ['admin', 'read-only']);
    assert.equal(await page.locator('#all-keys', { hasText: keys['ops']!.key }).count(), 0);
    assert.deepEqual(await accessFaults(page), []);
    await pressAt(page, '#span', 'ArrowDown');
    await page.locator('.bars figure').nth(30).waitFor();
    await pressAt(page, '#all-keys button', 'Enter');
    await page.locator('#all-keys button', { hasText: /^(Not c|C)opied/ }).waitFor();
    await page.setViewportSize({ width: 360, height: 740 });
    assert.equal(await overhang(page), 0);
  });
}

test('a key that may only read opens every page, and a prompt says why it is refused', async (t) => {
  const { page } = await open(t, '/');
  await signIn(page, keys['ops']!.key);
  await waitForName(page, 'ops');
  await send(page, 'Hello');
  await page.locator('.problem', { hasText: 'may only read' }).waitFor();
  await page.locator('#account-button').click();
  await page.locator('#account-identity', { hasText: 'admin key that may only read' }).waitFor();
  for (const where of PAGES.slice(1)) {
    await page.goto(`${pages.server.url}${where}`);
    await page.locator('main:not(.loading)').waitFor();
    assert.equal(await page.locator('.problem:visible').count(), 0, where);
  }
});

for (const colorScheme of THEMES) {
  test(`axe finds nothing serious in the dialog, signed in and out, in ${colorScheme}`, async (t) => {
    const { page } = await open(t, '/', { colorScheme, ...PHONE });
    await signIn(page, 'wrong');
    await page.locator('#account-key-problem').waitFor();
    assert.deepEqual(await accessFaults(page), []);
    await signIn(page, keys['acme']!.key);
    await waitForName(page, 'acme');
    await page.locator('#account-button').click();
    assert.deepEqual(await accessFaults(page), []);
  });
}
