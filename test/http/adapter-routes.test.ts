// Published adapters as clients see them besides generations: headers, prefetch, deletion, loading by path.

import assert from 'node:assert/strict';
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { FolderAdapters, LoadedAdapters } from '../../adapters/registry/folder-registry.ts';
import { Registry } from '../../adapters/registry/registry.ts';
import { ServeError } from '../../src/common/errors.ts';
import { LOCAL_TENANT } from '../../src/contracts/tenant.ts';
import { sampleFolder } from '../adapters/published.ts';
import { configBytes } from '../adapters/sample.ts';
import { temporaryFolder } from '../fixtures.ts';
import { pluck } from '../pluck.ts';
import { serveKeyed } from './keyed.ts';
import { servePublished } from './published.ts';
import { assertRefused, idle, readOk, serve, TOY } from './served.ts';

const COMPLETIONS = '/v1/completions';
const HOUR_MS = 3_600_000;
const completionOf = (model: string) => ({ model, prompt: 'a', max_tokens: 1 });

/** The adapterUse of an answer, without what differs from run to run. */
function receiptOf({ headers }: Response) {
  const of = (name: string) => headers.get(`x-lorikeet-${name}`);
  return { version: of('version'), alias: of('alias'), tier: of('tier') };
}

describe('a adapterUse', () => {
  test('names digest, version, alias and tier, and its version works as a model', async () => {
    const served = servePublished();
    const digest = await served.publish('local', 'zen', { aliases: ['stable'] });
    const first = await served.post(COMPLETIONS, completionOf('zen:stable'));
    const { system_fingerprint } = await readOk<{ system_fingerprint: string }>(first);
    assert.equal(first.headers.get('x-lorikeet-adapter'), digest);
    assert.match(first.headers.get('x-lorikeet-load-ms')!, /^\d+$/);
    assert.equal(system_fingerprint, `bbbbbbbbbbbb-${digest.slice(0, 12)}-ffffffff`);
    assert.deepEqual(receiptOf(first), { version: 'zen@1', alias: 'stable', tier: 'store' });
    const again = await served.post(COMPLETIONS, completionOf(receiptOf(first).version!));
    assert.equal(again.headers.get('x-lorikeet-adapter'), digest);
    assert.deepEqual(receiptOf(again), { version: 'zen@1', alias: null, tier: 'slot' });
  });

  test('of a composition names all its parts', async () => {
    const served = servePublished();
    await served.publish('local', 'zen');
    await served.publish('shared', 'tone', { aliases: ['stable'] });
    const response = await served.post(COMPLETIONS, completionOf('zen+0.5*tone:stable'));
    await readOk(response);
    assert.deepEqual(receiptOf(response), {
      version: 'zen@1+0.5*tone@1',
      alias: 'latest, stable',
      tier: 'store',
    });
  });
});

describe('a usage line', () => {
  test('is logged once for each generation, with tenant, adapter and tokens', async () => {
    const served = servePublished();
    const digest = await served.publish('local', 'zen');
    const body = { ...completionOf('zen'), prompt: 'abc', max_tokens: 5, n: 2 };
    const headers = { 'x-request-id': 'my-request' };
    await readOk(await served.post(COMPLETIONS, body, { headers }));
    await readOk(await served.post(COMPLETIONS, completionOf('base'), { headers }));
    const lines = served.logged.map((line) => JSON.parse(line));
    const usage = lines.filter(({ msg }) => msg === 'usage').map(({ time, ...rest }) => rest);
    const common = { level: 30, msg: 'usage', tenant: 'local', cachedTokens: 0 };
    const of = { ...common, requestId: 'my-request' };
    assert.deepEqual(usage, [
      { ...of, adapter: digest, tier: 'store', promptTokens: 3, completionTokens: 10 },
      { ...of, adapter: null, promptTokens: 1, completionTokens: 1 },
    ]);
  });
});

