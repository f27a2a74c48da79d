// A server that is about to stop: load balancers learn it first, and requests that have not started can go elsewhere.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertRefused, serve, utf8 } from './served.ts';

const URL = '/v1/completions';
const request = { model: 'base', prompt: 'a', max_tokens: 5, stream: true };

test('/readyz and /health say 503 while requests are still answered', async () => {
  const leaving = new AbortController();
  const served = serve({ leaving: leaving.signal });
  assert.equal((await served.app.request('/readyz')).status, 200);
  leaving.abort();
  const ready = await served.app.request('/readyz');
  assert.equal(ready.status, 503);
  assert.deepEqual(await ready.json(), { status: 'leaving' });
  const health = await served.app.request('/health');
  assert.equal(health.status, 503);
  assert.equal(((await health.json()) as { status: string }).status, 'leaving');
  assert.equal((await served.app.request('/livez')).status, 200);
  const response = await served.post(URL, { ...request, stream: false });
  assert.equal(response.status, 200);
});

test('a stream that waits for a slot is refused with a status; one that runs is finished', async () => {
  const served = serve({ slotCount: 1, reply: () => utf8('Hello') });
  const { release } = served.engine.hold('decode');
  const running = await served.post(URL, request);
  assert.equal(running.status, 200);
  const waiting = served.post(URL, request);
  while ((await served.client.stats()).waiting === 0) await new Promise(setImmediate);
  const drained = served.client.drain(10_000);
  await assertRefused(await waiting, { status: 503, code: 'overloaded' });
  release();
  const text = await running.text();
  assert.match(text, /"finish_reason":"length"[\s\S]*data: \[DONE\]\n\n$/);
  await drained;
});
