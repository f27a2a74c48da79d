import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ServeError } from '../../src/common/errors.ts';
import type { GenerationRequest } from '../../src/contracts/generation.ts';
import type { SchedulerOptions } from '../../src/scheduler/options.ts';
import type { EngineEvent, SequenceId } from '../../src/scheduler/protocol.ts';
import { Scheduler } from '../../src/scheduler/scheduler.ts';
import { createSequence } from '../../src/scheduler/sequence.ts';
import type { StepPlan } from '../../src/scheduler/step-plan.ts';
import { FakeEngine, POISON, referenceTokens, request, source } from './fake-engine.ts';
import { PlainPrefixCache } from './plain-prefix-cache.ts';
import { ZERO_SAMPLER } from './zero-sampler.ts';

const sampler = ZERO_SAMPLER;
const LIMITS = { slotCount: 4, maxSeqLength: 512, prefillChunk: 64 };

interface Submission {
  readonly adapter?: string | undefined;
  readonly scope?: string;
}

/** A scheduler with a fake engine and a plain prefix cache. */
class Bench {
  readonly scheduler: Scheduler;
  readonly engine: FakeEngine;
  readonly prefixes: PlainPrefixCache;
  readonly events: EngineEvent[] = [];
  readonly submitted = new Map<SequenceId, { request: GenerationRequest; adapter?: string }>();
  #lastId = 0;

  constructor(options: Partial<SchedulerOptions> = {}) {
    this.engine = new FakeEngine(LIMITS);
    this.prefixes = new PlainPrefixCache(this.engine.slots);
    const countCachedTokens: SchedulerOptions['countCachedTokens'] = (prefix) =>
      this.prefixes.cachedTokens(prefix);
    this.scheduler = new Scheduler({ ...LIMITS, countCachedTokens, ...options });
  }

  submit(promptIds: readonly number[], { adapter, scope = 's' }: Submission = {}, maxTokens = 2) {
    const id = ++this.#lastId as SequenceId;
    const of = { adapter: adapter === undefined ? undefined : source(adapter), scope };
    const prefix = this.prefixes.chainOf(of, promptIds);
    const init = {
      id,
      tenant: 't',
      weight: 1,
      adapter,
      request: request(promptIds, { maxTokens }),
    };
    this.scheduler.submit(createSequence({ ...init, sampler, prefix }));
    this.scheduler.loaded(id);
    this.submitted.set(id, { request: init.request, ...(adapter && { adapter }) });
    return id;
  }

  begin(): StepPlan | undefined {
    for (const change of this.scheduler.takePrefixChanges()) {
      if (change.type === 'forget') this.prefixes.forget(change.prefix);
      else this.prefixes.save(change.prefix, change.tokenIds, change.slot);
    }
    return this.scheduler.next();
  }

  run(step: StepPlan, { fails = false } = {}): void {
    for (const { from, to, length } of step.moves) this.engine.moveSlot(from, to, length);
    for (const key of step.detach) this.engine.detachAdapter(key);
    const error = new ServeError('internal_error', 'The run failed.');
    for (const { attach, restore, batch } of step.prefills) {
      if (restore) this.prefixes.restore(restore, batch.pastLength, batch.slot);
      if (attach !== undefined && !fails) this.engine.attachAdapter({ digest: attach });
      const failed = { error, isDetached: true } as const;
      const outcome = fails ? failed : { result: this.engine.runNow(batch) };
      this.events.push(...this.scheduler.applyPrefill(step, outcome));
    }
    const decode = step.decode && (fails ? { error } : { result: this.engine.runNow(step.decode) });
    this.events.push(...this.scheduler.applyResults(step, decode));
  }

  step(): StepPlan | undefined {
    const step = this.begin();
    if (step) this.run(step);
    return step;
  }

  runAll(): StepPlan[] {
    const steps: StepPlan[] = [];
    for (let step = this.step(); step; step = this.step()) steps.push(step);
    return steps;
  }

  tokens(id: SequenceId): number[] {
    return this.events.flatMap((e) => (e.type === 'token' && e.id === id ? [e.tokenId] : []));
  }

  checkTokens(id: SequenceId): void {
    const { request, adapter } = this.submitted.get(id)!;
    assert.deepEqual(this.tokens(id), referenceTokens(request, adapter));
  }
}