describe('prefetch', () => {
  test('loads an adapter before a request names it', async () => {
    const served = servePublished();
    const digest = await served.publish('local', 'zen');
    const until = Math.floor(Date.now() / 1000) + 600;
    const url = '/v1/adapters/zen/prefetch';
    const found = await served.post(url, { keep_warm_until: until });
    const { load_ms: loadMs, ...rest } = await readOk<Record<string, unknown>>(found);
    assert.ok(Number.isInteger(loadMs));
    const common = { id: 'zen', object: 'adapter.prefetch', adapter: digest, root: 'zen@1' };
    assert.deepEqual(rest, { ...common, tier: 'store', keep_warm_until: until });
    assert.equal(served.leased.held, 0);
    const again = await served.app.request(url, { method: 'POST' });
    const { tier, keep_warm_until: kept } = await readOk<Record<string, unknown>>(again);
    assert.deepEqual({ tier, kept }, { tier: 'disk', kept: null });
    const response = await served.post(COMPLETIONS, completionOf('zen'));
    await readOk(response);
    assert.equal(receiptOf(response).tier, 'disk');
  });

  test('T17: counts as a request of the tenant that asks, with its part of the cache', async () => {
    const adapterCache = { reserved: 0.5 };
    const acme = { weight: 3, adapterCache };
    const served = serveKeyed({ tenants: { acme }, adapters: ['alpha'] });
    const asked: unknown[] = [];
    served.leases.beforeLease = (_, { tenant }) => void asked.push(tenant);
    await readOk(await served.ask('acme', '/v1/adapters/alpha/prefetch', {}));
    await readOk(await served.ask('acme', COMPLETIONS, completionOf('alpha')));
    const share = { id: 'acme', weight: 3, adapterCache };
    assert.deepEqual(asked, [share, share]);
  });

  test('is refused for unknown adapters, other tenants’ adapters, the base, and too long times', async () => {
    const served = servePublished();
    await served.publish('umbrella', 'secret');
    await served.publish('local', 'zen');
    const prefetch = (name: string, body = {}) =>
      served.post(`/v1/adapters/${encodeURIComponent(name)}/prefetch`, body);
    const miss = { status: 404, code: 'model_not_found', param: 'model' };
    for (const name of ['none', 'secret', '../zen'])
      await assertRefused(await prefetch(name), miss);
    const wrong = { status: 400, code: 'invalid_request' };
    await assertRefused(await prefetch('base'), { ...wrong, param: 'name' });
    const nowS = Math.floor(Date.now() / 1000);
    for (const until of [0, nowS - 10, nowS + 100_000, 1.5, '9']) {
      const refused = await prefetch('zen', { keep_warm_until: until });
      await assertRefused(refused, { ...wrong, param: 'keep_warm_until' });
    }
    assert.equal(served.leased.total, 0);
  });
});

describe('DELETE', () => {
  const remove = (served: ReturnType<typeof servePublished>, id: string) =>
    served.app.request(`/v1/models/${encodeURIComponent(id)}`, { method: 'DELETE' });

  test('F33: ends a name at once, while streams that use it go on', async () => {
    const served = servePublished();
    await served.publish('local', 'zen');
    const long = { ...completionOf('zen'), max_tokens: 100, stream: true };
    const streaming = await served.post(COMPLETIONS, long);
    const removed = await readOk(await remove(served, 'zen'));
    assert.deepEqual(removed, { id: 'zen', object: 'model', deleted: true });
    assert.equal((await served.post(COMPLETIONS, completionOf('zen'))).status, 404);
    assert.match(await streaming.text(), /\[DONE\]/);
  });

  test('of another’s name is the same 404 as of none', async () => {
    const served = servePublished();
    await served.publish('umbrella', 'secret');
    const bodies = await Promise.all(
      ['secret', 'none', 'base', '../x'].map(async (id) => {
        const response = await remove(served, id);
        return { status: response.status, body: await response.text() };
      }),
    );
    assert.equal(new Set(bodies.map((one) => JSON.stringify(one))).size, 1);
    assert.equal(bodies[0]!.status, 404);
  });

  test('of a version that an alias leads to is refused', async () => {
    const served = servePublished();
    await served.publish('local', 'zen');
    const response = await remove(served, 'zen@1');
    assert.ok([400, 409].includes(response.status), `${response.status}`);
    await readOk(await served.post(COMPLETIONS, completionOf('zen@1')));
  });
});

/** A server whose operator loads adapters below `root`. */
function loading({ isAdmin = true, hasOpenAdmin = false } = {}) {
  const root = temporaryFolder();
  const put = (name: string, config = {}) => {
    cpSync(sampleFolder(config), path.join(root, name), { recursive: true });
    return path.join(root, name);
  };
  const options = { baseNames: ['toy'], now: () => Date.now() + HOUR_MS };
  const loaded = new LoadedAdapters(root, options);
  const local = [loaded, new FolderAdapters(undefined, options)];
  const served = serve({
    registry: new Registry({ base: TOY, local }),
    loaded,
    ...(hasOpenAdmin ? { hasOpenAdmin } : { authenticate: () => ({ ...LOCAL_TENANT, isAdmin }) }),
  });
  const send = async (verb: 'load' | 'unload', body: unknown) => {
    const response = await served.post(`/v1/${verb}_lora_adapter`, body);
    const text = await response.text();
    if (response.ok) return [response.status, text];
    const { code, param } = JSON.parse(text).error;
    return [response.status, code, param];
  };
  const load = (name: string, place: string, rest = {}) =>
    send('load', { lora_name: name, lora_path: place, ...rest });
  const unload = (name: string) => send('unload', { lora_name: name });
  const digestOf = async (model: string) => {
    const response = await served.post(COMPLETIONS, completionOf(model));
    await response.arrayBuffer();
    return response.headers.get('x-lorikeet-adapter') ?? response.status;
  };
  return { ...served, root, put, load, unload, digestOf };
}

