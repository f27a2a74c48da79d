// Responses in the background: the client asks for them later, or cancels them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ApiResponse } from '../../src/contracts/responses.ts';
import { until } from '../until.ts';
import { keeping } from './kept.ts';
import { serveKeyed } from './keyed.ts';
import { assertRefused, idle, readOk, utf8 } from './served.ts';

const URL = '/v1/responses';
const clock = { ms: Date.now() };
const kept = keeping({ now: () => clock.ms });
const { keptResponses } = kept;
const served = serveKeyed({
  tenants: { acme: { limits: { concurrentRequests: 2 } }, other: {} },
  ...kept,
  now: () => clock.ms,
  reply: () => utf8('Hello'),
});
const { ask, engine } = served;
const request = { model: 'base', input: 'Hi', background: true };

const create = async (fields: object = {}) =>
  readOk<ApiResponse>(await ask('acme', URL, { ...request, ...fields }));
const get = async (id: string) => readOk<ApiResponse>(await ask('acme', `${URL}/${id}`));
const cancel = (id: string, tenant = 'acme') =>
  ask(tenant, `${URL}/${id}/cancel`, undefined, { method: 'POST' });
const ended = (id: string) =>
  until('the end of a response', async () => {
    const response = await get(id);
    return response.status !== 'in_progress' && response;
  });

test('a response in the background is answered before its first token, and read when it has ended', async () => {
  const { release } = engine.hold('decode');
  const first = await create();
  assert.deepEqual([first.status, first.background, first.output], ['in_progress', true, []]);
  assert.deepEqual(await get(first.id), first);
  const previous = { previous_response_id: first.id };
  const theirs = await ask('other', URL, { ...request, ...previous });
  await assertRefused(theirs, { code: 'previous_response_not_found' });
  release();
  const { output, usage, ...last } = await ended(first.id);
  assert.equal(last.status, 'completed');
  assert.ok(output[0]?.type === 'message');
  assert.equal(output[0].content[0]!.text, 'Hello');
  assert.equal(usage?.output_tokens, 5);
  await idle(served);
  assert.equal((await create({ ...previous, background: false })).status, 'completed');
});

test('it counts as a running request of its tenant until it has ended', async () => {
  const { release } = engine.hold('decode');
  const { id } = await create();
  await create();
  const more = await ask('acme', URL, { ...request, background: false });
  await assertRefused(more, { code: 'rate_limit_exceeded' });
  release();
  await until('the end of a response', async () => {
    const response = await ask('acme', `${URL}/${id}`);
    return response.status === 200 && (await readOk<ApiResponse>(response)).status === 'completed';
  });
  await idle(served);
});

test('it adds its items to its conversation', async () => {
  const { id } = await readOk<{ id: string }>(await ask('acme', '/v1/conversations', {}));
  const first = await create({ conversation: id });
  await until('the items', async () => {
    const items = await ask('acme', `/v1/conversations/${id}/items`);
    return items.status === 200 && (await readOk<{ data: unknown[] }>(items)).data.length === 2;
  });
  await until(
    'the end',
    async () => (await keptResponses.find('acme', first.id))?.endsMs === undefined,
  );
});

test('it is cancelled, which frees its slot, and only by its tenant', async () => {
  const { release } = engine.hold('decode');
  const { id } = await create({ ignore_eos: true });
  assert.equal((await cancel(id, 'other')).status, 404);
  assert.ok((await keptResponses.cancel('acme', id))?.response.includes('"cancelled"'));
  release();
  await idle(served, 150);
  const response = await get(id);
  assert.deepEqual([response.status, response.output], ['cancelled', []]);
  assert.deepEqual(await readOk(await cancel(id)), response);
});

test('it fails if its server died, or if the engine fails', async () => {
  const { release } = engine.hold('decode');
  const { id } = await create();
  clock.ms += 600_000 + 60_000;
  assert.ok((await keptResponses.find('acme', id))?.response.includes('"failed"'));
  clock.ms -= 600_000 + 60_000;
  release();
  await ended(id);
  await idle(served);
  engine.failAt(3);
  const { status, error } = await ended((await create()).id);
  assert.deepEqual([status, error?.code], ['failed', 'server_error']);
});

test('what cannot be in the background is refused by name', async () => {
  await idle(served);
  const faults: [object, string][] = [
    [{ stream: true }, 'background'],
    [{ store: false }, 'background'],
    [{ background: 1 }, 'background'],
    [{ max_output_tokens: 1e6 }, 'input'],
  ];
  for (const [fields, param] of faults)
    await assertRefused(await ask('acme', URL, { ...request, ...fields }), { param });
  const whole = await create({ background: false });
  await assertRefused(await cancel(whole.id), { code: 'invalid_request', param: 'id' });
});
