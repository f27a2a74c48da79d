// GET /v1/requests: what a request waits for, from its arrival to its end, for its tenant and for operators.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Request, RequestList } from '../../src/contracts/management-api.ts';
import { RequestLog, stateOf } from '../../src/telemetry/request-log.ts';
import { until } from '../until.ts';
import { serveKeyed } from './keyed.ts';
import { readOk } from './served.ts';

const URL = '/v1/completions';
const TENANTS = { acme: {}, globex: {}, root: {} };

test('a tenant sees what its requests wait for, operators see all, and no text is shown', async () => {
  const { ask, engine } = serveKeyed({ tenants: TENANTS, admins: ['root'], slotCount: 1 });
  const { release } = engine.hold();
  const body = { model: 'base', prompt: 'secret', max_tokens: 2 };
  const send = (tenant: string, id: string) =>
    ask(tenant, URL, body, { headers: { 'x-request-id': id } });
  const seen = async (tenant: string, query = '') => {
    const { data } = await readOk<RequestList>(await ask(tenant, `/v1/requests${query}`));
    return data.map(({ id, state, reason }: Request) => [id, state, reason]);
  };
  const arrived = (count: number, states: string) =>
    until(`${count} requests`, async () => {
      const all = await seen('root');
      return all.map(([, state]) => state).join() === states && all.length === count;
    });
  const first = send('acme', 'one');
  await arrived(1, 'prefill');
  const second = send('acme', 'two');
  const third = send('globex', 'three');
  await arrived(3, 'prefill,queued,queued');
  const one = ['one', 'prefill', null];
  assert.deepEqual(await seen('acme'), [one, ['two', 'queued', 'no_slot']]);
  assert.deepEqual(await seen('globex'), [['three', 'queued', 'no_slot']]);
  assert.deepEqual(await seen('acme', '?id=one'), [one]);
  assert.deepEqual(await seen('acme', '?id=three'), []);
  assert.equal((await seen('root')).length, 3);
  release();
  await Promise.all([first, second, third]);
  const list = await readOk<RequestList>(await ask('root', '/v1/requests'));
  assert.ok(!JSON.stringify(list).includes('secret'));
  for (const { state, outcome, output_tokens, decode_ms } of list.data) {
    assert.deepEqual([state, outcome, output_tokens], ['ended', 'ok', 2]);
    assert.ok(decode_ms !== null && decode_ms >= 0);
  }
  assert.equal(list.is_training, false);
});

test('only the last 200 ended requests are kept, and no ended lines of batches', () => {
  const log = new RequestLog();
  const given = { tenant: 'a', model: 'm', hasAdapter: true, promptTokens: 1, startMs: 0 };
  const facts = { ...given, isIdle: false };
  for (let i = 0; i < 250; i++) {
    const record = log.begin({ ...facts, id: String(i) });
    assert.equal(stateOf(record), 'loading');
    log.end(record, { atMs: i, outcome: 'ok' });
  }
  assert.deepEqual(
    [log.list('a').length, log.list('a')[0]!.id, log.list('b').length],
    [200, '249', 0],
  );
  const line = log.begin({ ...facts, id: 'line', isIdle: true });
  assert.equal(log.list('a')[0]!.id, 'line', 'it is listed while it runs');
  log.end(line, { atMs: 250, outcome: 'ok' });
  assert.deepEqual([log.list('a').length, log.list('a')[0]!.id], [200, '249']);
});
