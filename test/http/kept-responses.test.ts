// Responses that the server keeps, as the official client continues and reads them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { readBody } from '../../adapters/store/documents.ts';
import { guardStore } from '../../adapters/store/guarded-store.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { createLog } from '../../src/common/log.ts';
import type { ApiResponse } from '../../src/contracts/responses.ts';
import { KeptResponses } from '../../src/conversations/kept-responses.ts';
import { storeIsDown } from '../adapters/published.ts';
import { serveKeyed } from './keyed.ts';
import { connect } from './openai-client.ts';
import { assertRefused, readOk, recordPrompts, serve } from './served.ts';

const URL = '/v1/responses';
const memory = createMemoryStore();
const clock = { ms: Date.now() };
const { prompts, reply } = recordPrompts();
const keptResponses = new KeptResponses({
  store: guardStore(memory, createLog('silent')),
  keepMs: 3_600_000,
  maxBytes: 2 ** 30,
  now: () => clock.ms,
});
const served = serveKeyed({ tenants: { acme: {}, other: {} }, keptResponses, reply });
const { ask } = served;
const client = await connect(served, served.keys['acme']!.text);

test('a response is continued, also a streamed one, without its instructions', async () => {
  const first = await client.responses.create({ model: 'base', input: 'A', instructions: 'I' });
  assert.equal((first as unknown as ApiResponse).store, true);
  const next = { model: 'base', input: 'B', previous_response_id: first.id };
  const second = await client.responses.stream(next).finalResponse();
  assert.equal(second.previous_response_id, first.id);
  await client.responses.create({ model: 'base', input: 'C', previous_response_id: second.id });
  assert.equal(
    prompts.at(-1),
    '|user\nA||assistant\nHello||user\nB||assistant\nHello||user\nC||assistant\n',
  );
});

test('the tokens of a request are counted as its response counts them', async () => {
  const first = await client.responses.create({ model: 'base', input: 'A' });
  const next = { model: 'base', input: 'B', instructions: 'I', previous_response_id: first.id };
  const counted = await client.responses.inputTokens.count(next);
  const { usage } = await client.responses.create(next);
  const { input_tokens } = usage!;
  assert.deepEqual(counted, { object: 'response.input_tokens', input_tokens });
  const long = await client.responses.inputTokens.count({ model: 'base', input: 'a'.repeat(3000) });
  assert.ok(long.input_tokens > 3000);
  const other = await ask('other', `${URL}/input_tokens`, next);
  await assertRefused(other, { code: 'previous_response_not_found' });
});

test('the compaction of OpenAI’s API is refused by name, not as a wrong method', async () => {
  const response = await ask('acme', `${URL}/compact`, { model: 'base' });
  await assertRefused(response, { status: 400, code: 'unsupported_parameter' });
});

test('the routes beside a response allow only their own method', async () => {
  for (const route of ['compact', 'input_tokens']) {
    const init = { method: 'OPTIONS' };
    const { status, headers } = await ask('acme', `${URL}/${route}`, undefined, init);
    assert.deepEqual([status, headers.get('allow')], [405, 'POST'], route);
  }
});

test('a response can be read, listed with its input, and deleted', async () => {
  const input = ['A', 'B', 'C'].map((content) => ({ role: 'user' as const, content }));
  const made = await client.responses.create({ model: 'base', input, metadata: { a: 'b' } });
  const { _request_id, ...read } = await client.responses.retrieve(made.id);
  assert.deepEqual(read, made);
  const texts = [];
  for await (const item of client.responses.inputItems.list(made.id, { limit: 2 })) {
    assert.ok(item.type === 'message' && item.content[0]?.type === 'input_text');
    texts.push(item.content[0].text);
  }
  assert.deepEqual(texts, ['C', 'B', 'A']);
  const unknown = { after: `msg_${'0'.repeat(32)}` };
  await assert.rejects(client.responses.inputItems.list(made.id, unknown), {
    status: 400,
    param: 'after',
  });
  await client.responses.delete(made.id);
  await assert.rejects(client.responses.retrieve(made.id), OpenAI.NotFoundError);
});

test('items of a kept response can be sent as references', async () => {
  const { id, output } = await client.responses.create({ model: 'base', input: 'A' });
  const { data } = await client.responses.inputItems.list(id);
  const input = [...data, ...output].map((item) => ({
    type: 'item_reference' as const,
    id: item.id!,
  }));
  await client.responses.create({
    model: 'base',
    input: [...input, { role: 'user', content: 'B' }],
  });
  assert.equal(prompts.at(-1), '|user\nA||assistant\nHello||user\nB||assistant\n');
  const unknown = { type: 'item_reference', id: `msg_${'0'.repeat(32)}` };
  const refused = await ask('acme', URL, { model: 'base', input: [unknown] });
  await assertRefused(refused, { code: 'invalid_request', param: 'input[0].id' });
});

