// Idle sequences only use what others leave: the others' steps are as if there were none, and every idle sequence ends with the
// tokens of its request, or is evicted.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { SchedulerOptions } from '../../src/scheduler/options.ts';
import type { EngineEvent, SequenceId } from '../../src/scheduler/protocol.ts';
import { Scheduler } from '../../src/scheduler/scheduler.ts';
import { createSequence, type Sequence } from '../../src/scheduler/sequence.ts';
import type { StepPlan } from '../../src/scheduler/step-plan.ts';
import { pluck } from '../pluck.ts';
import { FakeEngine, referenceTokens, request } from './fake-engine.ts';
import { ZERO_SAMPLER } from './zero-sampler.ts';

/** How long a step takes. */
const STEP_MS = 100;
const OPTIONS = { slotCount: 4, reservedSlots: 1, maxSeqLength: 64, prefillChunk: 8 };

interface Submission {
  readonly isIdle: boolean;
  readonly tenant: string;
  readonly adapter: string | undefined;
  readonly promptLength: number;
  readonly maxTokens: number;
}

/** A scheduler and an engine whose tokens depend on the content of their slots. */
class Harness {
  readonly scheduler: Scheduler;
  readonly sequences = new Map<SequenceId, Sequence>();
  readonly events = new Map<SequenceId, EngineEvent[]>();
  readonly #engine = new FakeEngine(OPTIONS);
  readonly #limits: Partial<SchedulerOptions>;
  #nowMs = 0;

