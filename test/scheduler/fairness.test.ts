// Fairness between tenants, and between adapters that do not fit together, on a fake engine and a virtual clock.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FairQueue, type WaitingQueue } from '../../src/scheduler/fair-queue.ts';
import type { SequenceId } from '../../src/scheduler/protocol.ts';
import { createSequence, type Sequence } from '../../src/scheduler/sequence.ts';
import { referenceTokens, request } from './fake-engine.ts';
import { type Flaws, PlainFairQueue } from './plain-fair-queue.ts';
import { Bench } from './scheduler-bench.ts';
import { ZERO_SAMPLER } from './zero-sampler.ts';

/** Jain's index: 1 if all have the same, 1/n if one has everything. */
function jainIndex(shares: readonly number[]): number {
  const sum = shares.reduce((all, one) => all + one, 0);
  const squares = shares.reduce((all, one) => all + one * one, 0);
  return sum ** 2 / (shares.length * squares);
}

/** The service of two backlogged tenants per weight: one with short prompts and long answers, one the other way round. */
function servePair(queue: WaitingQueue, weights: readonly [number, number]): [number, number] {
  const bench = new Bench({ slotCount: 4, prefillChunk: 16, queue });
  const shapes = [request([1], { maxTokens: 30 }), request(Array(30).fill(1), { maxTokens: 2 })];
  const owners = new Map<SequenceId, number>();
  const served: [number, number] = [0, 0];
  const submit = (tenant: number) => {
    const of = { tenant: String(tenant), weight: weights[tenant] ?? 1 };
    owners.set(bench.submit(shapes[tenant]!, of), tenant);
  };
  for (let i = 0; i < 20; i++) [0, 1].forEach(submit);
  for (let i = 0; i < 3000; i++) {
    const step = bench.step()!;
    for (const { id } of step.admitted) submit(owners.get(id)!);
    for (const { id, batch } of step.prefills) {
      const tenant = owners.get(id)!;
      served[tenant]! += batch.tokenIds.length / weights[tenant]!;
    }
  }
  for (const event of bench.events) {
    if (event.type !== 'token') continue;
    const tenant = owners.get(event.id)!;
    served[tenant]! += 2 / weights[tenant]!;
  }
  return served;
}

/** The requests out of four that a tenant gets served in four steps after it was idle. */
function servedAfterIdleTime(queue: WaitingQueue): number {
  const bench = new Bench({ slotCount: 1, queue });
  const one = request([1], { maxTokens: 1 });
  for (let i = 0; i < 20; i++) bench.submit(one, { tenant: 'a' });
  for (let i = 0; i < 10; i++) bench.step();
  const late = [1, 2, 3, 4].map(() => bench.submit(one, { tenant: 'b' }));
  for (let i = 0; i < 4; i++) bench.step();
  return late.filter((id) => bench.ending(id) !== undefined).length;
}

test('I13: two backlogged tenants are served equally, whatever their requests are like', (t) => {
  const served = servePair(new FairQueue(), [1, 1]);
  const index = jainIndex(served);
  t.diagnostic(`Jain's index: ${index.toFixed(5)}`);
  assert.ok(index >= 0.999, `${served}`);
  const largest = 2 * Math.max(30, 2 * 4 * 30);
  assert.ok(Math.abs(served[0] - served[1]) <= largest, `${served}`);
});

test('I13: backlogged tenants are served in proportion to their weights', () => {
  const served = servePair(new FairQueue(), [0.5, 2]);
  assert.ok(jainIndex(served) >= 0.999, `${served}`);
});

test('an idle tenant earns no credit', () => {
  assert.equal(servedAfterIdleTime(new FairQueue()), 2, 'they take turns');
});

const PLANTED: readonly [flaw: keyof Flaws, isFair: (queue: WaitingQueue) => boolean][] = [
  ['freeOutput', (queue) => jainIndex(servePair(queue, [1, 1])) >= 0.999],
  ['freePrompts', (queue) => jainIndex(servePair(queue, [1, 1])) >= 0.999],
  ['ignoresWeights', (queue) => jainIndex(servePair(queue, [0.5, 2])) >= 0.999],
  ['fifo', (queue) => jainIndex(servePair(queue, [1, 1])) >= 0.999],
  ['noLift', (queue) => servedAfterIdleTime(queue) === 2],
];

for (const [flaw, isFair] of PLANTED) {
  test(`a queue with the flaw ${flaw} is found out`, () => {
    assert.ok(isFair(new PlainFairQueue()));
    assert.ok(!isFair(new PlainFairQueue({ [flaw]: true })));
  });
}

