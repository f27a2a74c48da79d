// With a keys file, only health and the pages' own files are answered without a key (T36, B10, T43), and refusals reveal nothing.
import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { describe, test } from 'node:test';
import { LoadedAdapters } from '../../adapters/registry/folder-registry.ts';
import type { MemoryBudget } from '../../src/common/memory-limit.ts';
import { describeProcessor } from '../../src/common/processor.ts';
import { engineFiguresSchema } from '../../src/contracts/management-api.ts';
import { makeKey } from '../tenants/keys.ts';
import { keeping } from './kept.ts';
import { serveKeyed } from './keyed.ts';
import { assertRefused, readFrames, readOk, serve } from './served.ts';

const PUBLIC = [
  '/health',
  '/livez',
  '/readyz',
  '/',
  '/fine-tuning',
  '/adapters',
  '/status',
  '/usage',
  '/docs',
];
const loaded = new LoadedAdapters(tmpdir(), { baseNames: [] });
const { app, keys, setKeys, ask, logged } = serveKeyed({
  tenants: { acme: {} },
  loaded,
  ...keeping(),
});
const acme = keys['acme']!;

/** Path parameters filled in. */
const routes = app.routes
  .filter(({ method }) => method !== 'ALL')
  .map(({ method, path }) => ({ method, path: path.replaceAll(/:\w+(\{[^}]*\})?/g, 'x') }));

describe('without a key', () => {
  test('the walk is over all routes', () => {
    const paths = new Set(routes.map(({ path }) => path));
    const some = ['/openapi.json', '/metrics', '/v1/models', '/v1/models/x'];
    const others = ['/v1/load_lora_adapter', '/v1/adapters/x/prefetch'];
    const more = ['/v1/messages', '/v1/messages/count_tokens', '/v1/conversations/x/items/x'];
    for (const path of [...PUBLIC, ...some, ...others, ...more]) {
      assert.ok(paths.has(path), path);
    }
    assert.ok(routes.length >= 12);
  });

  for (const { method, path } of routes) {
    const isPublic = PUBLIC.includes(path);
    test(`T36: ${method} ${path} is ${isPublic ? 'answered' : 'refused'}`, async () => {
      const response = await app.request(path, { method });
      if (isPublic) {
        assert.equal(response.status, 200);
        return;
      }
      assert.equal(response.headers.get('www-authenticate'), 'Bearer');
      assert.match(response.headers.get('x-request-id') ?? '', /^req_/);
      await assertRefused(response, { status: 401, code: 'invalid_api_key' });
    });
  }

  const TRICKS: readonly [method: string, path: string][] = [
    ['GET', '//v1/models'],
    ['GET', '/v1//models'],
    ['GET', '/v1/models/'],
    ['GET', '/v1/%2e%2e/v1/models'],
    ['GET', '/health/../v1/models'],
    ['GET', '/health%2f..%2fv1%2fmodels'],
    ['GET', '/health/x'],
    ['GET', '/health;/v1/models'],
    ['GET', '/V1/models'],
    ['GET', '/v1/models?x=/health'],
    ['GET', '/v1/models#/health'],
    ['GET', '/nowhere'],
    ['HEAD', '/v1/models'],
    ['OPTIONS', '/v1/models'],
    ['DELETE', '/v1/models/x'],
    ['PUT', '/v1/completions'],
    ['POST', '/health'],
    ['PROPFIND', '/livez'],
  ];
  for (const [method, path] of TRICKS) {
    test(`T43: ${method} ${path} is refused before it is looked at`, async () => {
      const response = await app.request(path, { method });
      assert.equal(response.status, 401);
      assert.equal(response.headers.get('allow'), null);
      const cors = [...response.headers.keys()].filter((name) => name.startsWith('access-control'));
      assert.deepEqual(cors, []);
    });
  }

  test('another method of a header does not change the route', async () => {
    const headers = { 'x-http-method-override': 'GET', 'x-original-url': '/health' };
    const response = await app.request('/v1/models', { method: 'POST', headers });
    assert.equal(response.status, 401);
  });
});

