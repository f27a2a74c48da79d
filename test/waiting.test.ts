import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  backoffMs,
  deadline,
  orAfter,
  retry,
  setLoopTimeout,
  sleep,
} from '../src/common/waiting.ts';
import { VirtualClock } from './adapters/tiers/virtual-clock.ts';

const BACKOFF = { firstMs: 100, longestMs: 1000 };

/** Fails the first `failures` times and notes when it was called. */
function failing(clock: VirtualClock, failures: number) {
  const startMs = clock.now();
  const calledMs: number[] = [];
  const work = async (attempt: number) => {
    calledMs.push(clock.now() - startMs);
    assert.equal(attempt, calledMs.length);
    if (attempt <= failures) throw new Error(`failure ${attempt}`);
    return 'done';
  };
  return { work, calledMs };
}

test('backoff doubles up to its bound, and jitter is full', () => {
  const bounds = [1, 2, 3, 4, 5, 60].map((attempt) => backoffMs(attempt, BACKOFF, () => 1));
  assert.deepEqual(bounds, [100, 200, 400, 800, 1000, 1000]);
  assert.equal(
    backoffMs(5, BACKOFF, () => 0),
    0,
  );
});

test('a retry waits between tries and ends with the first success', async () => {
  const clock = new VirtualClock();
  const { work, calledMs } = failing(clock, 3);
  const options = { ...BACKOFF, clock };
  assert.equal(await clock.run(retry(work, options)), 'done');
  assert.deepEqual(calledMs, [0, 50, 150, 350]);
  assert.equal(clock.pending, 0);
});

test('a retry ends with the last error after its tries, and with an error that is not retryable', async () => {
  const clock = new VirtualClock();
  const limited = failing(clock, 9);
  const options = { ...BACKOFF, clock, maxTries: 3 };
  await assert.rejects(clock.run(retry(limited.work, options)), { message: 'failure 3' });
  const final = failing(clock, 9);
  const isRetryable = (error: unknown) => (error as Error).message !== 'failure 2';
  const running = retry(final.work, { ...BACKOFF, clock, isRetryable });
  await assert.rejects(clock.run(running), { message: 'failure 2' });
});

test('a retry waits as long as the server asks, up to its bound', async () => {
  const clock = new VirtualClock();
  const { work, calledMs } = failing(clock, 2);
  const asked = [300, 9000];
  const minDelayMs = () => asked.shift()!;
  clock.random = () => 0;
  await clock.run(retry(work, { ...BACKOFF, clock, minDelayMs }));
  assert.deepEqual(calledMs, [0, 300, 1300]);
});

test('an abort ends a sleep and a retry with its reason, and leaves no timer', async () => {
  const clock = new VirtualClock();
  const controller = new AbortController();
  const { signal } = controller;
  const sleeping = sleep(1000, { clock, signal });
  const retrying = retry(() => Promise.reject(new Error('down')), { ...BACKOFF, clock, signal });
  const reason = new Error('closing');
  controller.abort(reason);
  await assert.rejects(sleeping, reason);
  await assert.rejects(retrying, reason);
  await assert.rejects(sleep(1, { clock, signal }), reason);
  assert.equal(clock.pending, 0);
});

test('a deadline aborts when time is up, restarts, stops, and follows its parent', () => {
  const clock = new VirtualClock();
  const late = new Error('late');
  const parent = new AbortController();
  using limit = deadline(100, late, { clock, signal: parent.signal });
  clock.advance(99);
  limit.restart(100);
  clock.advance(99);
  assert.equal(limit.signal.aborted, false);
  limit.stop();
  clock.advance(1000);
  assert.equal(limit.signal.aborted, false);
  limit.restart(100);
  clock.advance(100);
  assert.equal(limit.signal.reason, late);
  using other = deadline(100, late, { clock, signal: parent.signal });
  parent.abort('gone');
  assert.equal(other.signal.reason, 'gone');
});

test('a wait takes the promise or, after its time, the other value', async () => {
  const clock = new VirtualClock();
  assert.equal(await orAfter(Promise.resolve('value'), 100, 'late', clock), 'value');
  assert.equal(await clock.run(orAfter(new Promise(() => {}), 100, 'late', clock)), 'late');
  await assert.rejects(orAfter(Promise.reject(new Error('down')), 100, 'late', clock), {
    message: 'down',
  });
  assert.equal(clock.pending, 0);
});

test('a timeout counts the time of its own event loop, in twenty parts', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let calls = 0;
  const passTicks = (count: number) => {
    for (let tick = 0; tick < count; tick++) t.mock.timers.tick(50);
  };
  setLoopTimeout(() => calls++, 1_000);
  t.mock.timers.tick(66_000); // a pause: every timer that is due fires once
  passTicks(18);
  assert.equal(calls, 0);
  passTicks(1);
  assert.equal(calls, 1);
  const cancel = setLoopTimeout(() => calls++, 1_000);
  passTicks(10);
  cancel();
  passTicks(20);
  assert.equal(calls, 1);
});
