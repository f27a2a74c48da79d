import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { adapterDigest } from '../../../adapters/peft/files.ts';
import type { StoredObject } from '../../../adapters/store/store.ts';
import { StoreError } from '../../../adapters/store/store.ts';
import { CorruptContent, type OpenFile } from '../../../adapters/tiers/disk.ts';
import { Fetcher, RetryBudget } from '../../../adapters/tiers/fetcher.ts';
import { pluck } from '../../pluck.ts';
import { cut, never, type Published, publishedVersion, SpoiltStore } from './published.ts';
import { VirtualClock } from './virtual-clock.ts';

type Line = { alert?: string; reason?: string };

function setUp() {
  const store = new SpoiltStore();
  const clock = new VirtualClock();
  const lines: Line[] = [];
  const keep = (line: Line) => void lines.push(line);
  const log = { warn: keep, error: keep } as never;
  const fetcher = new Fetcher({ store, clock, log });
  const kept: string[] = [];
  const start = ({ manifest }: Published, owner = manifest.tenant) =>
    fetcher.fetch(owner, manifest, async (open) => {
      kept.push(await digestOf(open));
      if (kept.at(-1) !== manifest.digest) throw new CorruptContent('another digest');
    });
  /** Time passes until it has ended. */
  const fetch = (version: Published) => clock.run(start(version));
  const refused = (version: Published, code = 'adapter_unavailable') =>
    assert.rejects(fetch(version), (error: { code: string; status: number; message: string }) => {
      assert.deepEqual([error.code, error.status], [code, 503]);
      assert.doesNotMatch(error.message, /secret|acme|spoilt/, 'the reason is not for the client');
      return true;
    });
  return { store, clock, lines, fetcher, kept, start, fetch, refused };
}

async function digestOf(open: OpenFile): Promise<string> {
  const read = async (name: Parameters<OpenFile>[0]) => Buffer.concat(await toArray(open(name)));
  const config = await read('adapter_config.json');
  return adapterDigest(config, await read('adapter_model.safetensors'));
}

async function toArray<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

const down = () => new StoreError('unavailable', 'secret: 503 SlowDown');
const isWeights = (object: StoredObject | undefined) => object?.key.endsWith('safetensors');

test('a version is read file by file, once', async () => {
  const { store, fetch, kept } = setUp();
  const version = store.add(publishedVersion('a'));
  await fetch(version);
  assert.deepEqual(kept, [version.manifest.digest]);
  assert.deepEqual(store.asked, [
    'acme/a/1/adapter_config.json',
    'acme/a/1/adapter_model.safetensors',
  ]);
});

test('a body that breaks off twice is asked for three times, with pauses up to bounds that double', async () => {
  const { store, clock, fetch, kept } = setUp();
  const version = store.add(publishedVersion('a'));
  const askedAtMs: number[] = [];
  store.spoil = (object) => {
    if (!isWeights(object)) return object;
    askedAtMs.push(clock.now());
    if (askedAtMs.length === 3) return object;
    return { ...object!, body: cut(object!.body, 250, () => Promise.reject(down())) };
  };
  await fetch(version);
  assert.deepEqual(kept, [version.manifest.digest]);
  const waits = askedAtMs.map((ms) => ms - askedAtMs[0]!);
  assert.deepEqual(waits, [0, 100, 300]);
});

test('a store that is down, by its own tries, is not asked again for a second', async () => {
  const { store, clock, refused } = setUp();
  const version = store.add(publishedVersion('a'));
  store.spoil = () => {
    throw down();
  };
  await refused(version);
  await refused(version);
  assert.equal(store.asked.length, 1, 'the refusal is remembered');
  clock.advance(1001);
  await refused(version);
  assert.equal(store.asked.length, 2);
});

test('refused credentials and missing objects are alerted and not tried again', async () => {
  const { store, lines, refused } = setUp();
  const denied = store.add(publishedVersion('a'));
  const dangling = store.add(publishedVersion('b'));
  store.spoil = (object) => {
    if (object?.key.includes('/a/')) throw new StoreError('denied', 'secret: 403');
    return undefined;
  };
  await refused(denied);
  await refused(dangling);
  assert.equal(store.asked.length, 2);
  assert.deepEqual(pluck(lines, 'alert'), ['s3_auth', 'dangling_pointer']);
});

test('T19: a store that never answers is left at the deadline for its first byte', async () => {
  const { store, clock, refused } = setUp();
  const version = store.add(publishedVersion('a'));
  store.spoil = never;
  const startMs = clock.now();
  await refused(version);
  assert.equal(store.asked.length, 1);
  assert.equal(clock.now() - startMs, 10_000);
  assert.equal(clock.pending, 0, 'no timer is left');
});

