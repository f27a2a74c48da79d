// How tenants share the adapter cache: T17, and its neighbours.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import { AdapterCache, type Lease } from '../../adapters/cache/cache.ts';
import { toWeights } from '../../adapters/peft/weights.ts';
import type { AdapterCacheShare, TenantShare } from '../../src/contracts/tenant.ts';
import { plainSource } from './sources.ts';

const SIZE = 10;

/** A cache with room for `room` adapters. The size of one may be in its name, as in `wide:30`. */
function createCache(room: number) {
  const clock = { nowMs: 0 };
  const loads: string[] = [];
  const cache = new AdapterCache({
    capacityBytes: room * SIZE,
    now: () => clock.nowMs,
    openAdapter: async ({ digest }) => {
      const byteSize = Number(digest.split(':')[1] ?? SIZE);
      const load = async () => {
        loads.push(digest);
        return { ...toWeights(digest, []), rank: 1, byteSize };
      };
      return { byteSize, load };
    },
  });
  const lease = (digest: string, tenant: TenantShare) => {
    return cache.lease({ ...plainSource(digest), owner: 'shared' }, { tenant });
  };
  /** How many of the adapters whose names begin with `b` are in memory. */
  const countOfB = () => cache.resident().filter((digest) => digest.startsWith('b')).length;
  return { cache, clock, loads, lease, countOfB };
}

function tenant(id: string, adapterCache?: AdapterCacheShare, weight = 1): TenantShare {
  return { id, weight, adapterCache };
}

type Lending = ReturnType<typeof createCache>['lease'];

/** Has a tenant use two hundred adapters in turn, twice. */
async function cycle(lease: Lending, of: TenantShare, before: () => void = () => {}) {
  for (let i = 0; i < 400; i++) {
    before();
    (await lease(`${of.id}-${i % 200}`, of)).release();
  }
}

const [a, b] = [tenant('a'), tenant('b')];

test("T17: a tenant that cycles 200 adapters evicts none within another's part, and uses all that is left", async () => {
  const { cache, loads, lease, countOfB } = createCache(8);
  for (const digest of ['b-1', 'b-2', 'b-3']) (await lease(digest, b)).release();
  await cycle(lease, a, () => assert.equal(countOfB(), 3));
  assert.equal(cache.resident().length, 8);
  for (const digest of ['b-1', 'b-2', 'b-3']) (await lease(digest, b)).release();
  assert.equal(loads.filter((digest) => digest.startsWith('b')).length, 3, 'loaded once each');
});

test('T17: alone, a tenant has the whole cache', async () => {
  const { cache, lease } = createCache(8);
  await cycle(lease, a);
  assert.equal(cache.resident().length, 8);
});

test('T17: it is the same with shared adapters: who asks is charged, not the owner', async () => {
  const { cache, lease } = createCache(8);
  (await lease('popular', b)).release();
  (await lease('popular', a)).release();
  await cycle(lease, a);
  assert.ok(cache.resident().includes('popular'));
});

test('T17: leases do not get around it: the load waits for the leases of its own tenant', async () => {
  const { cache, lease } = createCache(4);
  (await lease('b-1', b)).release();
  const held: Lease[] = [];
  for (const digest of ['a-1', 'a-2', 'a-3']) held.push(await lease(digest, a));
  const next = lease('a-4', a);
  await nextTurn();
  assert.ok(cache.resident().includes('b-1'));
  held[0]!.release();
  (await next).release();
  assert.deepEqual(cache.resident().sort(), ['a-2', 'a-3', 'a-4', 'b-1']);
});

test("T17: a tenant's single adapter stays if its part is smaller than that, and is always let in", async () => {
  const { cache, lease } = createCache(3);
  const many = Array.from({ length: 20 }, (_, i) => tenant(`t${i}`));
  for (const one of many) (await lease(`of-${one.id}`, one)).release();
  assert.equal(cache.resident().length, 3, 'somebody has to go');
  const before = cache.resident();
  await cycle(lease, a);
  const kept = before.filter((digest) => cache.resident().includes(digest));
  assert.equal(kept.length, 2, 'for its first only');
});

test('T17: a queue of loads does not delay the single load of another tenant', async () => {
  const { cache, loads, lease } = createCache(50);
  const flood = Array.from({ length: 30 }, (_, i) => lease(`a-${i}`, a));
  const single = lease('b-1', b);
  (await single).release();
  assert.ok(loads.indexOf('b-1') <= 3, `${loads.length} loads before it`);
  for (const one of flood) (await one).release();
  assert.equal(cache.stats().loading, 0);
});