/** Tokens `from` … `from + length - 1`. */
const tokens = (length: number, from = 0) => Array.from({ length }, (_, i) => from + i);
const prefillLengths = (step: StepPlan | undefined) =>
  step?.prefills.map(({ batch }) => [batch.pastLength, batch.tokenIds.length]);

test('a prompt starts behind its cached prefix, and gets the same tokens', () => {
  const bench = new Bench();
  bench.submit(tokens(50));
  bench.runAll();
  const id = bench.submit([...tokens(40), 900]);
  assert.deepEqual(prefillLengths(bench.step()), [[32, 9]]);
  bench.runAll();
  bench.checkTokens(id);
  const { prefixQueryTokens, prefixHitTokens, promptTokens } = bench.scheduler.stats();
  assert.deepEqual([prefixQueryTokens, prefixHitTokens, promptTokens], [91, 32, 91]);
});

test('the last prompt token is computed even if the whole prompt is cached', () => {
  const bench = new Bench();
  bench.submit(tokens(48));
  bench.runAll();
  const id = bench.submit(tokens(48));
  assert.deepEqual(prefillLengths(bench.step()), [[32, 16]]);
  bench.runAll();
  bench.checkTokens(id);
});

test('generated tokens are kept for the next turn of a conversation', () => {
  const bench = new Bench();
  const first = bench.submit(tokens(20), {}, 30);
  bench.runAll();
  const answer = bench.tokens(first);
  const second = bench.submit([...tokens(20), ...answer, 7, 8, 9]);
  assert.deepEqual(prefillLengths(bench.step()), [[48, 5]]); // the last answer token was never in the cache
  bench.runAll();
  bench.checkTokens(second);
});

test('an aborted sequence leaves what it has computed', () => {
  const bench = new Bench();
  const id = bench.submit(tokens(200));
  const step = bench.begin()!;
  bench.scheduler.abort(id); // the step is in flight
  bench.run(step);
  assert.equal(bench.begin(), undefined);
  bench.submit(tokens(200));
  assert.deepEqual(prefillLengths(bench.step()), [[64, 64]]);
});

test('other scopes and other adapters start from the beginning', () => {
  const bench = new Bench();
  bench.submit(tokens(50), { adapter: 'x', scope: 'a' });
  bench.runAll();
  for (const scope of [
    { adapter: 'x', scope: 'b' },
    { adapter: 'y', scope: 'a' },
    { scope: 'a' },
  ]) {
    const id = bench.submit(tokens(50), scope);
    assert.deepEqual(prefillLengths(bench.step()), [[0, 50]], JSON.stringify(scope));
    bench.runAll();
    bench.checkTokens(id);
  }
  assert.deepEqual(bench.prefixes.restored, []);
});

test('a failed run keeps nothing of its slots, even if the sequence was aborted', () => {
  for (const aborts of [false, true]) {
    const bench = new Bench();
    const id = bench.submit(tokens(50));
    bench.step();
    const decode = bench.begin()!;
    if (aborts) bench.scheduler.abort(id);
    bench.run(decode, { fails: true });
    bench.submit(tokens(50));
    assert.deepEqual(prefillLengths(bench.step()), [[0, 50]]);
  }
});

test('after a row that is not finite, everything of its adapter and scope is forgotten', () => {
  const bench = new Bench();
  bench.submit(tokens(100), { adapter: POISON });
  const kept = bench.submit(tokens(100, 500));
  bench.runAll();
  bench.submit(tokens(100), { adapter: POISON });
  assert.deepEqual(prefillLengths(bench.step()), [[0, 64]]);
  bench.submit(tokens(100, 500));
  bench.runAll();
  bench.checkTokens(kept);
  assert.deepEqual(bench.prefixes.restored, [96]);
});

test('waiting prompts with the same long beginning let one of them prefill it', () => {
  const bench = new Bench();
  const ids = [1, 2, 3].map((last) => bench.submit([...tokens(200), 900 + last]));
  const other = bench.submit(tokens(8, 700));
  const steps = bench.runAll();
  const computed = steps.map((step) => prefillLengths(step)?.map(([, length]) => length));
  // After three steps, all that they share is cached.
  assert.deepEqual(computed.slice(0, 4), [[64], [64], [64], [9, 9, 9, 8]]);
  assert.deepEqual(bench.prefixes.restored, [192, 192]);
  for (const id of [...ids, other]) bench.checkTokens(id);
});

