import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type PollCall, PolledCache } from '../../adapters/registry/polled-cache.ts';
import { systemClock, withResolvers } from '../../src/common/waiting.ts';

const POLL_MS = 2000;
const fail = () => Promise.reject(new Error('the source fails'));

interface Value {
  readonly revision: number;
}

/** A cache over one source that a test moves, with a clock that it moves, too. */
function setUp() {
  const state = {
    nowMs: 0,
    source: { revision: 1 } as Value | undefined,
    reads: 0,
    calls: [] as PollCall[],
    read: undefined as (() => Promise<Value | undefined>) | undefined,
  };
  const cache = new PolledCache<Value>({
    pollMs: POLL_MS,
    clock: { ...systemClock, now: () => state.nowMs },
    read: async (_key, _known, call) => {
      state.reads++;
      state.calls.push(call);
      return state.read ? state.read() : state.source;
    },
  });
  return { state, cache };
}

/** Lets what was begun in the background end. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

describe('a value', () => {
  test('is read once in the first half of its time, and in the background in the second', async () => {
    const { state, cache } = setUp();
    await cache.get('a');
    state.nowMs = POLL_MS / 2;
    await cache.get('a');
    assert.equal(state.reads, 1);
    state.source = { revision: 2 };
    state.nowMs = POLL_MS / 2 + 1;
    assert.deepEqual(await cache.get('a'), { revision: 1 });
    assert.equal(state.reads, 2);
    assert.deepEqual(state.calls, [{ slackMs: 0 }, { slackMs: POLL_MS / 2 - 1 }]);
    await settle();
    assert.deepEqual(await cache.get('a'), { revision: 2 });
    assert.equal(state.reads, 2);
  });

  test('is waited for when it is older than that', async () => {
    const { state, cache } = setUp();
    await cache.get('a');
    state.source = { revision: 2 };
    state.nowMs = POLL_MS + 1;
    assert.deepEqual(await cache.get('a'), { revision: 2 });
    assert.deepEqual(state.calls.at(-1), { slackMs: 0 });
  });

  test('is read once however many ask', async () => {
    const { state, cache } = setUp();
    const found = await Promise.all(Array.from({ length: 50 }, () => cache.get('a')));
    assert.equal(new Set(found).size, 1);
    assert.equal(state.reads, 1);
  });

  test('of any age is enough where that is asked for', async () => {
    const { state, cache } = setUp();
    await cache.get('a');
    state.nowMs = 1e9;
    assert.deepEqual(await cache.get('a', Number.POSITIVE_INFINITY), { revision: 1 });
    assert.equal(state.reads, 1);
  });

  test('that was forgotten is read again, also where a read was under way', async () => {
    const { state, cache } = setUp();
    const { promise, resolve } = withResolvers<Value>();
    state.read = () => promise;
    const before = cache.get('a');
    await settle();
    cache.forget('a');
    resolve({ revision: 1 });
    assert.deepEqual(await before, { revision: 1 });
    state.read = undefined;
    state.source = { revision: 2 };
    assert.deepEqual(await cache.get('a'), { revision: 2 });
  });

  test('is forgotten with all of its prefix', async () => {
    const { state, cache } = setUp();
    await Promise.all(['a/1', 'a/2', 'b/1'].map((key) => cache.get(key)));
    cache.forgetAll('a/');
    await Promise.all(['a/1', 'a/2', 'b/1'].map((key) => cache.get(key)));
    assert.equal(state.reads, 5);
  });
});

describe('a miss', () => {
  test('is remembered for the poll time', async () => {
    const { state, cache } = setUp();
    state.source = undefined;
    assert.equal(await cache.get('a'), undefined);
    state.source = { revision: 1 };
    state.nowMs = POLL_MS / 2;
    assert.equal(await cache.get('a'), undefined);
    state.nowMs = POLL_MS + 1;
    assert.deepEqual(await cache.get('a'), { revision: 1 });
    assert.equal(state.reads, 2);
  });

  test('pushes out no value, however many there are', async () => {
    const { state, cache } = setUp();
    await cache.get('a');
    state.source = undefined;
    for (let i = 0; i < 20_000; i++) await cache.get(`guess-${i}`);
    state.reads = 0;
    assert.deepEqual(await cache.get('a'), { revision: 1 });
    assert.equal(state.reads, 0);
  });
});

describe('while the source fails', () => {
  test('a known value is served, and the source is asked now and then', async () => {
    const { state, cache } = setUp();
    await cache.get('a');
    state.read = fail;
    for (let second = 0; second < 100; second++) {
      state.nowMs += 1000;
      for (let i = 0; i < 10; i++) assert.deepEqual(await cache.get('a'), { revision: 1 });
      await settle();
    }
    assert.ok(state.reads > 10 && state.reads <= 101, `${state.reads} reads`);
    state.read = undefined;
    state.source = { revision: 2 };
    state.nowMs += POLL_MS;
    await cache.get('a');
    await settle();
    assert.deepEqual(await cache.get('a'), { revision: 2 });
  });

  test('a source that hangs is waited for once', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const { state, cache } = setUp();
    await cache.get('a');
    const { promise, resolve } = withResolvers<Value>();
    state.read = () => promise;
    state.nowMs = POLL_MS + 1;
    const waiting = [cache.get('a'), cache.get('a')];
    await settle();
    assert.equal(state.reads, 2);
    t.mock.timers.runAll();
    assert.deepEqual(await Promise.all(waiting), [{ revision: 1 }, { revision: 1 }]);
    assert.deepEqual(await cache.get('a'), { revision: 1 });
    assert.equal(state.reads, 2);
    resolve({ revision: 2 });
    await settle();
    assert.deepEqual(await cache.get('a'), { revision: 2 });
  });

  test('a known value that is forgotten during a read that hangs is not served any more', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const { state, cache } = setUp();
    await cache.get('a');
    state.read = () => new Promise(() => {});
    state.nowMs = POLL_MS + 1;
    const waiting = cache.get('a');
    await settle();
    cache.forget('a');
    state.read = undefined;
    state.source = { revision: 3 };
    assert.deepEqual(await cache.get('a'), { revision: 3 });
    cache.forget('a');
    t.mock.timers.runAll();
    assert.deepEqual(await waiting, { revision: 3 });
  });

  test('what was never read is refused, from memory for a moment', async () => {
    const { state, cache } = setUp();
    state.read = fail;
    await assert.rejects(cache.get('a'), /fails/);
    await assert.rejects(cache.get('a'), /fails/);
    assert.equal(state.reads, 1);
    state.read = undefined;
    state.nowMs = POLL_MS;
    assert.deepEqual(await cache.get('a'), { revision: 1 });
  });
});

test('no answer is older than the poll time, whatever happens in which order', async () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 3000 }) }),
    fc.record({ kind: fc.constant('change' as const) }),
    fc.record({ kind: fc.constant('get' as const) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const { state, cache } = setUp();
      const history = [{ atMs: 0, revision: 1 }];
      for (const one of steps) {
        if (one.kind === 'wait') state.nowMs += one.ms;
        else if (one.kind === 'change') {
          state.source = { revision: history.length + 1 };
          history.push({ atMs: state.nowMs, revision: history.length + 1 });
        } else {
          const { revision } = (await cache.get('a'))!;
          await settle();
          // A change at the very time of a read may follow it.
          const oldest = history.findLast(({ atMs }) => atMs < state.nowMs - POLL_MS)?.revision;
          assert.ok(revision >= (oldest ?? 1));
        }
      }
    }),
    { numRuns: 200 },
  );
});
