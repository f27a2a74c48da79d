// The life of a request: adapters, refusals and crashes of the engine, and clients that leave or stall.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { adapterIdentity } from '../../adapters/registry/resolved.ts';
import type { ModelList } from '../../src/contracts/openai.ts';
import { SHARED_OWNER } from '../../src/contracts/tenant.ts';
import { pluck } from '../pluck.ts';
import { assertRefused, idle, readFrames, readOk, serve, utf8 } from './served.ts';

const URL = '/v1/completions';
const request = { model: 'base', prompt: 'a', max_tokens: 200, ignore_eos: true };

describe('adapters', () => {
  const served = serve({ adapters: ['alpha', 'beta'], reply: (_, key) => utf8(key ?? 'base') });

  test('are listed after the base with parent and root, and found by name', async () => {
    const list = await readOk<ModelList>(await served.app.request('/v1/models'));
    assert.deepEqual(
      list.data.map(({ id, object, parent, root }) => ({ id, object, parent, root })),
      [
        { id: 'toy', object: 'model', parent: undefined, root: 'toy' },
        { id: 'alpha', object: 'model', parent: 'toy', root: 'alpha' },
        { id: 'beta', object: 'model', parent: 'toy', root: 'beta' },
      ],
    );
    assert.deepEqual([list.first_id, list.last_id, list.has_more], ['toy', 'beta', false]);
    const one = await readOk(await served.app.request('/v1/models/beta'));
    assert.deepEqual(one, { ...list.data[2], generation_config: {} });
    const base = await readOk(await served.app.request('/v1/models/base'));
    assert.deepEqual(base, { ...list.data[0], generation_config: {} });
    assert.equal((await served.app.request('/v1/models/gamma')).status, 404);
  });

  test('are receipted in the headers and the fingerprint', async () => {
    const response = await served.post(URL, { ...request, model: 'alpha', max_tokens: 64 });
    const digest = response.headers.get('x-lorikeet-adapter')!;
    assert.match(digest, /^[0-9a-f]{64}$/);
    assert.equal(response.headers.get('x-lorikeet-tier'), 'disk');
    // 3 ms for the files, and the time of the look-up.
    const loadMs = Number(response.headers.get('x-lorikeet-load-ms'));
    assert.ok(Number.isInteger(loadMs) && loadMs >= 3, `${loadMs}`);
    const body = await readOk<{
      model: string;
      system_fingerprint: string;
      choices: { text: string }[];
    }>(response);
    assert.equal(body.model, 'alpha');
    assert.equal(body.system_fingerprint, `bbbbbbbbbbbb-${digest.slice(0, 12)}-ffffffff`);
    const part = { owner: SHARED_OWNER, digest, weight: 1 };
    assert.equal(body.choices[0]!.text, adapterIdentity([part]));
    const base = await served.post(URL, { ...request, max_tokens: 1 });
    assert.equal(base.headers.get('x-lorikeet-adapter'), null);
  });

  test('that fail to load end in an error before any stream begins', async () => {
    served.leases.beforeLease = () => {
      throw new Error('ENOENT: /secret/place');
    };
    const response = await served.post(URL, { ...request, model: 'beta', stream: true });
    served.leases.beforeLease = () => {};
    assert.equal(response.headers.get('retry-after'), '1');
    const refusal = { status: 503, code: 'adapter_unavailable' };
    assert.doesNotMatch((await assertRefused(response, refusal)).message, /secret/);
  });
});

