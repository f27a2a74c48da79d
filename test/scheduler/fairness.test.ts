// Fairness between tenants on a fake engine and a virtual clock.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FairQueue, type WaitingQueue } from '../../src/scheduler/fair-queue.ts';
import type { SequenceId } from '../../src/scheduler/protocol.ts';
import { createSequence, type Sequence } from '../../src/scheduler/sequence.ts';
import { compiled } from '../grammar/compiled.ts';
import { referenceTokens, request } from './fake-engine.ts';
import { type Flaws, PlainFairQueue } from './plain-fair-queue.ts';
import { Bench } from './scheduler-bench.ts';
import { costlySampler, ZERO_SAMPLER } from './zero-sampler.ts';

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

/** The service of two backlogged tenants, one of which has constraints that cost as much as 40 tokens for each token. */
function matchBeside(queue: WaitingQueue): [number, number] {
  const places = 80 * 5000;
  const bench = new Bench({ slotCount: 4, queue });
  const owners = new Map<SequenceId, number>();
  const served: [number, number] = [0, 0];
  const constraint = compiled({ kind: 'any_text' });
  const submit = (tenant: number) => {
    const shape = request([1], { maxTokens: 4, ...(tenant === 1 && { constraint }) });
    const sampler = tenant === 1 ? costlySampler(places, () => (served[1] += 80)) : ZERO_SAMPLER;
    owners.set(bench.submitReady(shape, { tenant: String(tenant), sampler }), tenant);
  };
  for (let i = 0; i < 20; i++) [0, 1].forEach(submit);
  for (let i = 0; i < 3000; i++)
    for (const { id } of bench.step()!.admitted) submit(owners.get(id)!);
  for (const event of bench.events) {
    if (event.type === 'admitted') served[owners.get(event.id)!]! += 1;
    if (event.type === 'token') served[owners.get(event.id)!]! += 2;
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

test('I13: matching counts as service', () => {
  const served = matchBeside(new FairQueue());
  assert.ok(jainIndex(served) >= 0.99, `${served}`);
});

const PLANTED: readonly [flaw: keyof Flaws, isFair: (queue: WaitingQueue) => boolean][] = [
  ['freeOutput', (queue) => jainIndex(servePair(queue, [1, 1])) >= 0.999],
  ['freePrompts', (queue) => jainIndex(servePair(queue, [1, 1])) >= 0.999],
  ['freeMatching', (queue) => jainIndex(matchBeside(queue)) >= 0.99],
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
    type: fc.constantFrom('push', 'take', 'takeOdd', 'prompt', 'generated', 'matching'),
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
      } else if (type === 'prompt' || type === 'generated' || type === 'matching') {
        const payer = create(tenant as keyof typeof weights);
        for (const queue of queues) {
          if (type === 'prompt') queue.charge(payer, 'promptTokens', tokens);
          else if (type === 'matching') queue.charge(payer, 'matchedPositions', 1000 * tokens);
          else queue.charge(payer, 'generatedTokens', tokens);
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
    const bench = new Bench({ slotCount: 3, reservedSlots: 1, prefillChunk: 8 });
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
  const bench = new Bench({ slotCount: 5, reservedSlots: 1 });
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

test('a sequence that arrives during a step waits only if the next step has no slot for it', () => {
  const bench = new Bench({ slotCount: 2 });
  const waiting = () => bench.scheduler.stats().waiting;
  const submit = () => bench.submit(request([1], { maxTokens: 4 }));
  submit();
  const step = bench.scheduler.next()!;
  submit();
  assert.equal(waiting(), 0, 'there is a slot for it');
  submit();
  assert.equal(waiting(), 1);
  bench.run(step);
  bench.step();
  assert.equal(waiting(), 1);
});

test('I14: a long prompt lets short ones of tenants go first that were not served more, and no token of a step is lost', () => {
  const bench = new Bench({ slotCount: 8, prefillChunk: 8 });
  const submit = (tenant: string, length: number) =>
    bench.submit(request(Array(length).fill(2)), { tenant });
  const long = submit('a', 21);
  bench.step();
  const [b, a, later] = [submit('b', 3), submit('a', 5), submit('b', 4)];
  const chunks = () => bench.step()!.prefills.map(({ id, batch }) => [id, batch.tokenIds.length]);
  const shortOnes = [
    [b, 3],
    [a, 5],
  ];
  assert.deepEqual(chunks(), shortOnes);
  assert.deepEqual(chunks(), [[long, 8]], 'passed over once, it has its turn');
  assert.deepEqual(chunks(), [[later, 4]], 'the tenant of the long one was served 21 tokens');
  assert.deepEqual(chunks(), [[long, 5]]);
  bench.runAll();
  assert.equal(bench.ending(long), 'length');
});

for (const heavyRows of [2, 20]) {
  test(`I15, T15: beside short requests in every step, a long prompt runs in every other one (${heavyRows} rows)`, () => {
    const bench = new Bench({
      slotCount: 33,
      reservedSlots: 1,
      maxSeqLength: 4096,
      prefillChunk: 64,
    });
    const submit = (tenant: string, length: number, maxTokens: number) =>
      bench.submit(request(Array(length).fill(2), { maxTokens }), { tenant });
    for (let i = 0; i < heavyRows; i++) submit('heavy', 1, 3000);
    for (let i = 0; i < 50; i++) bench.step();
    const long = submit('heavy', 4 * 64, 2);
    const short: SequenceId[] = [];
    const before = () => short.push(submit(`light-${short.length % 10}`, 2, 4));
    const steps = bench.stepsToFirst(long, { before });
    assert.ok(steps <= 2 * 4, `${steps} steps for four chunks`);
    for (const id of short.slice(0, -1)) assert.ok(bench.stepsToFirst(id) <= 1, 'nor do they wait');
  });
}