test('a request refers to the items of a limited number of responses', async () => {
  const output = [{ type: 'message' as const, role: 'assistant' as const, content: 'A' }];
  const parts = Array.from({ length: 257 }, (_, i) => String(i).padStart(32, '0'));
  for (const part of parts) {
    const response = JSON.stringify({ output: [{ id: `msg_${part}` }] });
    await keptResponses.keep('acme', `resp_${part}`, { input: [], output, response });
  }
  const input = parts.map((part) => ({ type: 'item_reference', id: `msg_${part}` }));
  const refused = await ask('acme', URL, { model: 'base', input });
  await assertRefused(refused, { code: 'invalid_request', param: 'input[256].id' });
});

test('a request can ask that nothing is kept', async () => {
  const before = await keyCount();
  const body = { model: 'base', input: 'A', store: false };
  const response = await readOk<ApiResponse>(await ask('acme', URL, body));
  assert.equal(response.store, false);
  assert.equal(await keyCount(), before);
});

test('another tenant’s, an expired and a made-up response get the same errors', async () => {
  const { id } = await readOk<ApiResponse>(await ask('other', URL, { model: 'base', input: 'A' }));
  const old = await readOk<ApiResponse>(await ask('acme', URL, { model: 'base', input: 'A' }));
  clock.ms += 3_600_000;
  const bodies = new Set<string>();
  for (const name of [id, old.id, `resp_${'0'.repeat(32)}`, 'resp_x', '..%2f']) {
    for (const [path, method] of [
      ['', 'GET'],
      ['', 'DELETE'],
      ['/input_items', 'GET'],
    ]) {
      const response = await ask('acme', `${URL}/${name}${path}`, undefined, { method: method! });
      assert.equal(response.status, 404);
      bodies.add(await response.text());
    }
    const next = { model: 'base', input: 'B', previous_response_id: name };
    await assertRefused(await ask('acme', URL, next), {
      code: 'previous_response_not_found',
      param: 'previous_response_id',
    });
  }
  assert.equal(bodies.size, 1);
});

const DAMAGED: readonly [what: string, damage: (record: Record<string, unknown>) => unknown][] = [
  ['is not a record', () => ({ schema: 1 })],
  ['has an answer that is not JSON', (record) => ({ ...record, response: 'Hello' })],
  ['has an answer that is none', (record) => ({ ...record, response: 'null' })],
  ['has an answer without its items', (record) => ({ ...record, response: '{"output":[]}' })],
];
for (const [what, damage] of DAMAGED) {
  test(`a kept response that ${what} is an error on every route, and can be deleted`, async () => {
    const made = await readOk<ApiResponse>(await ask('acme', URL, { model: 'base', input: 'A' }));
    const key = `acme/.responses/${made.id}`;
    const { body } = (await memory.get(key))!;
    const record = JSON.parse(String(await readBody(body, 2 ** 20)));
    await memory.put(key, Buffer.from(JSON.stringify(damage(record))));
    const path = `${URL}/${made.id}`;
    const next = { model: 'base', input: 'B', previous_response_id: made.id };
    const input = [{ type: 'item_reference', id: made.output[0]!.id }];
    for (const [param, response] of [
      ['id', await ask('acme', path)],
      ['id', await ask('acme', `${path}/input_items`)],
      ['previous_response_id', await ask('acme', URL, next)],
      ['input[0].id', await ask('acme', URL, { model: 'base', input })],
    ] as const) {
      assert.equal(response.headers.get('x-should-retry'), 'false');
      const message = /It can only be deleted: DELETE/;
      await assertRefused(response, { status: 500, code: 'object_damaged', param, message });
    }
    const remove = { method: 'DELETE' };
    assert.equal((await ask('other', path, undefined, remove)).status, 404);
    assert.equal((await ask('acme', path, undefined, remove)).status, 200);
    assert.equal((await ask('acme', path)).status, 404);
  });
}

test('a response that cannot be kept is an error, in a stream a failed response', async () => {
  const down = Object.assign(createMemoryStore(), { put: async () => storeIsDown() });
  const store = guardStore(down, createLog('silent'));
  const limits = { keepMs: 1000, maxBytes: 2 ** 30 };
  const keptResponses = new KeptResponses({ store, ...limits, now: Date.now });
  const { post } = serve({ keptResponses });
  const response = await post(URL, { model: 'base', input: 'A' });
  await assertRefused(response, { code: 'store_unavailable' });
  const frames = await (await post(URL, { model: 'base', input: 'A', stream: true })).text();
  assert.match(frames, /event: response\.output_item\.done\n/);
  assert.match(frames.split('\n\n').at(-2)!, /^event: response\.failed\n/);
});

async function keyCount(): Promise<number> {
  let count = 0;
  for await (const _ of memory.list('')) count++;
  return count;
}