  constructor(limits: Partial<SchedulerOptions> = {}) {
    this.#limits = limits;
    this.scheduler = new Scheduler({ ...OPTIONS, ...limits, now: () => this.#nowMs });
  }

  /** The ids are the same in schedulers that get the same submissions, or only some of them. */
  submit(id: number, { isIdle, tenant, adapter, promptLength, maxTokens }: Submission): Sequence {
    const promptIds = Array.from({ length: promptLength }, (_, i) => id * 100 + i);
    const sequence = createSequence({
      id: id as SequenceId,
      tenant,
      weight: 1,
      ...(isIdle && { isIdle: true as const }),
      adapter,
      request: request(promptIds, { maxTokens }),
      sampler: ZERO_SAMPLER,
    });
    this.sequences.set(sequence.id, sequence);
    this.events.set(sequence.id, []);
    this.scheduler.submit(sequence);
    this.scheduler.loaded(sequence.id);
    return sequence;
  }

  /** Runs one step. Returns its plan and the events of the sequences that are not idle. */
  step(): { plan: StepPlan | undefined; others: EngineEvent[] } {
    const plan = this.scheduler.next();
    if (!plan) return { plan, others: [] };
    this.#checkSlots();
    const events: EngineEvent[] = [...plan.evicted];
    for (const { from, to, length } of plan.moves) this.#engine.moveSlot(from, to, length);
    for (const key of plan.detach) this.#engine.detachAdapter(key);
    for (const prefill of plan.prefills) {
      if (prefill.attach !== undefined) this.#engine.attachAdapter({ digest: prefill.attach });
      const result = this.#engine.runNow(prefill.batch);
      events.push(...this.scheduler.applyPrefill(plan, { result }));
    }
    this.#checkAdapters();
    const decode = plan.decode && { result: this.#engine.runNow(plan.decode) };
    this.#nowMs += STEP_MS;
    events.push(...this.scheduler.applyResults(plan, decode));
    for (const event of events) this.events.get(event.id)!.push(event);
    return { plan, others: events.filter(({ id }) => !this.sequences.get(id)!.isIdle) };
  }

  /** The idle ones and the others among the sequences of a step. */
  takesPart(plan: StepPlan | undefined): { idle: number; others: number } {
    const ids = [...(plan?.prefills.map(({ id }) => id) ?? []), ...(plan?.decodeIds ?? [])];
    const idle = ids.filter((id) => this.sequences.get(id)!.isIdle).length;
    return { idle, others: ids.length - idle };
  }

  tokensOf(id: SequenceId): number[] {
    return this.events.get(id)!.flatMap((event) => (event.type === 'token' ? event.tokenId : []));
  }

  lastOf(id: SequenceId): EngineEvent | undefined {
    return this.events.get(id)!.at(-1);
  }

  #checkSlots(): void {
    const slots = [...this.sequences.values()].flatMap(({ slot }) => slot ?? []);
    assert.equal(new Set(slots).size, slots.length, 'a slot has two owners');
    assert.ok(slots.every((slot) => slot < OPTIONS.slotCount));
  }

  #checkAdapters(): void {
    const attached = [...this.#engine.attached];
    const { maxActiveAdapters = OPTIONS.slotCount, canAttach = () => true } = this.#limits;
    assert.ok(attached.length <= maxActiveAdapters, 'too many adapters');
    assert.ok(attached.length <= 1 || canAttach(attached), 'adapters do not fit together');
  }
}

const submission = fc.record({
  isIdle: fc.boolean(),
  tenant: fc.constantFrom('a', 'b'),
  adapter: fc.constantFrom(undefined, 'x', 'y', 'z'),
  promptLength: fc.integer({ min: 1, max: 20 }),
  maxTokens: fc.integer({ min: 1, max: 12 }),
});

/** Each is submitted after so many steps. */
const arrivals = fc.array(fc.record({ of: submission, steps: fc.integer({ min: 0, max: 6 }) }), {
  maxLength: 30,
});

const LIMITS: Partial<SchedulerOptions>[] = [
  {},
  { maxActiveAdapters: 1 },
  { maxActiveAdapters: 2 },
  { canAttach: (adapters) => !(adapters.includes('x') && adapters.length > 1) },
];

describe('idle sequences, under random arrivals', () => {
  test('end with the tokens of their requests, or are evicted; others always end with theirs', () => {
    const property = fc.property(arrivals, fc.constantFrom(...LIMITS), (all, limits) => {
      const harness = new Harness(limits);
      for (const [i, { of, steps }] of all.entries()) {
        harness.submit(i + 1, of);
        for (let step = 0; step < steps; step++) harness.step();
      }
      for (let step = 0; step < 2000 && harness.scheduler.ids('live').length > 0; step++) {
        harness.step();
      }
      assert.deepEqual(harness.scheduler.ids('live'), [], 'a sequence never ended');
      for (const [id, { request, adapter, isIdle }] of harness.sequences) {
        const last = harness.lastOf(id);
        if (isIdle && last?.type === 'failed') {
          assert.equal(last.error.code, 'overloaded');
          continue;
        }
        assert.equal(last?.type, 'finished');
        assert.deepEqual(harness.tokensOf(id), referenceTokens(request, adapter));
      }
    });
    fc.assert(property, { seed: 20261129, numRuns: 400 });
  });

  test('I25: change no step of the others', () => {
    const property = fc.property(arrivals, (all) => {
      const both = new Harness();
      const alone = new Harness();
      const compare = () => assert.deepEqual(both.step().others, alone.step().others);
      for (const [i, { of, steps }] of all.entries()) {
        both.submit(i + 1, of);
        if (!of.isIdle) alone.submit(i + 1, of);
        for (let step = 0; step < steps; step++) compare();
      }
      for (let step = 0; step < 400; step++) compare();
    });
    fc.assert(property, { seed: 20261130, numRuns: 300 });
  });

  test('run next to others in few steps, and never while one waits for its first token', () => {
    const property = fc.property(arrivals, (all) => {
      const harness = new Harness();
      for (const [i, { of, steps }] of all.entries()) {
        harness.submit(i + 1, of);
        for (let step = 0; step < steps; step++) {
          const waits = [...harness.sequences.values()].some(
            ({ isIdle, state }) => !isIdle && (state === 'waiting' || state === 'prefilling'),
          );
          const { idle } = harness.takesPart(harness.step().plan);
          assert.ok(!waits || idle === 0);
        }
      }
    });
    fc.assert(property, { seed: 20261201, numRuns: 200 });
  });
});

const idle = (changes: Partial<Submission> = {}): Submission => ({
  isIdle: true,
  tenant: 'a',
  adapter: undefined,
  promptLength: 3,
  maxTokens: 50,
  ...changes,
});
const other = (changes: Partial<Submission> = {}) => idle({ isIdle: false, ...changes });

describe('an idle sequence', () => {
  test('uses every slot while nobody else wants one, even reserved ones', () => {
    const harness = new Harness();
    for (let id = 1; id <= 6; id++) harness.submit(id, idle());
    harness.step();
    harness.step();
    assert.deepEqual(harness.takesPart(harness.step().plan), { idle: 4, others: 0 });
  });

  test('pauses within a step if another one arrives, and continues after it without losing a token', () => {
    const harness = new Harness();
    const paused = harness.submit(1, idle({ maxTokens: 20 }));
    for (let i = 0; i < 5; i++) harness.step();
    harness.submit(2, other({ maxTokens: 4 }));
    for (let i = 0; i < 4; i++)
      assert.deepEqual(harness.takesPart(harness.step().plan), { idle: 0, others: 1 });
    assert.deepEqual(harness.takesPart(harness.step().plan), { idle: 1, others: 0 });
    for (let i = 0; i < 20; i++) harness.step();
    assert.deepEqual(harness.tokensOf(paused.id), referenceTokens(paused.request, undefined));
  });

  test('is evicted if all slots are taken: the one that has done the least', () => {
    const harness = new Harness();
    for (let id = 1; id <= 4; id++) {
      harness.submit(id, idle());
      harness.step();
    }
    harness.submit(5, other());
    const { plan } = harness.step();
    assert.deepEqual(pluck(plan!.evicted, 'id'), [4]);
    assert.deepEqual(harness.takesPart(plan), { idle: 0, others: 1 });
  });

  test('takes 3% of the time next to a stream without end', () => {
    const harness = new Harness({ maxSeqLength: 3000 });
    harness.submit(1, idle({ maxTokens: 2000 }));
    for (let i = 0; i < 3; i++) harness.step();
    harness.submit(2, other({ maxTokens: 2000 }));
    const together = Array.from({ length: 1000 }, () => harness.takesPart(harness.step().plan));
    assert.ok(together.every(({ others }) => others === 1));
    const count = together.filter(({ idle }) => idle > 0).length;
    assert.ok(count >= 27 && count <= 30, `${count} of 1000 steps`);
  });
});