test('T17: adapters that are always in use make room for a tenant within its part', async () => {
  const { lease } = createCache(4);
  let isServed = false;
  /** Has two streams at a time, so that the adapter is never idle. */
  const keepUsing = async (digest: string) => {
    let held = await lease(digest, a);
    for (let i = 0; i < 50 && !isServed; i++) {
      const next = lease(digest, a);
      await nextTurn();
      const isGranted = await Promise.race([next.then(() => true), nextTurn().then(() => false)]);
      if (!isGranted) held.release(); // the old stream ends while the new one waits
      const lent = await next;
      if (isGranted) held.release();
      held = lent;
    }
    held.release();
    return isServed;
  };
  const streams = ['a-1', 'a-2', 'a-3', 'a-4'].map(keepUsing);
  await nextTurn();
  const waiting = lease('b-wide:20', b).then((one) => {
    isServed = true;
    one.release();
  });
  assert.deepEqual(await Promise.all(streams), [true, true, true, true]);
  await waiting;
});

test('T17: what is released goes to a tenant within its part, not to the next loads of the other', async () => {
  const { cache, lease } = createCache(4);
  const held: Lease[] = [];
  for (const digest of ['a-1', 'a-2', 'a-3', 'a-4']) held.push(await lease(digest, a));
  const wide = lease('b-wide:20', b);
  const more = ['a-5', 'a-6'].map((digest) => lease(digest, a));
  for (const one of held.slice(0, 2)) {
    await nextTurn();
    one.release();
  }
  (await wide).release();
  for (const one of held.slice(2)) one.release();
  for (const one of more) (await one).release();
  assert.ok(cache.resident().includes('b-wide:20'));
});

test('T17: a reserved part outlives ten idle minutes, the rest does not', async () => {
  const { clock, lease, countOfB } = createCache(8);
  const reserving = tenant('b', { reserved: 0.25 });
  for (let i = 0; i < 4; i++) (await lease(`b-${i}`, reserving)).release();
  await cycle(lease, a);
  assert.equal(countOfB(), 4);
  clock.nowMs = 600_001;
  await cycle(lease, a);
  assert.equal(countOfB(), 2);
});

test('T17: a tenant uses no more than its maximum, even if memory is free', async () => {
  const { cache, lease } = createCache(8);
  await cycle(lease, tenant('a', { max: 0.5 }));
  assert.equal(cache.resident().length, 4);
  const { cache: idle, clock, lease: other } = createCache(8);
  (await other('b-1', b)).release();
  clock.nowMs = 600_001;
  await cycle(other, tenant('a', { max: 0.5 }));
  assert.equal(idle.resident().length, 5, 'it evicts its own');
  const { cache: small, lease: lend } = createCache(8);
  (await lend('a-1', tenant('a', { max: 0 }))).release();
  assert.deepEqual(small.resident(), ['a-1'], 'one adapter is always allowed');
});

test('T17: parts follow the weights', async () => {
  const { lease, countOfB } = createCache(8);
  const heavy = tenant('b', undefined, 3);
  for (let i = 0; i < 6; i++) (await lease(`b-${i}`, heavy)).release();
  await cycle(lease, a);
  assert.equal(countOfB(), 6);
});

test('T17: a prefetch by the server leaves the settings of the owner as they are', async () => {
  const { cache, clock, lease, countOfB } = createCache(8);
  const prefetch = async (digest: string) =>
    (await cache.lease({ ...plainSource(digest), owner: 'b' }, { keepWarmMs: 0 })).release();
  await prefetch('b-0');
  const heavy = tenant('b', { reserved: 0.25 }, 3);
  for (let i = 0; i < 6; i++) (await lease(`b-${i}`, heavy)).release();
  await prefetch('b-0');
  await cycle(lease, a);
  assert.equal(countOfB(), 6, 'a quarter and three quarters of the rest');
  clock.nowMs = 600_001;
  await prefetch('b-5');
  await cycle(lease, a);
  assert.equal(countOfB(), 2, 'the reserved quarter; nobody has asked for more');
});

test('I05: no order of leases of several tenants blocks a load for ever, or exceeds the memory', async () => {
  const step = fc.record({
    who: fc.integer({ min: 0, max: 2 }),
    digest: fc.constantFrom('p', 'q', 'r', 's', 't:20', 'u:30', 'v:40'),
    releases: fc.integer({ min: 0, max: 2 }),
  });
  const tenants = [a, tenant('b', { reserved: 0.5 }), tenant('c', { max: 0.5 }, 2)];
  const run = async (steps: (typeof step extends fc.Arbitrary<infer T> ? T : never)[]) => {
    const { cache, lease } = createCache(4);
    const held: Lease[] = [];
    let pending = 0;
    const settle = () => nextTurn().then(() => nextTurn());
    for (const { who, digest, releases } of steps) {
      pending++;
      void lease(digest, tenants[who]!).then((one) => {
        pending--;
        held.push(one);
      });
      await settle();
      for (let i = 0; i < releases; i++) held.shift()?.release();
      const { bytes } = cache.stats();
      assert.ok(bytes <= 40, `${bytes} bytes`);
    }
    for (let i = 0; i < 200 && (pending > 0 || held.length > 0); i++) {
      held.shift()?.release();
      await settle();
    }
    assert.equal(pending, 0, 'a load waits for ever');
    assert.equal(cache.stats().leasedCount, 0);
  };
  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 40 }), run), { numRuns: 200 });
});
