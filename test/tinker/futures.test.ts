import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withResolvers } from '../../src/common/waiting.ts';
import { Futures } from '../../src/tinker/futures.ts';

test('a request that is repeated is not started again', async () => {
  const futures = new Futures();
  let count = 0;
  const start = () => futures.start('one', 'acme', async () => ({ count: ++count }));
  start();
  start();
  assert.deepEqual(await futures.wait('one', 'acme', 1000), { kind: 'done', value: { count: 1 } });
});

test('a result that is not ready is pending, and then it is there', async () => {
  const futures = new Futures();
  const result = withResolvers<object>();
  futures.start('one', 'acme', () => result.promise);
  assert.deepEqual(await futures.wait('one', 'acme', 0), { kind: 'pending' });
  result.resolve({});
  assert.deepEqual(await futures.wait('one', 'acme', 1000), { kind: 'done', value: {} });
});

test('a result of another tenant is unknown', async () => {
  const futures = new Futures();
  futures.start('one', 'acme', async () => ({}));
  await assert.rejects(futures.wait('one', 'other', 0), { code: 'expired' });
  await assert.rejects(futures.wait('two', 'acme', 0), { code: 'expired' });
});

test('beyond the limit the oldest result goes, and unfinished work stays', async () => {
  const futures = new Futures({ maxResults: 1 });
  futures.start('slow', 'acme', () => new Promise(() => {}));
  futures.start('old', 'acme', async () => ({}));
  await futures.wait('old', 'acme', 1000);
  futures.start('new', 'acme', async () => ({}));
  await futures.wait('new', 'acme', 1000);
  await assert.rejects(futures.wait('old', 'acme', 0), { code: 'expired' });
  assert.deepEqual(await futures.wait('slow', 'acme', 0), { kind: 'pending' });
});

test('a tenant has at most a quarter of the unfinished work, and less among many tenants', async () => {
  const futures = new Futures({ maxUnfinished: 8 });
  const never = () => new Promise<object>(() => {});
  const result = withResolvers<object>();
  const refusal = { status: 429, retryAfterS: 1, message: /2 unfinished .* share .* is 2/ };
  futures.start('a1', 'a', () => result.promise);
  futures.requireRoom('a');
  futures.start('a2', 'a', never);
  assert.throws(() => futures.requireRoom('a'), refusal);
  for (const tenant of ['b', 'c', 'd', 'e', 'f', 'g']) {
    futures.requireRoom(tenant);
    futures.start(tenant, tenant, never);
  }
  futures.requireRoom('b');
  futures.start('h', 'h', never);
  assert.throws(() => futures.requireRoom('b'), { code: 'rate_limit_exceeded' });
  futures.requireRoom('i');
  result.resolve({});
  await futures.wait('a1', 'a', 1000);
  assert.throws(() => futures.requireRoom('a'), { message: /1 unfinished .* share .* is 1/ });
});

test('requests in memory are weighed: a tenant has at most a quarter of the bytes', async () => {
  const futures = new Futures({ maxUnfinishedBytes: 4 * 2048 });
  const result = withResolvers<object>();
  futures.start('a1', 'a', () => result.promise, 1024);
  futures.requireRoom('a', 1024);
  assert.throws(() => futures.requireRoom('a', 1025), {
    ...{ code: 'rate_limit_exceeded', message: /1024 bytes; your share of this server is 2048/ },
  });
  futures.requireRoom('b', 1_000_000);
  result.resolve({});
  await futures.wait('a1', 'a', 1000);
  futures.requireRoom('a', 2048);
});

test('unfinished work beyond the limit of results drops no new result', async () => {
  const futures = new Futures({ maxResults: 2 });
  for (const id of ['a', 'b', 'c']) futures.start(id, 'acme', () => new Promise(() => {}));
  futures.start('done', 'acme', async () => ({}));
  await futures.wait('done', 'acme', 1000);
  futures.start('d', 'acme', () => new Promise(() => {}));
  assert.ok(futures.has('done'));
});

test('beyond the limit of bytes the oldest results go', async () => {
  const futures = new Futures({ maxBytes: 100 });
  const finish = async (id: string, bytes: number) => {
    futures.start(id, 'acme', async () => new Uint8Array(bytes));
    await futures.wait(id, 'acme', 1000);
  };
  for (const id of ['a', 'b', 'c']) await finish(id, 40);
  assert.ok(!futures.has('a') && futures.has('b') && futures.has('c'));
  await finish('d', 60);
  assert.ok(!futures.has('b') && futures.has('c') && futures.has('d'), 'until the others fit');
});

for (const [what, limits, size] of [
  ['results', { maxResults: 10 }, 0],
  ['bytes', { maxBytes: 100 }, 10],
] as const) {
  test(`a tenant with many results loses its own, not those of others, beyond the limit of ${what}`, async () => {
    const futures = new Futures(limits);
    const finish = async (tenant: string, number: number) => {
      const id = `${tenant}${number}`;
      futures.start(id, tenant, async () => new Uint8Array(size));
      await futures.wait(id, tenant, 1000);
    };
    for (const number of [0, 1]) await finish('other', number);
    for (let number = 0; number < 50; number++) await finish('acme', number);
    assert.ok(futures.has('other0') && futures.has('other1'));
    assert.ok(!futures.has('acme41') && futures.has('acme42'), 'the others fill what is left');
    for (let number = 2; number < 6; number++) await finish('other', number);
    const kept = (tenant: string) =>
      Array.from({ length: 50 }, (_, i) => `${tenant}${i}`).filter((id) => futures.has(id)).length;
    assert.deepEqual([kept('other'), kept('acme')], [5, 5]);
  });
}
