// Adapters that do not fit together take turns, on a fake engine and a virtual clock.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SequenceId } from '../../src/scheduler/protocol.ts';
import { request } from './fake-engine.ts';
import { Bench } from './scheduler-bench.ts';

/** One adapter at a time and an endless stream of adapter `a`, with answers of at most `longest` tokens. */
function endlessStream({ longest = 20, slotCount = 4, maxActiveAdapters = 1 } = {}) {
  const bench = new Bench({ slotCount, maxActiveAdapters });
  let count = 0;
  const feed = () => {
    for (let i = 0; i < 2; i++) {
      count++;
      const maxTokens = 1 + ((count * 7) % longest);
      bench.submitReady(request([1], { maxTokens }), { tenant: 'a', adapter: 'a' });
    }
    assert.ok(bench.engine.attached.size <= maxActiveAdapters);
  };
  for (let i = 0; i < 30; i++) {
    feed();
    bench.step();
  }
  return { bench, feed };
}

test('T16, I15: one adapter slot and an endless stream of one adapter: another starts as soon as the running rows allow', () => {
  for (const longest of [4, 20, 40]) {
    const { bench, feed } = endlessStream({ longest });
    const of = { tenant: 'b', adapter: 'b' };
    const other = bench.submitReady(request([2], { maxTokens: 4 }), of);
    const steps = bench.stepsToFirst(other, { before: feed });
    assert.ok(steps <= 1.2 * longest + 2, `${steps} steps beside answers of ${longest}`);
  }
});

test("T16, I15: a tenant's own adapters take turns after 3 s, for which its running one goes on", () => {
  const { bench } = endlessStream({ longest: 20 });
  for (const id of bench.scheduler.ids('waiting')) bench.scheduler.abort(id);
  const other = bench.submitReady(request([2], { maxTokens: 4 }), { tenant: 'a', adapter: 'b' });
  const started: number[] = [];
  const steps = bench.stepsToFirst(other, {
    before: () => {
      const one = request([1], { maxTokens: 5 });
      for (let i = 0; i < 2; i++) bench.submitReady(one, { tenant: 'a', adapter: 'a' });
      started.push(bench.scheduler.stats().promptTokens);
    },
  });
  const quantum = 3000 / bench.stepMs;
  assert.ok(steps > quantum, `${steps} steps: it began to drain before 3 s had passed`);
  assert.ok(steps <= quantum + 1.2 * 20 + 2, `${steps} steps`);
  const meanwhile = started[quantum - 1]! - started[0]!;
  assert.ok(meanwhile >= 18, `only ${meanwhile} requests started meanwhile`);
});

test('T16: a draining adapter takes the requests that end within 1.2 times what it had left', () => {
  const bench = new Bench({ slotCount: 8, maxActiveAdapters: 1 });
  const submitA = (maxTokens: number) =>
    bench.submitReady(request([1], { maxTokens }), { tenant: 'a', adapter: 'a' });
  submitA(21);
  bench.step();
  const other = bench.submitReady(request([2]), { tenant: 'b', adapter: 'b' });
  bench.step(); // it begins to drain with 20 tokens left, and may take 24 more steps
  const [fits, late] = [submitA(23), submitA(24)];
  bench.step();
  assert.equal(bench.tokens(fits).length, 1);
  assert.equal(bench.tokens(late).length, 0);
  assert.ok(bench.stepsToFirst(other) <= 24);
  assert.equal(bench.tokens(fits).length, 23);
  bench.runAll();
  assert.equal(bench.tokens(late).length, 24, 'it starts after the other one');
});

test('T16: each starving adapter has another one drained for it, the soonest done first', () => {
  const bench = new Bench({ slotCount: 8, maxActiveAdapters: 3 });
  const submit = (adapter: string, maxTokens: number) =>
    bench.submitReady(request([1], { maxTokens }), { tenant: adapter, adapter });
  submit('a', 60);
  submit('b', 10);
  submit('c', 20);
  bench.step();
  const waiting = ['x', 'y'].map((adapter) => submit(adapter, 4));
  for (let i = 0; i < 12; i++) {
    for (const adapter of ['b', 'c']) submit(adapter, 30);
    bench.step();
  }
  assert.equal(bench.tokens(waiting[0]!).length > 0, true, 'b has drained');
  for (let i = 0; i < 12; i++) bench.step();
  assert.equal(bench.tokens(waiting[1]!).length > 0, true, 'c has drained');
  assert.ok(bench.engine.attached.has('a'));
});

