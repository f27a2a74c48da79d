import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { RunTimes, Watchdog } from '../../src/engine-client/watchdog.ts';

interface Bench {
  watchdog: Watchdog;
  calls: string[];
  /** Whether a sequence waits for a step. */
  work: { waits: boolean };
  /** Lets time pass, with or without heartbeats. */
  pass(ms: number, options?: { beats: boolean }): void;
}

const TICK_MS = 250;
const SMALL = { tokens: 1, keys: 64 };
const LARGE = { tokens: 4, keys: 128 };

function startWatchdog(t: TestContext): Bench {
  t.mock.timers.enable({ apis: ['setInterval', 'setTimeout'] });
  const calls: string[] = [];
  const work = { waits: true };
  const watchdog = new Watchdog({
    runTimes: new RunTimes(),
    firstRunBudgetMs: 60_000,
    graceMs: 15_000,
    terminationMs: 2_000,
    silenceBudgetMs: 15_000,
    isWaiting: () => work.waits,
    onOverdue: () => calls.push('overdue'),
    onStuck: () => calls.push('stuck'),
    onSilent: () => calls.push('silent'),
  });
  t.after(() => watchdog.stop());
  const pass = (ms: number, { beats } = { beats: true }) => {
    for (let passed = 0; passed < ms; passed += TICK_MS) {
      if (beats) watchdog.beat();
      t.mock.timers.tick(TICK_MS);
    }
  };
  return { watchdog, calls, work, pass };
}

test('the first run is a stall after 4 s, overdue after its budget, and stuck if it is not terminated', (t) => {
  const { watchdog, calls, pass } = startWatchdog(t);
  watchdog.began(SMALL);
  pass(3_750);
  assert.ok(watchdog.isProgressing);
  pass(250);
  assert.ok(!watchdog.isProgressing);
  pass(55_750);
  assert.deepEqual(calls, []);
  pass(250);
  assert.deepEqual(calls, ['overdue']);
  pass(1_750);
  assert.deepEqual(calls, ['overdue']);
  pass(250);
  assert.deepEqual(calls, ['overdue', 'stuck']);
});

test('a run is compared with the longest run of its size', (t) => {
  const { watchdog, calls, pass } = startWatchdog(t);
  watchdog.began(SMALL);
  watchdog.stepped();
  watchdog.began(LARGE);
  pass(9_750);
  watchdog.began(SMALL);
  pass(4_000);
  assert.ok(watchdog.isProgressing);
  pass(250);
  assert.ok(!watchdog.isProgressing);
  watchdog.began(LARGE);
  pass(13_750);
  assert.ok(watchdog.isProgressing);
  pass(250);
  assert.ok(!watchdog.isProgressing);
  pass(10_750);
  assert.deepEqual(calls, []);
  pass(250);
  assert.deepEqual(calls, ['overdue']);
});

test('a run that was terminated makes no later run slower', (t) => {
  const { watchdog, calls, pass } = startWatchdog(t);
  watchdog.began(SMALL);
  watchdog.stepped();
  pass(15_250);
  assert.deepEqual(calls, ['overdue']);
  pass(1_000);
  watchdog.stepped();
  assert.ok(watchdog.isProgressing);
  pass(4_250);
  assert.ok(!watchdog.isProgressing);
  pass(11_000);
  assert.deepEqual(calls, ['overdue', 'overdue']);
});

test('the engine does not stall while nothing waits for a step', (t) => {
  const { watchdog, calls, work, pass } = startWatchdog(t);
  work.waits = false;
  pass(120_000);
  assert.ok(watchdog.isProgressing);
  work.waits = true;
  pass(3_750);
  assert.ok(watchdog.isProgressing);
  assert.deepEqual(calls, []);
});

test('a process without heartbeats is a stall after 4 s and silent after its budget, idle or not', (t) => {
  const { watchdog, calls, work, pass } = startWatchdog(t);
  work.waits = false;
  pass(3_750, { beats: false });
  assert.ok(watchdog.isProgressing);
  pass(250, { beats: false });
  assert.ok(!watchdog.isProgressing);
  watchdog.beat();
  assert.ok(watchdog.isProgressing);
  pass(15_000, { beats: false });
  assert.deepEqual(calls, ['silent']);
});
