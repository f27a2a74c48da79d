// The pages: complete without other servers, fresh after an upgrade, and without access to any other file.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { serveKeyed } from './keyed.ts';
import { serve } from './served.ts';

const { app } = serve();
const PATHS = ['/', '/fine-tuning', '/adapters', '/status', '/usage', '/docs'];

/** Where a page's markup leads, as a browser resolves it. */
async function references(path: string, of = app): Promise<string[]> {
  const html = await (await of.request(path)).text();
  return [...html.matchAll(/(?:src|href)="([^"#]+)"/g)].map(
    ([, target]) => new URL(target!, `http://localhost${path}`).pathname,
  );
}

/** A module that is loaded on demand. */
const ON_DEMAND = /\bimport\(['"](\.\/[^'"]+)['"]\)/g;
const AT_ONCE = /\b(?:from|import) ?['"](\.\/[^'"]+)['"]/g;

/** The modules that a script leads to, itself included. */
async function modulesOf(
  path: string,
  imports: readonly RegExp[] = [AT_ONCE, ON_DEMAND],
  found = new Set<string>(),
): Promise<Set<string>> {
  if (found.has(path)) return found;
  found.add(path);
  const response = await app.request(path);
  assert.equal(response.status, 200, path);
  assert.match(response.headers.get('content-type')!, /^text\/javascript/, path);
  const text = await response.text();
  for (const [, target] of imports.flatMap((pattern) => [...text.matchAll(pattern)])) {
    await modulesOf(new URL(target!, `http://localhost${path}`).pathname, imports, found);
  }
  return found;
}

test('every page is complete: all that it leads to is served by this server', async () => {
  const reached = new Set<string>();
  for (const path of PATHS) {
    const page = await app.request(path);
    assert.equal(page.status, 200);
    assert.match(page.headers.get('content-type')!, /^text\/html/);
    for (const target of await references(path)) {
      reached.add(target);
      if (target.endsWith('.js')) for (const module of await modulesOf(target)) reached.add(module);
      else assert.equal((await app.request(target)).status, 200, target);
    }
  }
  const own = readdirSync('src/pages').filter((name) => /\.(js|css|svg)$/.test(name));
  assert.ok(own.length >= 3);
  for (const name of own) assert.ok(reached.has(`/pages/${name}`), `${name} is of no page`);
});

test('the scripts that a page waits for take at most 60 kB compressed', async () => {
  for (const path of PATHS) {
    const scripts = (await references(path)).filter((target) => target.endsWith('.js'));
    const modules = new Set<string>();
    for (const script of scripts) await modulesOf(script, [AT_ONCE], modules);
    let bytes = 0;
    for (const module of modules) {
      const headers = { 'accept-encoding': 'gzip' };
      bytes += (await (await app.request(module, { headers })).arrayBuffer()).byteLength;
    }
    assert.ok(
      modules.size > 2 && bytes <= 60_000,
      `${path}: ${bytes} bytes in ${modules.size} files`,
    );
  }
});

test('a page links its own style sheet after the common one, so that its rules win', async () => {
  const sheets = (await references('/status')).filter((target) => target.endsWith('.css'));
  assert.deepEqual(sheets.slice(-2), ['/pages/style.css', '/pages/status.css']);
  const text = await (await app.request('/pages/status.css')).text();
  assert.match(text, /\.cells\{display:flex/);
});

test('a page allows no script and no style but files of this server, and no text as markup', async () => {
  for (const path of PATHS) {
    const page = await app.request(path);
    const policy = page.headers.get('content-security-policy')!;
    assert.match(policy, /^default-src 'none'; script-src 'self';/);
    for (const part of ["connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]) {
      assert.ok(policy.includes(part), part);
    }
    assert.match(policy, /style-src 'self';.*require-trusted-types-for/);
    const html = await page.text();
    assert.doesNotMatch(html, /<style|\sstyle=|<script(?! [^>]*src=)|\son\w+=|\{\{|https?:/);
  }
});

test('a cached file is requested with its tag and answered with 304', async () => {
  for (const path of [...PATHS, '/pages/style.css', '/pages/playground.js']) {
    const first = await app.request(path);
    assert.equal(first.headers.get('cache-control'), 'no-cache');
    const etag = first.headers.get('etag')!;
    assert.match(etag, /^"[\w-]{22}"$/);
    for (const tag of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
      const again = await app.request(path, { headers: { 'if-none-match': tag } });
      assert.equal(again.status, 304, tag);
      assert.equal(again.headers.get('etag'), etag);
      assert.equal(await again.text(), '');
    }
    const other = await app.request(path, { headers: { 'if-none-match': '"other"' } });
    assert.equal(other.status, 200);
  }
});

test('files are compressed as the client accepts it, and the tag says how', async () => {
  const get = async (path: string, headers: Record<string, string>) =>
    app.request(path, { headers });
  for (const path of ['/', '/pages/style.css', '/pages/status.js', '/openapi.json']) {
    const plain = Buffer.from(await (await get(path, {})).arrayBuffer());
    for (const [accepted, coding, decode] of [
      ['gzip, deflate, br, zstd', 'br', brotliDecompressSync],
      ['gzip;q=1.0, br;q=0', 'gzip', gunzipSync],
    ] as const) {
      const response = await get(path, { 'accept-encoding': accepted });
      assert.equal(response.headers.get('content-encoding'), coding);
      assert.match(response.headers.get('vary')!, /accept-encoding/);
      const bytes = Buffer.from(await response.arrayBuffer());
      assert.ok(bytes.length < plain.length / 2, `${path} in ${coding}: ${bytes.length}`);
      assert.deepEqual(decode(bytes), plain);
      const etag = response.headers.get('etag')!;
      assert.ok(etag.endsWith(`-${coding}"`));
      assert.equal((await get(path, { 'if-none-match': etag })).status, 304);
    }
  }
  const icon = await get('/pages/icon.svg', { 'accept-encoding': 'br' });
  assert.equal(icon.headers.get('content-encoding'), null);
});

test('no path leads to another file', async () => {
  const tricks = [
    ...['', 'layout.html', 'playground.html', 'none.js', 'toString', '__proto__', '.', 'STYLE.CSS'],
    ...['../http/app.ts', '..%2fhttp%2fapp.ts', '..%5cstyle.css', '%2e%2e/main.ts', './style.css/'],
    ...['style.css%00.js', '/style.css', '%2fetc%2fpasswd', 'style.css/style.css', 'status.js/x'],
  ];
  for (const trick of tricks) {
    const response = await app.request(`/pages/${trick}`);
    assert.equal(response.status, 404, trick);
    assert.match(response.headers.get('content-type')!, /^application\/json/);
  }
});

test('other methods are refused', async () => {
  for (const path of ['/', '/pages/style.css']) {
    const response = await app.request(path, { method: 'POST' });
    assert.equal(response.status, 405);
    assert.equal(response.headers.get('allow'), 'GET, HEAD');
  }
});

test('pages need no key, and unknown files reveal no more than any other path', async () => {
  const keyed = serveKeyed({ tenants: { acme: {} } });
  for (const path of [...PATHS, '/pages/style.css']) {
    assert.equal((await keyed.app.request(path)).status, 200, path);
  }
  for (const path of ['/pages/none.js', '/pages/', '/openapi.json']) {
    assert.equal((await keyed.app.request(path)).status, 401, path);
  }
});

test('below a base path a page and its files are as without it', async () => {
  const below = serve({ basePath: '/openai' }).app;
  for (const path of PATHS) {
    const page = await below.request(`/openai${path}`);
    assert.equal(await page.text(), await (await below.request(path)).text());
    const targets = await references(`/openai${path}`, below);
    assert.ok(targets.length > 4);
    for (const target of targets) assert.match(target, /^\/openai\//);
  }
});
