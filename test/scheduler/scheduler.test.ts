import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ServeError } from '../../src/common/errors.ts';
import type { GenerationRequest } from '../../src/contracts/generation.ts';
import type { EngineEvent, SequenceId } from '../../src/scheduler/protocol.ts';
import { Scheduler, type SchedulerOptions } from '../../src/scheduler/scheduler.ts';
import { createSequence } from '../../src/scheduler/sequence.ts';
import type { StepPlan } from '../../src/scheduler/step-plan.ts';
import {
  FakeEngine,
  POISON,
  referencePromptLogprobs,
  referenceTokens,
  request,
} from './fake-engine.ts';
import { ZERO_SAMPLER } from './zero-sampler.ts';

const sampler = ZERO_SAMPLER;

/** A scheduler and a fake engine, and the events of both. */
class Bench {
  readonly scheduler: Scheduler;
  readonly engine: FakeEngine;
  readonly events: EngineEvent[] = [];
  #lastId = 0;

  constructor(options: Partial<SchedulerOptions> = {}) {
    const limits = { slotCount: 4, maxSeqLength: 64, ...options };
    this.scheduler = new Scheduler(limits);
    this.engine = new FakeEngine(limits);
  }

  submit(
    request: GenerationRequest,
    { tenant = 't', weight = 1, adapter = undefined as string | undefined } = {},
  ) {
    const id = ++this.#lastId as SequenceId;
    this.scheduler.submit(createSequence({ id, tenant, weight, adapter, request, sampler }));
    return id;
  }

  submitReady(request: GenerationRequest, of: { tenant?: string; adapter?: string } = {}) {
    const id = this.submit(request, of);
    this.scheduler.loaded(id);
    return id;
  }

  step(): StepPlan | undefined {
    const step = this.scheduler.next();
    if (!step) return undefined;
    this.run(step);
    return step;
  }

  run(step: StepPlan): void {
    for (const { from, to, length } of step.moves) this.engine.moveSlot(from, to, length);
    for (const key of step.detach) this.engine.detachAdapter(key);
    const prefills = step.prefills.map(({ attach, batch }) => {
      if (attach !== undefined) this.engine.attachAdapter({ digest: attach });
      return { result: this.engine.runNow(batch) };
    });
    const decode = step.decode && { result: this.engine.runNow(step.decode) };
    this.events.push(...this.scheduler.applyResults(step, { prefills, decode }));
  }

  runAll(): StepPlan[] {
    const steps: StepPlan[] = [];
    for (let step = this.step(); step; step = this.step()) steps.push(step);
    return steps;
  }

  tokens(id: SequenceId): number[] {
    return this.events.flatMap((e) => (e.type === 'token' && e.id === id ? [e.tokenId] : []));
  }

  ending(id: SequenceId): string | undefined {
    const last = this.events.filter((event) => event.id === id).at(-1);
    if (last?.type === 'finished') return last.reason;
    return last?.type === 'failed' ? last.error.code : undefined;
  }
}

test('a prompt is prefilled in chunks, back to back while nothing runs', () => {
  const bench = new Bench({ prefillChunk: 4 });
  const id = bench.submit(request([1, 2, 3, 4, 5, 6, 7, 8, 9], { maxTokens: 3 }));
  const steps = bench.runAll();
  assert.deepEqual(
    steps.map(({ prefills, decode }) => [prefills[0]?.batch.tokenIds.length, decode?.rows.length]),
    [
      [4, undefined],
      [4, undefined],
      [1, undefined],
      [undefined, 1],
      [undefined, 1],
    ],
  );
  assert.deepEqual(
    steps.map(({ prefills }) => prefills[0]?.batch.sampler !== undefined),
    [false, false, true, false, false],
  );
  assert.equal(bench.ending(id), 'length');
  assert.equal(bench.tokens(id).length, 3);
});

test('several short prompts share the budget of a step, and none is cut to fit into it', () => {
  const bench = new Bench({ prefillChunk: 6 });
  const ids = [[1, 2], [3, 4], [5, 6, 7], [8]].map((prompt) =>
    bench.submit(request(prompt, { maxTokens: 2 })),
  );
  const first = bench.step()!;
  assert.deepEqual(
    first.prefills.map(({ batch }) => [batch.slot, batch.tokenIds.length]),
    [
      [0, 2],
      [1, 2],
    ],
  );
  const second = bench.step()!;
  assert.deepEqual(
    second.prefills.map(({ batch }) => [batch.slot, batch.tokenIds.length]),
    [
      [2, 3],
      [3, 1],
    ],
  );
  assert.equal(second.decode?.rows.length, 2);
  bench.runAll();
  for (const id of ids) assert.equal(bench.ending(id), 'length');
});