test('a body that stalls is left at the idle deadline, and its signal says so to the store', async () => {
  const { store, clock, refused } = setUp();
  const version = store.add(publishedVersion('a'));
  const signals: AbortSignal[] = [];
  store.spoil = (object, { signal }) => {
    if (!isWeights(object)) return object;
    signals.push(signal!);
    return { ...object!, body: cut(object!.body, 250, never) };
  };
  const startMs = clock.now();
  await refused(version);
  assert.equal(clock.now() - startMs, 3 * 5_000 + 300);
  assert.deepEqual(pluck(signals, 'aborted'), [true, true, true]);
});

test('a slow body that goes on is read to its end, one that takes too long in all is not', async () => {
  const { store, clock, fetch, refused } = setUp();
  const slowly = (stepMs: number) => {
    store.spoil = (object) => {
      if (!isWeights(object)) return object;
      const { body } = object!;
      const slow = async function* () {
        for await (const piece of body) {
          await new Promise<void>((resolve) => clock.schedule(stepMs, resolve));
          yield piece;
        }
      };
      return { ...object!, body: slow() };
    };
  };
  slowly(4_900);
  await fetch(store.add(publishedVersion('a')));
  const startMs = clock.now();
  await refused(store.add(publishedVersion('b', { weightBytes: 2_000 })));
  assert.equal(clock.now() - startMs, 60_000);
});

for (const [fault, spoil] of [
  ['cut', (body: AsyncIterable<Uint8Array>) => cut(body, 999)],
  ['changed', (body: AsyncIterable<Uint8Array>) => flipped(body)],
] as const) {
  test(`T20, B69: a ${fault} body is fetched once more, then refused for good and alerted`, async () => {
    const { store, lines, fetch, refused } = setUp();
    const isOnce = store.add(publishedVersion('a'));
    const isAlways = store.add(publishedVersion('b'));
    let spoilt = 0;
    store.spoil = (object) => {
      if (!isWeights(object)) return object;
      if (object!.key.includes('/a/') && spoilt++ > 0) return object;
      return { ...object!, body: spoil(object!.body) };
    };
    await fetch(isOnce);
    assert.deepEqual(lines, []);
    store.asked.length = 0;
    await refused(isAlways, 'adapter_checksum_mismatch');
    assert.equal(store.asked.filter((key) => key.endsWith('safetensors')).length, 2);
    assert.deepEqual(pluck(lines, 'alert'), ['corrupt_object']);
  });
}

async function* flipped(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let isFirst = true;
  for await (const piece of body) {
    yield isFirst ? piece.map((byte, i) => (i === 7 ? byte ^ 1 : byte)) : piece;
    isFirst = false;
  }
}

test('T19: after five failures nobody asks for ten seconds, then one does for all', async () => {
  const { store, clock, fetch, refused, start } = setUp();
  const versions = Array.from({ length: 10 }, (_, i) => store.add(publishedVersion(`v${i}`)));
  store.spoil = () => {
    throw down();
  };
  for (const version of versions.slice(0, 5)) await refused(version);
  assert.equal(store.asked.length, 5);
  await assert.rejects(start(versions[5]!), { code: 'adapter_unavailable', retryAfterS: 10 });
  assert.equal(store.asked.length, 5);
  clock.advance(10_001);
  store.spoil = never;
  const probe = start(versions[6]!);
  await nextTurn();
  await assert.rejects(start(versions[7]!), { code: 'adapter_unavailable' });
  assert.equal(store.asked.length, 6, 'one probes');
  store.spoil = (object) => object;
  await assert.rejects(clock.run(probe), { code: 'adapter_unavailable' });
  clock.advance(10_001);
  await fetch(versions[8]!);
  await fetch(versions[9]!);
});

test('T19: second tries are a tenth of first ones once the reserve is spent', () => {
  const budget = new RetryBudget();
  let retries = 0;
  for (let i = 0; i < 1000; i++) {
    budget.firstTry();
    while (budget.take()) retries++;
  }
  assert.ok(retries >= 99 && retries <= 110, `${retries} second tries for 1000 first ones`);
});

test('fetches run side by side up to a limit, and one owner cannot take every turn', async () => {
  const { store, clock, start } = setUp();
  const many = Array.from({ length: 20 }, (_, i) => store.add(publishedVersion(`many${i}`)));
  const one = store.add(publishedVersion('one', { tenant: 'beta' }));
  store.spoil = (object) => new Promise((resolve) => clock.schedule(50, () => resolve(object)));
  const startMs = clock.now();
  const all = many.map((version) => start(version));
  const other = start(one).then(() => clock.now() - startMs);
  await nextTurn();
  assert.equal(store.asked.length, 4);
  const otherMs = await clock.run(other);
  assert.equal(otherMs, 200, 'after the first four of the other owner');
  await clock.run(Promise.all(all));
  assert.equal(clock.now() - startMs, 6 * 100, 'six rounds of two files');
});

test('closing ends what is under way', async () => {
  const { store, clock, fetcher, start } = setUp();
  store.spoil = never;
  const fetch = start(store.add(publishedVersion('a')));
  await nextTurn();
  fetcher.close();
  await assert.rejects(fetch, { code: 'overloaded' });
  assert.equal(clock.pending, 0);
});