test('the queue follows its plain twin over random operations', () => {
  const operation = fc.record({
    type: fc.constantFrom('push', 'take', 'takeOdd', 'prompt', 'generated'),
    tenant: fc.constantFrom('a', 'b', 'c'),
    tokens: fc.integer({ min: 1, max: 50 }),
  });
  const weights = { a: 1, b: 4, c: 0.5 };
  const run = (
    operations: readonly (typeof operation extends fc.Arbitrary<infer T> ? T : never)[],
  ) => {
    const queues = [new FairQueue(), new PlainFairQueue()];
    let lastId = 0;
    const create = (tenant: keyof typeof weights): Sequence => {
      const id = ++lastId as SequenceId;
      const of = { tenant, weight: weights[tenant], adapter: undefined, sampler: ZERO_SAMPLER };
      return createSequence({ id, ...of, request: request([1]) });
    };
    for (const { type, tenant, tokens } of operations) {
      if (type === 'push') {
        const sequence = create(tenant as keyof typeof weights);
        for (const queue of queues) queue.push(sequence);
      } else if (type === 'prompt' || type === 'generated') {
        const payer = create(tenant as keyof typeof weights);
        for (const queue of queues) {
          if (type === 'prompt') queue.chargePrompt(payer, tokens);
          else queue.chargeGenerated(payer, tokens);
        }
      } else {
        const found = queues.map((queue) =>
          queue.find(({ id }) => type === 'take' || id % 2 === 1),
        );
        assert.equal(found[0], found[1]);
        for (const queue of queues) if (found[0]) queue.remove(found[0]);
      }
    }
  };
  fc.assert(fc.property(fc.array(operation, { maxLength: 80 }), run), { numRuns: 500 });
});

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

test('T15: a tenant with one short request waits for a free slot, not behind the queue of another', () => {
  const bench = new Bench({ slotCount: 2 });
  for (let i = 0; i < 100; i++) bench.submit(request([i], { maxTokens: 20 }), { tenant: 'a' });
  for (let i = 0; i < 10; i++) bench.step();
  const short = bench.submit(request([1], { maxTokens: 1 }), { tenant: 'b' });
  assert.ok(bench.stepsToFirst(short) <= 11, 'a slot is free after 10 steps');
});

for (const adapters of [false, true]) {
  const what = adapters ? 'adapters of their own' : 'the base';
  test(`T15: beside 100 long requests for ${what}, a tenant's short one has its first token in the next step`, () => {
    const bench = new Bench({ slotCount: 3, guestSlots: 1, prefillChunk: 8 });
    const of = (tenant: string) => ({ tenant, ...(adapters && { adapter: tenant }) });
    const long = request(Array(40).fill(1), { maxTokens: 20 });
    for (let i = 0; i < 100; i++) bench.submitReady(long, of('a'));
    const firsts: number[] = [];
    for (let at = 0; at < 60; at++) {
      for (let i = 0; i < 7; i++) bench.step();
      const short = bench.submitReady(request([at], { maxTokens: 1 }), of('b'));
      firsts.push(bench.stepsToFirst(short));
      assert.deepEqual(
        bench.tokens(short),
        referenceTokens(request([at], { maxTokens: 1 }), of('b').adapter),
      );
    }
    assert.ok(Math.max(...firsts) <= 2, `${firsts}`);
    assert.ok(bench.events.some(({ type }) => type === 'finished'));
  });
}

test('T15: alone, a tenant has no guest slot; beside another one it has its share of them', () => {
  const bench = new Bench({ slotCount: 5, guestSlots: 1 });
  const running = () => bench.scheduler.stats().running;
  const long = request([1], { maxTokens: 40 });
  for (let i = 0; i < 10; i++) bench.submit(long, { tenant: 'a' });
  bench.step();
  assert.equal(running(), 4);
  bench.submit(long, { tenant: 'b' });
  bench.submit(long, { tenant: 'b' });
  bench.step();
  assert.equal(running(), 5);
});

test('I14: a long prompt lets short ones of tenants go first that were not served more, and no token of a step is lost', () => {
  const bench = new Bench({ slotCount: 8, prefillChunk: 8 });
  const submit = (tenant: string, length: number) =>
    bench.submit(request(Array(length).fill(2)), { tenant });
  const long = submit('a', 21);
  bench.step();
  const [b, a, later] = [submit('b', 3), submit('a', 5), submit('b', 4)];
  const chunks = () => bench.step()!.prefills.map(({ id, batch }) => [id, batch.tokenIds.length]);
  assert.deepEqual(chunks(), [
    [b, 3],
    [a, 5],
  ]);
  assert.deepEqual(chunks(), [[later, 4]], 'the tenant of the long one was served 13 tokens');
  assert.deepEqual(chunks(), [[long, 8]]);
  bench.runAll();
  assert.equal(bench.ending(long), 'length');
});