test('running rows get a token in each step that also prefills a prompt', () => {
  const bench = new Bench({ prefillChunk: 2 });
  bench.submit(request([1], { maxTokens: 10 }));
  bench.step();
  bench.submit(request([1, 2, 3, 4, 5], { maxTokens: 2 }));
  const shapes = [1, 2, 3, 4].map(() => {
    const step = bench.step()!;
    return [step.prefills[0]?.batch.tokenIds.length, step.decode?.rows.length];
  });
  assert.deepEqual(shapes, [
    [2, 1],
    [2, 1],
    [1, 1],
    [undefined, 2],
  ]);
});

test('the last running row moves into the slot of one that finished', () => {
  const bench = new Bench();
  const first = bench.submit(request([1], { maxTokens: 3 }));
  const others = [2, 3].map((prompt) => bench.submit(request([prompt], { maxTokens: 12 })));
  const steps = bench.runAll();
  const moves = steps.flatMap((step) => step.moves);
  assert.deepEqual(moves[0], { from: 2, to: 0, length: 3 });
  assert.equal(bench.tokens(first).length, 3);
  for (const [i, id] of others.entries()) {
    assert.deepEqual(
      bench.tokens(id),
      referenceTokens(request([i + 2], { maxTokens: 12 }), undefined),
    );
  }
});

test('a stop token ends the sequence and is not reported', () => {
  const plain = request([5, 6], { maxTokens: 8 });
  const [first, second, third] = referenceTokens(plain, undefined);
  const bench = new Bench();
  const id = bench.submit({ ...plain, stopTokenIds: [third!] });
  bench.runAll();
  assert.deepEqual(bench.tokens(id), [first, second]);
  assert.equal(bench.ending(id), 'stop');
});

test('a prompt is scored across its chunks, and maxTokens 0 samples nothing', () => {
  const bench = new Bench({ prefillChunk: 2 });
  const promptIds = [1, 2, 3, 4, 5];
  const id = bench.submit(request(promptIds, { maxTokens: 0, promptTopLogprobs: 0 }));
  bench.runAll();
  assert.deepEqual(bench.events, [
    { type: 'prompt', id, logprobs: referencePromptLogprobs(promptIds, undefined) },
    { type: 'finished', id, reason: 'length' },
  ]);
});

test('I12: a sequence whose adapter is loading delays no other', () => {
  const bench = new Bench({ slotCount: 1 });
  const loading = bench.submit(request([1], { maxTokens: 1 }), { adapter: 'slow' });
  const later = bench.submit(request([2], { maxTokens: 1 }));
  bench.runAll();
  assert.equal(bench.ending(later), 'length');
  assert.equal(bench.ending(loading), undefined);
  bench.scheduler.loaded(loading);
  bench.runAll();
  assert.equal(bench.ending(loading), 'length');
});

test('an adapter is attached with its first sequence and stays until a step does not use it', () => {
  const bench = new Bench({ slotCount: 1 });
  const one = request([1], { maxTokens: 1 });
  bench.submitReady(one, { adapter: 'a' });
  bench.submitReady(one, { adapter: 'a' });
  bench.submitReady(one, { adapter: 'b' });
  const switches = bench
    .runAll()
    .map(({ prefills, detach }) => [...prefills.map(({ attach }) => attach), ...detach]);
  assert.deepEqual(switches, [['a'], [undefined], ['b', 'a']]);
});

test('F37: a row that is not finite ends alone, with an error that names the cause', () => {
  const bench = new Bench();
  const good = bench.submitReady(request([1], { maxTokens: 5 }), { adapter: 'a' });
  const bad = bench.submitReady(request([2], { maxTokens: 5 }), { adapter: POISON });
  bench.runAll();
  assert.equal(bench.ending(bad), 'adapter_non_finite');
  assert.deepEqual(bench.tokens(good), referenceTokens(request([1], { maxTokens: 5 }), 'a'));
  assert.equal(bench.scheduler.stats().nonFiniteRows, 1);
});

test('a run that throws fails only its own rows', () => {
  const bench = new Bench();
  const rows = [1, 2].map((prompt) => bench.submit(request([prompt], { maxTokens: 9 })));
  bench.step();
  bench.step();
  const joining = bench.submitReady(request([3], { maxTokens: 3 }), { adapter: 'a' });
  const step = bench.scheduler.next()!;
  const error = new ServeError('internal_error', 'The engine failed.');
  bench.engine.attachAdapter({ digest: 'a' });
  const prefills = [{ result: bench.engine.runNow(step.prefills[0]!.batch) }];
  bench.events.push(...bench.scheduler.applyResults(step, { prefills, decode: { error } }));
  for (const id of rows) assert.equal(bench.ending(id), 'internal_error');
  bench.runAll();
  assert.deepEqual(bench.tokens(joining), referenceTokens(request([3], { maxTokens: 3 }), 'a'));
});