describe('an engine that refuses or fails', () => {
  test('T14: for lack of room answers 503 with retry-after, also for a stream of several choices', async () => {
    const served = serve({ slotCount: 1, admission: { maxWaiting: 1 } });
    const { held, release } = served.engine.hold();
    const first = served.post(URL, { ...request, max_tokens: 1 });
    await held;
    const response = await served.post(URL, { ...request, n: 3, stream: true });
    assert.ok(response.headers.get('retry-after'));
    await assertRefused(response, { status: 503, code: 'overloaded' });
    const second = served.post(URL, { ...request, max_tokens: 1 });
    while ((await served.client.stats()).waiting === 0) await nextTurn();
    const unread = await served.post(URL, 'is not JSON');
    assert.equal(unread.status, 503, 'refused before the body is read');
    assert.ok(unread.headers.get('retry-after'));
    release();
    assert.deepEqual([(await first).status, (await second).status], [200, 200]);
    await idle(served);
  });

  test('T14: of requests that come at once for one free place, all but one are refused before their adapter is looked for', async () => {
    const served = serve({ slotCount: 1, admission: { maxWaiting: 1 } });
    const { held, release } = served.engine.hold();
    const running = served.post(URL, { ...request, max_tokens: 1 });
    await held;
    const unknown = () => served.post(URL, { ...request, model: 'nobody' });
    for (let round = 0; round < 2; round++) {
      const answers = await Promise.all([unknown(), unknown(), unknown()]);
      assert.deepEqual(answers.map(({ status }) => status).sort(), [404, 503, 503]);
    }
    const invalid = () => served.post(URL, { ...request, max_tokens: -1 });
    const refused = await Promise.all([invalid(), invalid()]);
    assert.deepEqual(pluck(refused, 'status'), [400, 400], 'only a valid one takes it');
    release();
    assert.equal((await running).status, 200);
    await idle(served);
  });

  test('T29: in mid-stream sends the text so far, the error, and no [DONE]', async () => {
    const served = serve();
    served.engine.failAt(4);
    const frames = await readFrames(await served.post(URL, { ...request, stream: true }));
    const text = frames.slice(0, -1) as { choices: { text: string }[] }[];
    assert.equal(text.map(({ choices }) => choices[0]!.text).join(''), 'Hel');
    assert.deepEqual((frames.at(-1) as { error: object }).error, {
      message: 'The engine failed. Try again; the log of the server gives the reason.',
      type: 'server_error',
      param: null,
      code: 'internal_error',
    });
  });

  test('is visible at /health and /readyz, not at /livez', async () => {
    const served = serve();
    const health = await readOk<{ status: string; engine: { slots: number } }>(
      await served.app.request('/health'),
    );
    assert.equal(health.status, 'ready');
    assert.equal(health.engine.slots, 4);
    await served.client.drain(0);
    for (const path of ['/health', '/readyz']) {
      const response = await served.app.request(path);
      assert.equal(response.status, 503);
      assert.equal(((await response.json()) as { status: string }).status, 'stopped');
    }
    assert.equal((await served.app.request('/livez')).status, 200);
    await assertRefused(await served.post(URL, request), { status: 503, code: 'overloaded' }); // as what waited is told
  });
});

describe('a client that leaves', () => {
  test('F28: in mid-stream frees its slots within a step', async () => {
    const served = serve({ adapters: ['alpha'] });
    const body = { ...request, model: 'alpha', n: 3, stream: true };
    const reader = (await served.post(URL, body)).body!.getReader();
    await reader.read();
    await reader.cancel();
    await idle(served);
  });

  test('F28: while a whole answer is made frees its slots', async () => {
    const served = serve();
    const leaving = new AbortController();
    const answer = served.post(URL, { ...request, n: 2 }, { signal: leaving.signal });
    while ((await served.client.stats()).running === 0) await nextTurn();
    leaving.abort();
    await answer;
    await idle(served);
    const messages = served.logged.map((line) => JSON.parse(line).msg);
    assert.deepEqual(messages, ['usage']);
  });

  test('F28: before a stream starts frees its place in the queue', async () => {
    const served = serve({ adapters: ['alpha'] });
    const leaving = new AbortController();
    served.leases.beforeLease = () => leaving.abort();
    const body = { ...request, model: 'alpha', stream: true };
    await served.post(URL, body, { signal: leaving.signal });
    await idle(served);
  });
});

describe('a reader that is slow', () => {
  const limits = { maxBufferedBytes: 1000 };

  test('T28: gets all of the text later, in fewer chunks', async () => {
    const served = serve({ limits, reply: () => utf8('0123456789'.repeat(20)) });
    const response = await served.post(URL, { ...request, max_tokens: 200, stream: true });
    await idle(served, 1000);
    const frames = (await readFrames(response)).slice(0, -1) as { choices: { text: string }[] }[];
    assert.ok(frames.length < 20, `${frames.length} frames`);
    assert.equal(frames.map(({ choices }) => choices[0]!.text).join(''), '0123456789'.repeat(20));
  });
});

test('a quiet stream is pinged', async () => {
  const served = serve({ limits: { pingMs: 1 } });
  const { release } = served.engine.hold();
  const response = await served.post(URL, { ...request, max_tokens: 1, stream: true });
  const reader = response.body!.getReader();
  const first = await reader.read();
  assert.equal(Buffer.from(first.value!).toString(), ': ping\n\n');
  release();
  await reader.cancel();
});

test('a fault of ours is logged and answered without detail', async () => {
  const served = serve();
  const broken = serve({
    registry: new Proxy({} as never, {
      get() {
        throw new Error('secret prompt');
      },
    }),
  });
  const response = await broken.post(URL, request);
  const error = await assertRefused(response, { status: 500, code: 'internal_error' });
  assert.doesNotMatch(JSON.stringify(error), /secret/);
  assert.equal(broken.logged.filter((line) => JSON.parse(line).level === 50).length, 1);
  assert.deepEqual(served.logged, []);
});