describe('loading by path', () => {
  test('serves a folder at once, by absolute or relative path, until it is unloaded', async () => {
    const { app, put, load, unload, digestOf } = loading();
    const place = put('one');
    put('two', { lora_alpha: 8 });
    assert.equal(await digestOf('zen'), 404);
    const added = [200, "Success: LoRA adapter 'zen' added successfully."];
    assert.deepEqual(await load('zen', place), added);
    const first = await digestOf('zen');
    assert.match(String(first), /^[0-9a-f]{64}$/);
    assert.deepEqual(await load('zen', 'two'), [400, 'invalid_request', 'lora_name']);
    assert.equal(await digestOf('zen'), first);
    assert.deepEqual(await load('zen', 'two', { load_inplace: true }), added);
    assert.notEqual(await digestOf('zen'), first);
    const list = (await (await app.request('/v1/models')).json()) as { data: { id: string }[] };
    assert.deepEqual(pluck(list.data, 'id'), ['toy', 'zen']);
    const removed = [200, "Success: LoRA adapter 'zen' removed successfully."];
    assert.deepEqual(await unload('zen'), removed);
    assert.equal(await digestOf('zen'), 404);
    assert.deepEqual(await unload('zen'), [400, 'invalid_request', 'lora_name']);
  });

  test('a repeated load or unload gets the error by which KubeAI sees that there is nothing to do', async () => {
    const { post, put, load } = loading();
    const place = put('one');
    await load('zen', place);
    const read = async (verb: string, body: object) => {
      const response = await post(`/v1/${verb}_lora_adapter`, body);
      const answer = (await response.json()) as { type: string; message: string };
      return [response.status, answer] as const;
    };
    const [status, again] = await read('load', { lora_name: 'zen', lora_path: place });
    assert.deepEqual([status, again.type], [400, 'InvalidUserInput']);
    assert.match(again.message, /already loaded/);
    const [unknownStatus, unknown] = await read('unload', { lora_name: 'tone' });
    assert.deepEqual([unknownStatus, unknown.type], [400, 'InvalidUserInput']);
    assert.match(unknown.message, /cannot be found/);
  });

  test('opens nothing outside the folder, and no bad one', async () => {
    const { root, leases, put, load, digestOf, ...served } = loading();
    const outside = sampleFolder();
    symlinkSync(outside, path.join(root, 'link'));
    mkdirSync(path.join(root, 'empty'));
    put('velora', { velora_config: { scale: 1 } });
    put('good');
    const missing = [404, 'not_found', 'lora_path'];
    const tooLong = 'x'.repeat(256); // for the name of a file
    const places = [
      outside,
      '..',
      '.',
      '/',
      '/etc/passwd',
      'link',
      'none',
      'empty',
      `${root}/../x`,
    ];
    for (const place of [...places, tooLong, 's3://bucket/zen'])
      assert.deepEqual(await load('zen', place), missing, place);
    for (const place of ['', 'a\0b', 'x'.repeat(5000)]) {
      assert.deepEqual(await load('zen', place), [400, 'invalid_request', 'lora_path']);
    }
    assert.deepEqual(await load('zen', 'velora'), [422, 'adapter_invalid', 'velora_config']);
    const names = ['base', 'toy', 'default', '../zen', 'a:b', 'a@1', 'a+b', '', 'ft:a:b:c:d'];
    for (const name of names)
      assert.deepEqual(await load(name, 'good'), [400, 'invalid_request', 'lora_name'], name);
    leases.beforeLease = () => {
      throw new ServeError('adapter_invalid', 'rank', { param: 'r' });
    };
    assert.deepEqual(await load('zen', 'good'), [422, 'adapter_invalid', 'r']);
    assert.equal(await digestOf('zen'), 404);
    await idle({ ...served, leases });
  });

  test("is for this machine's own user if no keys are needed", async () => {
    const { put, load, unload, digestOf } = loading({ hasOpenAdmin: true });
    put('one');
    assert.equal((await load('zen', 'one'))[0], 200);
    assert.match(String(await digestOf('zen')), /^[0-9a-f]{64}$/);
    assert.equal((await unload('zen'))[0], 200);
  });

  test('is for admin keys only, and not there unless a folder is configured', async () => {
    const guest = loading({ isAdmin: false });
    guest.put('one');
    assert.deepEqual(await guest.load('zen', 'one'), [403, 'forbidden', null]);
    assert.deepEqual(await guest.unload('zen'), [403, 'forbidden', null]);
    const plain = serve({ authenticate: () => ({ ...LOCAL_TENANT, isAdmin: true }) });
    const body = { lora_name: 'zen', lora_path: 'one' };
    assert.equal((await plain.post('/v1/load_lora_adapter', body)).status, 404);
  });
});

test('the folder of a loaded name is found again when its files change', async () => {
  const root = temporaryFolder();
  cpSync(sampleFolder(), path.join(root, 'one'), { recursive: true });
  const loaded = new LoadedAdapters(root, { baseNames: ['toy'] });
  await loaded.load('zen', 'one');
  const zen = { name: 'zen', selector: { kind: 'alias', alias: 'latest' } } as const;
  const before = await loaded.find('shared', zen);
  writeFileSync(path.join(root, 'one', 'adapter_config.json'), configBytes({ lora_alpha: 9 }));
  const found = await loaded.find('shared', zen);
  assert.notEqual(found!.part.digest, before!.part.digest);
});
