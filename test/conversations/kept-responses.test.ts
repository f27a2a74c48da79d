// Kept responses: whose they are, how long they are there, and how many.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { guardStore } from '../../adapters/store/guarded-store.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { createLog } from '../../src/common/log.ts';
import { KeptResponses } from '../../src/conversations/kept-responses.ts';
import type { KeepOptions } from '../../src/conversations/tenant-records.ts';
import { watchStore } from '../adapters/published.ts';
import { listKeys } from '../adapters/store/wrapped-store.ts';

const HOUR_MS = 3_600_000;
const ID = `resp_${'a'.repeat(32)}`;
const kept = (content: string) => ({
  input: [{ type: 'message' as const, role: 'user' as const, content }],
  output: [{ type: 'message' as const, role: 'assistant' as const, content: 'Hello' }],
  response: JSON.stringify({ id: ID, output: [{ id: 'msg_1' }] }),
});

function open(options: Partial<KeepOptions> = {}) {
  const clock = { ms: 0 };
  const memory = createMemoryStore({ now: () => clock.ms });
  const store = guardStore(memory, createLog('silent'));
  const responses = new KeptResponses({
    store,
    keepMs: HOUR_MS,
    maxBytes: 2 ** 30,
    now: () => clock.ms,
    ...options,
  });
  const keys = () => listKeys(memory);
  return { responses, clock, keys };
}

test('a response is found by its tenant, and by no other', async () => {
  const { responses } = open();
  await responses.keep('acme', ID, kept('Hi'));
  assert.deepEqual(await responses.find('acme', ID), kept('Hi'));
  assert.equal(await responses.find('other', ID), undefined);
  assert.equal(await responses.remove('other', ID), false);
  for (const id of ['', 'resp_1', `../acme/.responses/${ID}`, ID.toUpperCase()]) {
    assert.equal(await responses.find('acme', id), undefined);
  }
});

test('a response is found as it was, however deep it is', async () => {
  const { responses } = open();
  const response = `{"output":[{"id":"msg_1"}],"deep":${'['.repeat(100)}${']'.repeat(100)}}`;
  await responses.keep('acme', ID, { ...kept('Hi'), response });
  assert.equal((await responses.find('acme', ID))!.response, response);
});

test('a removed response is gone', async () => {
  const { responses, keys } = open();
  await responses.keep('acme', ID, kept('Hi'));
  assert.equal(await responses.remove('acme', ID), true);
  assert.equal(await responses.remove('acme', ID), false);
  assert.deepEqual(await keys(), []);
});

test('removing a response in the background ends its generation', async () => {
  const { responses } = open();
  const generation = new AbortController();
  await responses.open('acme', ID, { ...kept('Hi'), endsMs: HOUR_MS }, generation);
  assert.equal(await responses.remove('acme', ID), true);
  assert.ok(generation.signal.aborted);
});

test('an expired response is unknown at once, and deleted by the next sweep', async () => {
  const { responses, clock, keys } = open();
  await responses.keep('acme', ID, kept('Hi'));
  clock.ms = HOUR_MS - 1;
  await responses.sweep();
  assert.ok(await responses.find('acme', ID));
  clock.ms = HOUR_MS;
  assert.equal(await responses.find('acme', ID), undefined);
  assert.equal((await keys()).length, 1);
  await responses.sweep();
  assert.deepEqual(await keys(), []);
});

test('a sweep deletes the oldest responses of a tenant that has too many', async () => {
  const { responses, clock, keys } = open({ maxPerTenant: 2 });
  const ids = ['a', 'b', 'c'].map((digit) => `resp_${digit.repeat(32)}`);
  for (const id of ids) {
    clock.ms++;
    await responses.keep('acme', id, kept('Hi'));
  }
  await responses.keep('other', ID, kept('Hi'));
  await responses.sweep();
  assert.deepEqual(
    (await keys()).map((key) => key.split('/').at(-1)),
    [ids[1], ids[2], ID],
  );
});

test('a tenant’s responses are limited in bytes on each of several servers, without a list per response', async () => {
  const MIB = 2 ** 20;
  const clock = { ms: 0 };
  const memory = createMemoryStore({ now: () => clock.ms });
  const watched = watchStore(memory);
  const store = guardStore(watched, createLog('silent'));
  const options = { store, keepMs: HOUR_MS, maxBytes: 100 * MIB, now: () => clock.ms };
  const servers = [new KeptResponses(options), new KeptResponses(options)];
  const sizes = async () => {
    const found: number[] = [];
    for await (const entry of memory.list(''))
      if (entry.kind === 'object') found.push(entry.byteSize);
    return found;
  };
  const count = 120;
  const idOf = (i: number) => `resp_${i.toString(16).padStart(32, '0')}`;
  for (let i = 0; i < count; i++) {
    clock.ms++;
    await servers[i % 2]!.keep('acme', idOf(i), kept('x'.repeat(2 * MIB)));
    const bytes = (await sizes()).reduce((sum, size) => sum + size, 0);
    assert.ok(bytes <= 1.2 * options.maxBytes + 2 * 2.1 * MIB, `${bytes} bytes`);
  }
  const lists = watched.reads.filter((key) => key === 'acme/.responses/');
  assert.equal(lists.length, 24, 'each server lists after five responses');
  assert.ok(await servers[0]!.find('acme', idOf(count - 49)), 'a recent one is there');
  assert.equal(await servers[0]!.find('acme', idOf(0)), undefined);
  await servers[0]!.keep('other', ID, kept('Hi'));
  await servers[0]!.sweep();
  assert.equal((await sizes()).length, 50, '49 of 2 MiB and another tenant’s');
});

test('a response that is too large to be read again is refused', async () => {
  const { responses, keys } = open();
  await assert.rejects(responses.keep('acme', ID, kept('x'.repeat(9 * 2 ** 20))), {
    code: 'invalid_request',
    param: 'store',
  });
  assert.deepEqual(await keys(), []);
});