test('prompts that share little do not wait for each other', () => {
  const bench = new Bench();
  for (const last of [1, 2, 3]) bench.submit([...tokens(20), 900 + last]);
  assert.deepEqual(prefillLengths(bench.step()), [
    [0, 21],
    [0, 21],
    [0, 21],
  ]);
});

test('a sequence waits for one other at most, even if nothing can be kept', () => {
  const bench = new Bench({ prefillChunk: 256 });
  bench.prefixes.keeps = false;
  for (const last of [1, 2, 3]) bench.submit([...tokens(80), 900 + last]);
  assert.deepEqual(prefillLengths(bench.step()), [[0, 81]]);
  assert.deepEqual(prefillLengths(bench.step()), [
    [0, 81],
    [0, 81],
  ]);
});

test('if the first of them is aborted, the others go on from what it has computed', () => {
  const bench = new Bench();
  const first = bench.submit([...tokens(200), 1]);
  const second = bench.submit([...tokens(200), 2]);
  bench.step();
  bench.scheduler.abort(first);
  assert.deepEqual(prefillLengths(bench.step()), [[64, 64]]);
  bench.runAll();
  bench.checkTokens(second);
});

test('copies take a part of the token budget of a step', () => {
  const bench = new Bench();
  bench.submit(tokens(330));
  bench.runAll();
  for (const last of [1, 2, 3]) bench.submit([...tokens(320), 900 + last, 5, 5, 5, 5, 5, 5, 5, 5]);
  // 320 / 32 tokens of the budget for each copy, and 9 computed ones
  assert.equal(bench.step()!.prefills.length, 3);
  const { prefillChunk } = LIMITS;
  assert.ok(3 * (10 + 9) < prefillChunk && 4 * (10 + 9) > prefillChunk);
});

const operation = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constant('submit' as const),
      shared: fc.integer({ min: 0, max: 150 }),
      own: fc.integer({ min: 1, max: 40 }),
      adapter: fc.constantFrom(undefined, 'x', 'y', POISON),
      scope: fc.constantFrom('a', 'b'),
      maxTokens: fc.integer({ min: 1, max: 40 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('abort' as const), pick: fc.nat() }) },
  { weight: 4, arbitrary: fc.record({ type: fc.constant('step' as const), abort: fc.nat(40) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('fail' as const) }) },
);

test('under random use every sequence gets the tokens that it gets alone', () => {
  let hits = 0;
  const random = fc.property(fc.array(operation, { minLength: 5, maxLength: 40 }), (all) => {
    const bench = new Bench();
    for (const [i, one] of all.entries()) {
      if (one.type === 'submit') {
        const promptIds = [...tokens(one.shared), ...tokens(one.own, 1000 * i)];
        bench.submit(promptIds, one, one.maxTokens);
      } else if (one.type === 'abort') {
        bench.events.push(...bench.scheduler.abort(((one.pick % i) + 1) as SequenceId));
      } else {
        const step = bench.begin();
        if (one.type === 'step') {
          bench.events.push(...bench.scheduler.abort(one.abort as SequenceId));
        }
        if (step) bench.run(step, { fails: one.type === 'fail' });
      }
    }
    bench.runAll();
    hits += bench.prefixes.restored.length;
    for (const [id, { request, adapter }] of bench.submitted) {
      const own = bench.events.filter((event) => event.id === id);
      const expected = referenceTokens(request, adapter);
      const ended = own.filter(({ type }) => type === 'finished' || type === 'failed');
      assert.equal(ended.length, 1);
      const [end] = ended;
      const isWhole = end?.type === 'finished' && end.reason !== 'abort';
      const got = bench.tokens(id);
      assert.deepEqual(got, isWhole ? expected : expected.slice(0, got.length));
    }
  });
  fc.assert(random, { seed: 20261126, numRuns: 300 });
  assert.ok(hits > 100, `${hits} prefixes were restored`);
});
