import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import { AdapterCache, type Lease } from '../../adapters/cache/cache.ts';
import { type AdapterWeights, toWeights } from '../../adapters/peft/weights.ts';
import { ServeError } from '../../src/common/errors.ts';
import { withResolvers } from '../../src/common/waiting.ts';
import type { AdapterSource } from '../../src/contracts/generation.ts';
import { plainSource } from './sources.ts';

const source = (digest: string) => plainSource(digest);

function weightsOf(digest: string, byteSize = 10): AdapterWeights {
  return { ...toWeights(digest, []), rank: 1, byteSize };
}

/** How adapters are opened by a loader that knows their size when it has them. */
function opening(loadAdapter: (source: AdapterSource) => Promise<AdapterWeights>) {
  return async (source: AdapterSource) => {
    const weights = await loadAdapter(source);
    return { byteSize: weights.byteSize, load: async () => weights };
  };
}

/** A cache whose loads end when the test says so. */
function createGatedCache(options: { maxParallelLoads?: number } = {}) {
  const started: string[] = [];
  const loads = new Map<string, ReturnType<typeof withResolvers<AdapterWeights>>>();
  const openAdapter = opening(({ digest }) => {
    started.push(digest);
    loads.set(digest, withResolvers());
    return loads.get(digest)!.promise;
  });
  return {
    cache: new AdapterCache({ capacityBytes: 100, openAdapter, ...options }),
    started,
    finish: (digest: string) => loads.get(digest)!.resolve(weightsOf(digest)),
    fail: (digest: string, error: Error) => loads.get(digest)!.reject(error),
  };
}

function createPlainCache(capacityBytes: number, options: { now?: () => number } = {}) {
  const loaded: string[] = [];
  const openAdapter = opening(async ({ digest }) => {
    loaded.push(digest);
    return weightsOf(digest);
  });
  const cache = new AdapterCache({ capacityBytes, openAdapter, ...options });
  return { cache, loaded };
}

test('T18, I11: a hundred leases at once make one load, and all see its weights', async () => {
  const { cache, ...gate } = createGatedCache();
  const waiting = Array.from({ length: 100 }, () => cache.lease(source('a')));
  gate.finish('a');
  const leases = await Promise.all(waiting);
  assert.deepEqual(gate.started, ['a']);
  assert.equal(new Set(leases.map((lease) => lease.weights)).size, 1);
  assert.ok(leases.every((lease) => lease.tier === 'disk'));
  for (const lease of leases) lease.release();
  assert.equal(cache.stats().leasedBytes, 0);
  using again = await cache.lease(source('a'));
  assert.deepEqual([again.tier, again.loadMs], ['ram', 0]);
});

test('an aborted waiter leaves, and the load goes on for the others', async () => {
  const { cache, ...gate } = createGatedCache();
  const controller = new AbortController();
  const first = cache.lease(source('a'), { signal: controller.signal });
  const second = cache.lease(source('a'));
  controller.abort(new Error('gone'));
  await assert.rejects(first, { message: 'gone' });
  gate.finish('a');
  const lease = await second;
  assert.deepEqual(gate.started, ['a']);
  lease.release();
  assert.equal(cache.stats().leasedCount, 0, 'the aborted waiter holds nothing');
});

test('a load whose waiters all left in time is not begun; one under way is kept', async () => {
  const { cache, ...gate } = createGatedCache({ maxParallelLoads: 1 });
  const controller = new AbortController();
  const leases = ['a', 'b'].map((d) => cache.lease(source(d), { signal: controller.signal }));
  controller.abort();
  await Promise.allSettled(leases);
  gate.finish('a');
  await nextTurn();
  assert.deepEqual(gate.started, ['a']);
  assert.deepEqual(cache.resident(), ['a']);
  assert.equal(cache.stats().loading, 0);
});

test('an aborted signal gets no lease', async () => {
  const { cache, loaded } = createPlainCache(100);
  await assert.rejects(cache.lease(source('a'), { signal: AbortSignal.abort() }));
  assert.deepEqual(loaded, []);
});

test('loads run side by side, but no more than the limit', async () => {
  const { cache, ...gate } = createGatedCache({ maxParallelLoads: 2 });
  const leases = ['a', 'b', 'c'].map((digest) => cache.lease(source(digest)));
  assert.deepEqual(gate.started, ['a', 'b']);
  gate.finish('b');
  await leases[1];
  await nextTurn();
  assert.deepEqual(gate.started, ['a', 'b', 'c']);
  gate.finish('c');
  await leases[2]; // the slow first one holds nobody up
  gate.finish('a');
  await leases[0];
});

test('F32, I05: a leased adapter is never evicted', async () => {
  const { cache, loaded } = createPlainCache(30);
  const held = await cache.lease(source('held'));
  for (let i = 0; i < 20; i++) (await cache.lease(source(`other-${i}`))).release();
  assert.ok(cache.resident().includes('held'));
  assert.equal(cache.stats().bytes, 30);
  (await cache.lease(source('held'))).release();
  assert.equal(loaded.filter((digest) => digest === 'held').length, 1);
  held.release();
  held.release();
  assert.equal(cache.stats().leasedCount, 0, 'a second release changes nothing');
});