test('a failed prefill leaves its adapter detached', () => {
  const bench = new Bench();
  const error = new ServeError('internal_error', 'The engine failed.');
  const failed = bench.submitReady(request([1]), { adapter: 'a' });
  const step = bench.scheduler.next()!;
  assert.equal(step.prefills[0]!.attach, 'a');
  bench.events.push(
    ...bench.scheduler.applyResults(step, { prefills: [{ error }], decode: undefined }),
  );
  assert.equal(bench.ending(failed), 'internal_error');
  bench.submitReady(request([2]), { adapter: 'a' });
  assert.equal(bench.step()!.prefills[0]!.attach, 'a');
});

test('an abort takes effect at once between steps, or at the end of the step in flight', () => {
  const bench = new Bench();
  const between = bench.submit(request([1], { maxTokens: 9 }));
  const within = bench.submit(request([2], { maxTokens: 9 }));
  bench.step();
  bench.step();
  assert.deepEqual(bench.scheduler.abort(between), [
    { type: 'finished', id: between, reason: 'abort' },
  ]);
  const step = bench.scheduler.next()!;
  assert.equal(step.decode!.rows.length, 1);
  assert.deepEqual(bench.scheduler.abort(within), []);
  bench.run(step);
  assert.equal(bench.ending(within), 'abort');
  assert.deepEqual(bench.scheduler.abort(within), []);
  assert.equal(bench.scheduler.next(), undefined);
});

test('T15: a tenant with one short request does not wait behind the queue of another', () => {
  const bench = new Bench({ slotCount: 2 });
  for (let i = 0; i < 100; i++) bench.submit(request([i], { maxTokens: 20 }), { tenant: 'a' });
  for (let i = 0; i < 10; i++) bench.step();
  const short = bench.submit(request([1], { maxTokens: 1 }), { tenant: 'b' });
  let steps = 0;
  while (bench.ending(short) === undefined) {
    bench.step();
    steps++;
  }
  assert.ok(steps <= 21, `${steps} steps, where a slot is free after 20 at the latest`);
});

test('an idle tenant earns no credit', () => {
  const bench = new Bench({ slotCount: 1 });
  const one = request([1], { maxTokens: 1 });
  for (let i = 0; i < 20; i++) bench.submit(one, { tenant: 'a' });
  for (let i = 0; i < 10; i++) bench.step();
  const late = [1, 2, 3, 4].map(() => bench.submit(one, { tenant: 'b' }));
  for (let i = 0; i < 4; i++) bench.step();
  const served = late.filter((id) => bench.ending(id) !== undefined);
  assert.equal(served.length, 2, 'they take turns');
});

test('T16, I15: with one adapter at a time, an endless stream of one adapter does not starve another', () => {
  const bench = new Bench({ slotCount: 2, maxActiveAdapters: 1 });
  const submitA = () =>
    bench.submitReady(request([1], { maxTokens: 4 }), { tenant: 'a', adapter: 'a' });
  submitA();
  submitA();
  for (let i = 0; i < 3; i++) bench.step();
  const other = bench.submitReady(request([2], { maxTokens: 4 }), { tenant: 'b', adapter: 'b' });
  for (let i = 0; i < 40 && bench.ending(other) === undefined; i++) {
    submitA();
    bench.step();
    assert.ok(bench.engine.attached.size <= 1);
  }
  assert.equal(bench.ending(other), 'length');
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

test('an adapter that does not fit even alone is admitted, and refused when it is attached', () => {
  const bench = new Bench({ canAttach: () => false });
  const alone = bench.submitReady(request([1], { maxTokens: 1 }), { adapter: 'huge' });
  assert.deepEqual(
    bench.step()!.prefills.map(({ attach }) => attach),
    ['huge'],
  );
  assert.equal(bench.ending(alone), 'length');
});

test('backlogged tenants are served in proportion to their weights', () => {
  const bench = new Bench({ slotCount: 4 });
  const one = request([1, 2], { maxTokens: 3 });
  const owners = new Map<SequenceId, 'light' | 'heavy'>();
  for (let i = 0; i < 400; i++) {
    owners.set(bench.submit(one, { tenant: 'light', weight: 0.5 }), 'light');
    owners.set(bench.submit(one, { tenant: 'heavy', weight: 2 }), 'heavy');
  }
  for (let i = 0; i < 300; i++) bench.step();
  const count = { light: 0, heavy: 0 };
  for (const { id, type } of bench.events) if (type === 'token') count[owners.get(id)!]++;
  const ratio = count.heavy / count.light;
  assert.ok(ratio > 3.9 && ratio < 4.1, `${count.heavy} to ${count.light}`);
});
