// Conversations that the server keeps, as the official client creates, reads and continues them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { pluck } from '../pluck.ts';
import { keeping } from './kept.ts';
import { serveKeyed } from './keyed.ts';
import { connect } from './openai-client.ts';
import { assertRefused, readOk, recordPrompts } from './served.ts';

const URL = '/v1/conversations';
const clock = { ms: Date.now() };
const { prompts, reply } = recordPrompts();
const kept = keeping({ now: () => clock.ms });
const served = serveKeyed({ tenants: { acme: {}, other: {} }, ...kept, reply });
const { ask } = served;
const apiKey = served.keys['acme']!.text;
const client = await connect(served, apiKey);
const user = (content: string) => ({ type: 'message' as const, role: 'user' as const, content });

async function textsOf(id: string): Promise<string[]> {
  const texts = [];
  for await (const item of client.conversations.items.list(id, { order: 'asc', limit: 2 })) {
    assert.ok(item.type === 'message' && 'text' in item.content[0]!);
    texts.push(item.content[0].text);
  }
  return texts;
}

test('a conversation is created, read, changed and deleted', async () => {
  const made = await client.conversations.create({ metadata: { topic: 'demo' } });
  assert.match(made.id, /^conv_[0-9a-f]{32}$/);
  const { _request_id, ...shown } = made as typeof made & { _request_id?: string };
  assert.deepEqual(shown, {
    id: made.id,
    object: 'conversation',
    created_at: Math.floor(clock.ms / 1000),
    metadata: { topic: 'demo' },
  });
  await client.conversations.update(made.id, { metadata: { topic: 'other' } });
  const { metadata } = await client.conversations.retrieve(made.id);
  assert.deepEqual(metadata, { topic: 'other' });
  assert.equal((await client.conversations.delete(made.id)).deleted, true);
  await assert.rejects(client.conversations.retrieve(made.id), OpenAI.NotFoundError);
});

test('responses read a conversation and add to it, also streamed ones', async () => {
  const { id } = await client.conversations.create({ items: [user('A')] });
  const first = await client.responses.create({ model: 'base', input: 'B', conversation: id });
  assert.deepEqual(first.conversation, { id });
  const next = { model: 'base', input: 'C', conversation: { id }, store: false };
  await client.responses.stream(next).finalResponse();
  assert.equal(prompts.at(-1), '|user\nA||user\nB||assistant\nHello||user\nC||assistant\n');
  assert.deepEqual(await textsOf(id), ['A', 'B', 'Hello', 'C', 'Hello']);
  assert.deepEqual((await client.responses.retrieve(first.id)).output, first.output);
});

test('its items are added, read and deleted one by one', async () => {
  const { id: conversation_id } = await client.conversations.create();
  const reasoning = { type: 'reasoning' as const, id: 'rs_1', summary: [] };
  const items = [user('A'), reasoning, user('B')];
  const { data } = await client.conversations.items.create(conversation_id, { items });
  assert.deepEqual(pluck(data, 'type'), ['message', 'message']);
  const [first] = data;
  assert.ok(first?.type === 'message');
  const read = await client.conversations.items.retrieve(first.id, { conversation_id });
  assert.ok(read.type === 'message');
  assert.equal(read.id, first.id);
  await client.conversations.items.delete(first.id, { conversation_id });
  assert.deepEqual(await textsOf(conversation_id), ['B']);
  await assert.rejects(
    client.conversations.items.delete(first.id, { conversation_id }),
    OpenAI.NotFoundError,
  );
});

test('another tenant’s, an expired and a made-up conversation get the same errors', async () => {
  const theirs = await readOk<{ id: string }>(await ask('other', URL, {}));
  const old = await readOk<{ id: string }>(await ask('acme', URL, {}));
  clock.ms += 3_600_000;
  const bodies = new Set<string>();
  for (const id of [theirs.id, old.id, `conv_${'0'.repeat(32)}`, 'conv_x', '..%2f']) {
    const paths: [path: string, method: string, body?: object][] = [
      ['', 'GET'],
      ['', 'POST', { metadata: {} }],
      ['', 'DELETE'],
      ['/items', 'GET'],
      ['/items', 'POST', { items: [user('A')] }],
      ['/items/in_0', 'GET'],
      ['/items/in_0', 'DELETE'],
    ];
    for (const [path, method, body] of paths) {
      const sent = body && JSON.stringify(body);
      const init = { method, ...(sent && { body: sent }) };
      const response = await ask('acme', `${URL}/${id}${path}`, undefined, init);
      assert.equal(response.status, 404, `${method} ${path}`);
      bodies.add(await response.text());
    }
    const next = { model: 'base', input: 'B', conversation: id };
    const refused = await ask('acme', '/v1/responses', next);
    await assertRefused(refused, { code: 'not_found', param: 'conversation' });
  }
  assert.equal(bodies.size, 1);
});

test('every change keeps a conversation from then on', async () => {
  const { id } = await client.conversations.create({ items: [user('A')] });
  clock.ms += 3_000_000;
  await client.responses.create({ model: 'base', input: 'B', conversation: id });
  clock.ms += 3_000_000;
  assert.deepEqual(await textsOf(id), ['A', 'B', 'Hello']);
});

test('adding no items changes nothing, as when an agent of OpenAI’s SDK has none yet', async () => {
  const { id } = await client.conversations.create({ items: [user('A')] });
  const { data } = await client.conversations.items.create(id, { items: [] });
  assert.deepEqual(data, []);
  assert.deepEqual(await textsOf(id), ['A']);
});

test('bad items and combinations are refused by name', async () => {
  const { id } = await client.conversations.create();
  const input = { model: 'base', input: 'A' };
  const previous_response_id = `resp_${'0'.repeat(32)}`;
  const faults: [path: string, body: object, param: string, code?: string][] = [
    [URL, { items: Array(21).fill(user('A')) }, 'items'],
    [
      URL,
      { items: [{ type: 'item_reference', id: 'x' }] },
      'items[0].type',
      'unsupported_parameter',
    ],
    [URL, { items: [{ type: 'web_search_call' }] }, 'items[0].type', 'unsupported_parameter'],
    [URL, { metadata: { a: 1 } }, 'metadata.a'],
    [`${URL}/${id}/items`, {}, 'items'],
    ['/v1/responses', { ...input, conversation: 1 }, 'conversation'],
    ['/v1/responses', { ...input, conversation: id, previous_response_id }, 'conversation'],
  ];
  for (const [path, body, param, code = 'invalid_request'] of faults) {
    const refused = await ask('acme', path, body);
    await assertRefused(refused, { code, param }, JSON.stringify(body).slice(0, 80));
  }
});