test('where leases fill the cache the next one waits until one is released', async () => {
  const { cache } = createPlainCache(20);
  const held = await Promise.all([cache.lease(source('a')), cache.lease(source('b'))]);
  const waiting = cache.lease(source('c'));
  assert.equal(await Promise.race([waiting, nextTurn('none')]), 'none');
  held[0]?.release();
  using lease = await waiting;
  assert.equal(lease.weights.digest, 'c');
  assert.deepEqual(cache.resident().sort(), ['b', 'c']);
});

test('two that wait for the same room get it one after the other', async () => {
  const { cache } = createPlainCache(10);
  const held = await cache.lease(source('a'));
  const waiting = ['b', 'c'].map((digest) => cache.lease(source(digest)));
  await nextTurn();
  held.release();
  const first = await Promise.race(waiting);
  await nextTurn();
  assert.equal(cache.stats().leasedBytes, 10);
  first.release();
  const leases = await Promise.all(waiting);
  assert.deepEqual(cache.resident(), [leases[1]!.weights.digest]);
});

/** Opens adapters of given sizes at once; their loads end when the test says so. */
function createSizedLoads(sizes: Readonly<Record<string, number>>) {
  const loading = new Map<string, (weights: AdapterWeights) => void>();
  return {
    loading: () => [...loading.keys()],
    finish(digest: string) {
      loading.get(digest)!(weightsOf(digest, sizes[digest]));
      loading.delete(digest);
    },
    openAdapter: async ({ digest }: AdapterSource) => ({
      byteSize: sizes[digest]!,
      load: () => new Promise<AdapterWeights>((resolve) => loading.set(digest, resolve)),
    }),
  };
}

test('an adapter that is larger than the cache is refused before it is loaded', async () => {
  const loads = createSizedLoads({ large: 101 });
  const cache = new AdapterCache({ capacityBytes: 100, ...loads });
  await assert.rejects(cache.lease(source('large')), {
    status: 422,
    message:
      /takes 101 bytes in memory, but the adapter cache holds 100 bytes\. Raise --adapter-cache/,
  });
  assert.deepEqual(loads.loading(), []);
});

test('loads under way keep their room: what does not fit beside them is not begun', async () => {
  const loads = createSizedLoads({ first: 60, second: 60, small: 30 });
  const cache = new AdapterCache({ capacityBytes: 100, ...loads });
  const [first, second] = ['first', 'second'].map((digest) => cache.lease(source(digest)));
  await nextTurn();
  assert.deepEqual(loads.loading(), ['first']);
  assert.equal(cache.stats().leasedBytes, 60);
  const small = cache.lease(source('small')); // not held up by the one that waits for room
  await nextTurn();
  assert.deepEqual(loads.loading(), ['first', 'small']);
  loads.finish('small');
  (await small).release();
  loads.finish('first');
  const lease = await first!;
  await nextTurn();
  assert.deepEqual(loads.loading(), []);
  lease.release();
  await nextTurn();
  assert.deepEqual(loads.loading(), ['second']);
  loads.finish('second');
  (await second!).release();
  assert.ok(cache.resident().includes('second'));
});

test('a load that fails gives its room back', async () => {
  const cache = new AdapterCache({
    capacityBytes: 100,
    openAdapter: async () => ({ byteSize: 100, load: () => Promise.reject(new Error('no disk')) }),
  });
  for (const digest of ['a', 'b']) {
    await assert.rejects(cache.lease(source(digest)), { message: 'no disk' });
    assert.equal(cache.stats().leasedBytes, 0);
  }
});

test('one that gives up while it waits for room leaves nothing behind', async () => {
  const { cache } = createPlainCache(10);
  const held = await cache.lease(source('a'));
  const controller = new AbortController();
  const waiting = cache.lease(source('b'), { signal: controller.signal });
  await nextTurn();
  controller.abort(new Error('gone'));
  await assert.rejects(waiting, { message: 'gone' });
  held.release();
  await nextTurn();
  assert.equal(cache.stats().loading, 0);
  assert.deepEqual(cache.resident(), ['a']);
});

test('what is kept warm outlives what is asked for more often, until its time is over', async () => {
  let nowMs = 0;
  const { cache } = createPlainCache(20, { now: () => nowMs });
  (await cache.lease(source('warm'), { keepWarmMs: 1000 })).release();
  const use = async (digest: string) => (await cache.lease(source(digest))).release();
  for (const digest of ['a', 'a', 'a', 'b']) await use(digest);
  assert.deepEqual(cache.resident().sort(), ['b', 'warm']);
  nowMs = 1001;
  for (const digest of ['b', 'a']) await use(digest);
  assert.deepEqual(cache.resident().sort(), ['a', 'b']);
});