test('T16: the base needs no adapter slot, and more adapters than slots all end', () => {
  const bench = new Bench({ slotCount: 4, maxActiveAdapters: 1 });
  const ids = Array.from({ length: 9 }, (_, i) =>
    bench.submitReady(request([i]), { adapter: `adapter-${i}` }),
  );
  const base = bench.submit(request([1]));
  assert.equal(bench.stepsToFirst(base), 1);
  bench.runAll();
  for (const id of ids) assert.equal(bench.ending(id), 'length');
});

test('an adapter that does not fit waits for as many running adapters as its memory needs, not for all', () => {
  const sizes: Record<string, number> = { a: 1, b: 1, c: 1, wide: 2 };
  const canAttach = (keys: readonly string[]) =>
    keys.reduce((sum, key) => sum + sizes[key]!, 0) <= 3;
  const bench = new Bench({ slotCount: 4, canAttach });
  const short = request([1], { maxTokens: 4 });
  const submit = (adapter: string) => bench.submitReady(short, { tenant: adapter, adapter });
  for (const adapter of ['a', 'b', 'c']) submit(adapter);
  bench.step();
  const wide = submit('wide');
  const base = bench.submit(short, { tenant: 'base' });
  let steps = 0;
  for (; bench.ending(wide) === undefined && steps < 40; steps++) {
    for (const adapter of ['a', 'b', 'c']) submit(adapter);
    bench.step();
    assert.ok(canAttach([...bench.engine.attached]));
  }
  assert.equal(bench.ending(wide), 'length');
  assert.equal(bench.ending(base), 'length', 'the base waits for no adapter');
  assert.ok(steps <= 16, `${steps} steps: two adapters drained, at most four tokens each`);
});

/** Steps until adapter `b` of a tenant starts beside a backlog for adapter `a`, with one adapter at a time and 32 slots. */
function stepsBesideBacklog({
  tenant = 'a',
  promptLength = 1,
  reservedSlots = 0,
  longPrompts = 0,
}) {
  const slotCount = 32 + reservedSlots;
  const limits = { maxActiveAdapters: 1, maxSeqLength: 256, prefillChunk: 32 };
  const bench = new Bench({ slotCount, reservedSlots, ...limits });
  const long = new Set<SequenceId>();
  let count = 0;
  const feed = () => {
    const waiting = bench.scheduler.ids('waiting');
    const longCount = waiting.filter((id) => long.has(id)).length;
    for (let i = longCount; i < longPrompts; i++)
      long.add(bench.submit(request(Array(192).fill(1), { maxTokens: 1 }), { tenant: 'c' }));
    for (let i = waiting.length - longCount; i < 40; i++) {
      const maxTokens = 10 + ((count++ * 7) % 10);
      const of = { tenant: 'a', adapter: 'a', weight: 4 };
      bench.submitReady(request([1], { maxTokens }), of);
    }
  };
  for (let i = 0; i < 100; i++) {
    feed();
    bench.step();
  }
  const prompt = request(Array(promptLength).fill(2), { maxTokens: 4 });
  const other = bench.submitReady(prompt, { tenant, adapter: 'b' });
  return bench.stepsToFirst(other, { before: feed, most: 400 });
}

test('T16, I15: a guest slot that a starving sequence may not have does not end the drain for it', () => {
  const without = stepsBesideBacklog({});
  assert.equal(stepsBesideBacklog({ reservedSlots: 1 }), without);
});

for (const tenant of ['a', 'b']) {
  test(`T16, I15: the drain for a prompt of several chunks outlasts other long prompts (tenant ${tenant})`, () => {
    const short = stepsBesideBacklog({ tenant, longPrompts: 4 });
    const steps = stepsBesideBacklog({ tenant, promptLength: 100, longPrompts: 4 });
    assert.ok(steps <= short + 20, `${steps} steps, and ${short} for a short prompt`);
  });
}
