// Web pages of other origins: a server without keys refuses their requests unless the operator listed the origin.
import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { describe, test } from 'node:test';
import { LoadedAdapters } from '../../adapters/registry/folder-registry.ts';
import { keeping } from './kept.ts';
import { serveKeyed } from './keyed.ts';
import { readError, serve } from './served.ts';
import { filesSide } from './with-jobs.ts';

const EVIL = 'https://evil.example';
const FRIEND = 'https://app.example';

type Headers = Record<string, string>;

/** Every way in which a browser says that a page of another origin asks. */
const FOREIGN: readonly Headers[] = [
  { origin: EVIL },
  { origin: 'null' },
  { origin: 'http://localhost:3000' },
  { origin: 'not a URL' },
  { 'sec-fetch-site': 'cross-site' },
  { 'sec-fetch-site': 'same-site' },
  { origin: EVIL, 'sec-fetch-site': 'cross-site' },
];
const OWN: readonly Headers[] = [
  {},
  { origin: 'http://localhost' },
  { origin: 'https://localhost' },
  { origin: 'http://localhost', 'sec-fetch-site': 'same-origin' },
  { 'sec-fetch-site': 'none' },
];

function stateChanging(app: ReturnType<typeof serve>['app']): [method: string, path: string][] {
  const safe = new Set(['GET', 'HEAD', 'OPTIONS', 'ALL']);
  const routes = app.routes.filter(({ method }) => !safe.has(method));
  const unique = new Map(routes.map((route) => [`${route.method} ${route.path}`, route]));
  return [...unique.values()].map(({ method, path: pattern }) => [
    method,
    pattern.replaceAll(/:(\w+)(\{[^}]*\})?/g, 'x'),
  ]);
}

async function codeOf(response: Response): Promise<string | null> {
  return response.ok ? null : (await readError(response)).code;
}

describe('a server without keys', () => {
  const loaded = new LoadedAdapters(tmpdir(), { baseNames: [] });
  const { app } = serve({ jobs: filesSide(), loaded, ...keeping() });
  const routes = stateChanging(app);

  test('has the state-changing routes that this test knows of, among them', () => {
    const names = routes.map((route) => route.join(' '));
    for (const known of [
      'POST /v1/chat/completions',
      'POST /v1/completions',
      'POST /v1/files',
      'DELETE /v1/files/x',
      'POST /v1/fine_tuning/jobs',
      'POST /v1/fine_tuning/jobs/x/cancel',
      'POST /v1/adapters/x/prefetch',
      'POST /v1/messages',
      'POST /v1/conversations',
      'POST /v1/responses/x/cancel',
      'POST /v1/load_lora_adapter',
    ]) {
      assert.ok(names.includes(known), `${known} in ${names.join(', ')}`);
    }
  });

  for (const [method, route] of routes) {
    test(`T43: refuses pages of other origins: ${method} ${route}`, async () => {
      for (const headers of FOREIGN) {
        const response = await app.request(`http://localhost${route}`, { method, headers });
        const told = [response.status, await codeOf(response)];
        assert.deepEqual(told, [403, 'origin_not_allowed'], JSON.stringify(headers));
        assert.equal(response.headers.get('access-control-allow-origin'), null);
      }
      for (const headers of OWN) {
        const response = await app.request(`http://localhost${route}`, { method, headers });
        assert.notEqual(await codeOf(response), 'origin_not_allowed', JSON.stringify(headers));
      }
    });
  }

  test('still shows its pages to users who follow a link', async () => {
    const headers = { 'sec-fetch-site': 'cross-site' };
    assert.equal((await app.request('/', { headers })).status, 200);
  });

  test('T43: refuses a page that rebound its name by its host, though it looks like its own', async () => {
    const headers = {
      host: 'evil.example',
      origin: 'http://evil.example',
      'sec-fetch-site': 'same-origin',
    };
    const response = await app.request('/v1/files', { method: 'POST', headers });
    assert.deepEqual([response.status, await codeOf(response)], [400, 'invalid_request']);
  });

  test('answers no preflight', async () => {
    const headers = { origin: EVIL, 'access-control-request-method': 'POST' };
    const response = await app.request('/v1/files', { method: 'OPTIONS', headers });
    assert.equal(response.status, 405);
    assert.equal(response.headers.get('access-control-allow-origin'), null);
  });
});