test("T17: one owner's two hundred adapters never evict another's within its share", async () => {
  let nowMs = 0;
  const { cache } = createPlainCache(80, { now: () => nowMs });
  const use = async (digest: string, owner: string) =>
    (await cache.lease({ ...source(digest), owner })).release();
  await use('beta-1', 'beta');
  for (let i = 0; i < 400; i++) {
    nowMs += 100;
    for (let uses = 0; uses < 3; uses++) await use(`acme-${i % 200}`, 'acme');
  }
  assert.ok(cache.resident().includes('beta-1'));
  assert.equal(cache.resident().length, 8, "the rest of beta's share is used");
  nowMs += 600_000;
  for (let i = 0; i < 20; i++) await use(`acme-${i}`, 'acme');
  assert.ok(!cache.resident().includes('beta-1'), 'a share lapses');
});

test('an adapter larger than the whole cache is refused for good', async () => {
  const { cache, loaded } = createPlainCache(5);
  for (let i = 0; i < 2; i++) await assert.rejects(cache.lease(source('a')), { status: 422 });
  assert.deepEqual(loaded, ['a']);
});

test('a refusal is remembered for a while, a failure is not', async () => {
  let nowMs = 1000;
  let loads = 0;
  let error = new ServeError('adapter_invalid', 'bad', { param: 'r' });
  const failures: unknown[] = [];
  const cache = new AdapterCache({
    capacityBytes: 100,
    now: () => nowMs,
    onFailure: (_, failure) => failures.push(failure),
    openAdapter: async () => {
      loads++;
      throw error;
    },
  });
  const attempt = () => assert.rejects(cache.lease(source('a')), { code: error.code });
  await attempt();
  nowMs += 29_000;
  await attempt();
  assert.equal(loads, 1);
  assert.equal(failures.length, 1, 'one log line for both');
  nowMs += 2000;
  error = new ServeError('adapter_unavailable', 'disk');
  await attempt();
  await attempt();
  assert.equal(loads, 3);
});

test('I11: a failed load fails each of its waiters', async () => {
  const { cache, ...gate } = createGatedCache();
  const waiting = [1, 2, 3].map(() => cache.lease(source('a')));
  gate.fail('a', new ServeError('adapter_checksum_mismatch', 'changed'));
  for (const lease of waiting) await assert.rejects(lease, { code: 'adapter_checksum_mismatch' });
  const retry = cache.lease(source('a'));
  gate.finish('a');
  (await retry).release();
});

test('weights of another digest than the one asked for are never handed out', async () => {
  const cache = new AdapterCache({
    capacityBytes: 9,
    openAdapter: opening(async () => weightsOf('b', 1)),
  });
  await assert.rejects(cache.lease(source('a')), { name: 'AssertionError' });
  assert.deepEqual(cache.resident(), []);
});

interface PlainEntry {
  digest: string;
  uses: number;
  value: number;
}

/** The plain twin: value = age + uses over size, the least valued idle one goes; all of size 1. */
class PlainCache {
  idle: PlainEntry[] = [];
  leased: PlainEntry[] = [];
  age = 0;
  readonly capacity: number;
  constructor(capacity: number) {
    this.capacity = capacity;
  }
  /** Whether there was room. */
  lease(digest: string): boolean {
    const known = [...this.idle, ...this.leased].find((entry) => entry.digest === digest);
    if (!known && new Set(this.leased).size >= this.capacity) return false;
    const entry = known ?? { digest, uses: 0, value: 0 };
    const residents = new Set([...this.idle, ...this.leased]);
    if (!known && residents.size >= this.capacity) {
      const victim = this.idle.reduce((least, one) => (one.value < least.value ? one : least));
      this.age = Math.max(this.age, victim.value);
      this.idle = this.idle.filter((other) => other !== victim);
    }
    entry.uses++;
    entry.value = this.age + entry.uses;
    this.idle = this.idle.filter((other) => other !== entry);
    this.leased.push(entry);
    return true;
  }
  release(digest: string): void {
    const at = this.leased.findIndex((entry) => entry.digest === digest);
    const [entry] = this.leased.splice(at, 1);
    if (!this.leased.includes(entry!)) this.idle.push(entry!);
  }
  resident(): string[] {
    return [...new Set([...this.idle, ...this.leased])].map(({ digest }) => digest).sort();
  }
}

test('I05: eviction follows a plain twin over random leases and releases', async () => {
  const step = fc.record({ digest: fc.integer({ min: 0, max: 7 }), isRelease: fc.boolean() });
  const run = async (steps: { digest: number; isRelease: boolean }[]) => {
    const openAdapter = opening(async ({ digest }) => weightsOf(digest, 1));
    const cache = new AdapterCache({ capacityBytes: 4, now: () => 0, openAdapter });
    const plain = new PlainCache(4);
    const leases: Lease[] = [];
    for (const { digest, isRelease } of steps) {
      const lease = isRelease ? leases.splice(digest % (leases.length || 1), 1)[0] : undefined;
      if (lease) {
        lease.release();
        plain.release(lease.weights.digest);
      } else if (plain.lease(String(digest))) {
        leases.push(await cache.lease(source(String(digest))));
      }
      assert.deepEqual(cache.resident().sort(), plain.resident());
    }
  };
  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 60 }), run), { numRuns: 200 });
});