describe('a wrong key', () => {
  const base64 = Buffer.from(`acme:${acme.text}`).toString('base64');
  const bearer = (key: string) => ({ authorization: `Bearer ${key}` });
  const WRONG: Record<string, Record<string, string>> = {
    none: {},
    empty: { authorization: '' },
    'an empty Bearer': bearer(''),
    'Basic with the right key': { authorization: `Basic ${base64}` },
    'the right key without a scheme': { authorization: acme.text },
    'the right key in upper case': bearer(acme.text.toUpperCase()),
    'the right key twice': bearer(`${acme.text}, Bearer ${acme.text}`),
    'a key of nobody': bearer(makeKey('acme').text),
    'a key of 1 MiB': bearer('x'.repeat(2 ** 20)),
    'bytes above ASCII': bearer(`l\u00f6r\u00efkeet_${'\u00ff'.repeat(20)}`),
    'a key of nobody as x-api-key': { 'x-api-key': makeKey('acme').text },
    'an empty x-api-key': { 'x-api-key': '' },
    'a scheme in x-api-key': { 'x-api-key': `Bearer ${acme.text}` },
    'a wrong Authorization next to the right x-api-key': { ...bearer('x'), 'x-api-key': acme.text },
  };
  const bodies = new Set<string>();
  for (const [what, headers] of Object.entries(WRONG)) {
    test(`B10: ${what} is 401 with www-authenticate`, async () => {
      const response = await app.request('/v1/models', { headers });
      assert.equal(response.status, 401);
      assert.equal(response.headers.get('www-authenticate'), 'Bearer');
      bodies.add(await response.text());
    });
  }

  test('has one answer, whatever is wrong, and none of it is logged', () => {
    assert.equal(bodies.size, 1);
    const { error } = JSON.parse([...bodies][0]!);
    assert.deepEqual([error.type, error.code], ['authentication_error', 'invalid_api_key']);
    assert.ok(logged.every((line) => !line.includes('lorikeet_')));
  });

  test('is refused before the body is read', async () => {
    const response = await app.request('/v1/completions', {
      method: 'POST',
      headers: { 'content-type': 'text/xml' },
      body: '<',
    });
    assert.equal(response.status, 401);
  });
});

describe('with a key', () => {
  test('it may also be sent as x-api-key, and both forms see the same', async () => {
    const request = async (headers: Record<string, string>) =>
      readOk<{ id: string }>(await app.request('/v1/me', { headers }));
    const asApiKey = await request({ 'x-api-key': acme.text });
    assert.deepEqual(asApiKey, await request({ authorization: `Bearer ${acme.text}` }));
    assert.equal(asApiKey.id, 'acme');
    const { engine } = await readOk<{ engine: object | null }>(
      await app.request('/health', { headers: { 'x-api-key': acme.text } }),
    );
    assert.ok(engine);
  });

  test('all is answered as without a keys file', async () => {
    assert.equal((await ask('acme', '/v1/models')).status, 200);
    assert.equal((await ask('acme', '/nowhere')).status, 404);
    const wrongMethod = await ask('acme', '/v1/models', {});
    assert.equal(wrongMethod.status, 405);
    assert.equal(wrongMethod.headers.get('allow'), 'GET, HEAD');
    const body = { model: 'base', prompt: 'a', max_tokens: 2 };
    await readOk(await ask('acme', '/v1/completions', body));
  });

  test('there is no CORS: pages of other origins can read nothing', async () => {
    const headers = { authorization: `Bearer ${acme.text}`, origin: 'https://evil.example' };
    for (const method of ['GET', 'OPTIONS']) {
      const response = await app.request('/v1/models', { method, headers });
      const cors = [...response.headers.keys()].filter((name) => name.startsWith('access-control'));
      assert.deepEqual(cors, []);
    }
  });

  test('F34: a stream continues after its key is revoked, and the next request is refused', async () => {
    const body = { model: 'base', prompt: 'a', max_tokens: 30, stream: true };
    const response = await ask('acme', '/v1/completions', body);
    setKeys([]);
    const frames = await readFrames(response);
    assert.equal(frames.at(-1), '[DONE]');
    assert.equal((await ask('acme', '/v1/models')).status, 401);
    setKeys([acme]);
    assert.equal((await ask('acme', '/v1/models')).status, 200);
  });
});

describe('/health', () => {
  const health = async (authorization?: string) => {
    const headers: Record<string, string> = authorization ? { authorization } : {};
    const response = await app.request('/health', { headers });
    return readOk<{ status: string; load: string; engine: object | null }>(response);
  };

  test('says without a key that the server is ready, and not what its tenants do', async () => {
    for (const authorization of [undefined, 'Bearer wrong', `Bearer ${acme.text}x`]) {
      const { status, load, engine, ...rest } = await health(authorization);
      assert.deepEqual([status, load, engine], ['ready', 'idle', null]);
      assert.deepEqual(Object.keys(rest), ['version', 'model']);
    }
  });

  test('shows exact figures with a key, and without one if the server has no keys', async () => {
    const { engine } = await health(`Bearer ${acme.text}`);
    assert.deepEqual(engine, engineFiguresSchema.parse(engine));
    type Open = { [name in 'engine' | 'memory' | 'processor']: object } & { weights: string };
    const limit = { bytes: 100, source: 'machine' };
    const memory = { limit, totalBytes: 90, parts: { kvCache: 90 } } as object as MemoryBudget;
    const open = await readOk<Open>(await serve({ memory }).app.request('/health'));
    assert.deepEqual(open.memory, { limit, total_bytes: 90, parts: { kv_cache: 90 } });
    assert.deepEqual(open.engine, engineFiguresSchema.parse(open.engine));
    assert.equal(open.weights, 'none');
    assert.deepEqual(open.processor, { ...describeProcessor() });
  });
});