const preflight = (origin: string): RequestInit => ({
  method: 'OPTIONS',
  headers: {
    origin,
    'access-control-request-method': 'POST',
    'access-control-request-headers': 'authorization,content-type,x-stainless-lang',
  },
});
const chat = { model: 'base', messages: [{ role: 'user', content: 'a' }] };

describe('a listed origin', () => {
  const { app, post } = serve({ jobs: filesSide(), allowedOrigins: [FRIEND] });

  test('passes the check on every state-changing route', async () => {
    const headers = { origin: FRIEND, 'sec-fetch-site': 'cross-site' };
    for (const [method, route] of stateChanging(app)) {
      const response = await app.request(`http://localhost${route}`, { method, headers });
      assert.notEqual(response.status, 403, `${method} ${route}`);
    }
    const evil = { ...headers, origin: EVIL };
    assert.equal((await app.request('/v1/files', { method: 'POST', headers: evil })).status, 403);
  });

  test('has its preflights answered and may read answers, errors too, without credentials', async () => {
    const { status, headers } = await app.request('/v1/chat/completions', preflight(FRIEND));
    assert.equal(status, 204);
    assert.equal(headers.get('access-control-allow-origin'), FRIEND);
    assert.match(headers.get('access-control-allow-methods') ?? '', /POST/);
    assert.match(headers.get('access-control-allow-headers') ?? '', /x-stainless-lang/);
    assert.equal(headers.get('access-control-allow-credentials'), null);
    const init = { headers: { origin: FRIEND } };
    for (const model of ['base', 'no-such']) {
      const answer = await post('/v1/chat/completions', { ...chat, model }, init);
      assert.equal(answer.headers.get('access-control-allow-origin'), FRIEND, model);
      assert.match(answer.headers.get('vary') ?? '', /origin/i);
      assert.match(answer.headers.get('access-control-expose-headers') ?? '', /x-request-id/);
    }
  });

  test('is the only one: others get no headers and no preflight', async () => {
    for (const origin of [EVIL, 'null', `${FRIEND}.evil.example`, 'http://app.example']) {
      const response = await app.request('/v1/chat/completions', preflight(origin));
      assert.equal(response.status, 405, origin);
      const health = await app.request('/health', { headers: { origin } });
      assert.equal(health.headers.get('access-control-allow-origin'), null, origin);
      assert.match(health.headers.get('vary') ?? '', /origin/i);
    }
  });
});

describe('with keys', () => {
  const { app, ask } = serveKeyed({ tenants: { acme: {} }, allowedOrigins: ['*'] });

  test('every origin but null may be allowed; preflights need no key, requests do', async () => {
    assert.equal((await app.request('/v1/chat/completions', preflight(EVIL))).status, 204);
    assert.equal((await app.request('/v1/chat/completions', preflight('null'))).status, 401);
    const unauthorized = await app.request('/v1/models', { headers: { origin: EVIL } });
    assert.equal(unauthorized.status, 401);
    assert.equal(unauthorized.headers.get('access-control-allow-origin'), EVIL);
    assert.equal((await ask('acme', '/v1/models')).status, 200);
  });

  test('a key is enough, whatever the origin: pages do not have it', async () => {
    const keyed = serveKeyed({ tenants: { acme: {} } });
    const headers = { origin: EVIL, 'sec-fetch-site': 'cross-site' };
    const response = await keyed.ask('acme', '/v1/chat/completions', chat, { headers });
    assert.equal(response.status, 200);
  });
});
