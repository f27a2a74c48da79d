import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FairQueue } from '../../src/scheduler/fair-queue.ts';
import type { SchedulerOptions } from '../../src/scheduler/options.ts';
import type { EngineEvent, SequenceId } from '../../src/scheduler/protocol.ts';
import { Scheduler } from '../../src/scheduler/scheduler.ts';
import { createSequence, type Sequence } from '../../src/scheduler/sequence.ts';
import { SlotAllocator } from '../../src/scheduler/slot-allocator.ts';
import type { DecodeOutcome, StepPlan } from '../../src/scheduler/step-plan.ts';
import { request } from './fake-engine.ts';
import { contests, operations, SIM_OPTIONS } from './simulated-operations.ts';
import { Simulation } from './simulation.ts';
import { ZERO_SAMPLER } from './zero-sampler.ts';

const SEEDS = { seed: 20260801, numRuns: 200 };

test('F39, I01, I03, I06, I07, I08, I09, I13, I14, I15, I21: these invariants hold under random operations', () => {
  const random = fc.property(operations, (all) => {
    new Simulation((options) => new Scheduler(options)).run(all);
  });
  fc.assert(random, SEEDS);
});

test('I15: they hold, and everything ends, if only one or two adapters can run at once', () => {
  const random = fc.property(operations, fc.constantFrom(1, 2), (all, maxActiveAdapters) => {
    const limited = { ...SIM_OPTIONS, maxActiveAdapters };
    new Simulation((options) => new Scheduler(options), limited).run(all);
  });
  fc.assert(random, SEEDS);
});

test('I15: they hold, and everything ends, if adapters do not fit together', () => {
  const sizes: Record<string, number> = { x: 1, y: 2, z: 3 };
  const canAttach = (adapters: readonly string[]) =>
    adapters.reduce((sum, adapter) => sum + (sizes[adapter] ?? 1), 0) <= 3;
  const random = fc.property(operations, (all) => {
    const limited = { ...SIM_OPTIONS, canAttach };
    new Simulation((options) => new Scheduler(options), limited).run(all);
  });
  fc.assert(random, SEEDS);
});

/** One adapter at a time, and slots enough that it hardly ever has none by chance. */
const CONTEST_OPTIONS = { ...SIM_OPTIONS, slotCount: 9, maxActiveAdapters: 1 };

test('T16, I15: beside streams without end, for another adapter or for the base, every request starts', () => {
  const random = fc.property(contests, (all) => {
    new Simulation((options) => new Scheduler(options), CONTEST_OPTIONS).run(all);
  });
  fc.assert(random, { ...SEEDS, numRuns: 100 });
});

class ForgetsMoves extends Scheduler {
  override next(): StepPlan | undefined {
    const step = super.next();
    return step && Object.assign(step, { moves: [] });
  }
}

class SkipsAPromptToken extends Scheduler {
  override next(): StepPlan | undefined {
    const step = super.next();
    const prefill = step?.prefills[0];
    if (prefill && prefill.batch.tokenIds.length > 1) {
      const tokenIds = [...prefill.batch.tokenIds.slice(0, -1), 0];
      Object.assign(prefill, { batch: { ...prefill.batch, tokenIds } });
    }
    return step;
  }
}

class KeepsRejectedDrafts extends Scheduler {
  override applyResults(step: StepPlan, decode: DecodeOutcome | undefined): EngineEvent[] {
    if (!decode || !('result' in decode)) return super.applyResults(step, decode);
    const rows = decode.result.rows.map((results, i) => {
      const { draftIds = [] } = step.decode!.rows[i]!;
      return [...draftIds.map((id) => ({ ok: true as const, id })), results.at(-1)!];
    });
    return super.applyResults(step, { result: { ...decode.result, rows } });
  }
}

class MixesUpRowsThatRunAlone extends Scheduler {
  override applyResults(step: StepPlan, decode: DecodeOutcome | undefined): EngineEvent[] {
    if (!decode || !('alone' in decode)) return super.applyResults(step, decode);
    return super.applyResults(step, { alone: [...decode.alone].reverse() });
  }
}

/** A scheduler that tells other events of a step than it should. */
class Tells extends Scheduler {
  readonly #change: (events: EngineEvent[]) => EngineEvent[];

  constructor(change: (events: EngineEvent[]) => EngineEvent[]) {
    super(SIM_OPTIONS);
    this.#change = change;
  }

  override applyResults(step: StepPlan, decode: DecodeOutcome | undefined): EngineEvent[] {
    return this.#change(super.applyResults(step, decode));
  }
}

const repeatEnd = (events: EngineEvent[]) => [
  ...events,
  ...events.filter(({ type }) => type === 'finished'),
];
const loseEnds = (events: EngineEvent[]) => events.filter(({ type }) => type !== 'failed');
const loseLastToken = (events: EngineEvent[]) =>
  events.filter(({ type }, i) => type !== 'token' || events[i + 1]?.type !== 'finished');

/** A scheduler that takes every sequence for another one. */
class Mistakes extends Scheduler {
  readonly #change: Partial<Sequence>;

  constructor(change: Partial<Sequence>) {
    super(SIM_OPTIONS);
    this.#change = change;
  }

  override submit(sequence: Sequence): void {
    super.submit(Object.assign(sequence, this.#change));
  }
}

class AbortsLate extends Scheduler {
  #aborted: SequenceId[] = [];
  override abort(id: SequenceId): EngineEvent[] {
    this.#aborted.push(id);
    return [];
  }
  override applyResults(step: StepPlan, decode: DecodeOutcome | undefined): EngineEvent[] {
    const due = this.#aborted.splice(0);
    const events = super.applyResults(step, decode);
    return [...events, ...due.slice(1).flatMap((id) => super.abort(id))];
  }
}

const SEEDED_BUGS: readonly [invariant: string, bug: () => Scheduler][] = [
  ['I01', () => new SkipsAPromptToken(SIM_OPTIONS)],
  ['I01', () => new KeepsRejectedDrafts(SIM_OPTIONS)],
  ['I01', () => new MixesUpRowsThatRunAlone(SIM_OPTIONS)],
  ['I03', () => new ForgetsMoves(SIM_OPTIONS)],
  ['I07', () => new Tells(repeatEnd)],
  ['I08', () => new Tells(loseEnds)],
  ['I09', () => new Tells(loseLastToken)],
  ['I13', () => new Mistakes({ tenant: 'everybody' })],
  ['I13', () => new Mistakes({ weight: 1 })],
  ['I14', () => new Scheduler({ ...SIM_OPTIONS, slotCount: SIM_OPTIONS.slotCount - 1 })],
  ['I21', () => new AbortsLate(SIM_OPTIONS)],
];

for (const [invariant, createBuggy] of SEEDED_BUGS) {
  test(`invariant ${invariant} detects a scheduler with such a bug`, () => {
    const details = fc.check(
      fc.property(operations, (all) => new Simulation(createBuggy).run(all)),
      { ...SEEDS, endOnFailure: true },
    );
    assert.ok(details.failed, 'the bug went unseen');
    assert.match(String(details.errorInstance), new RegExp(`^Error: ${invariant}: `));
  });
}

class NewestFirst extends FairQueue {
  readonly #waiting = new Set<Sequence>();
  override push(sequence: Sequence): void {
    super.push(sequence);
    this.#waiting.add(sequence);
  }
  override remove(sequence: Sequence): void {
    super.remove(sequence);
    this.#waiting.delete(sequence);
  }
  override find(isAdmissible: (sequence: Sequence) => boolean): Sequence | undefined {
    return [...this.#waiting].reverse().find(isAdmissible);
  }
}

/** Finds nothing for a search that asks for an adapter only, by which the limit of adapters asks whether to go on draining. */
class ForgetsDrains extends FairQueue {
  override find(isAdmissible: (sequence: Sequence) => boolean): Sequence | undefined {
    const ofBase = { tenant: 'nobody', weight: 1, request: request([1]), sampler: ZERO_SAMPLER };
    const probe = createSequence({ ...ofBase, id: 0 as SequenceId, adapter: undefined });
    return isAdmissible(probe) ? super.find(isAdmissible) : undefined;
  }
}

for (const Queue of [NewestFirst, ForgetsDrains]) {
  test(`invariant I15 detects a queue that starves somebody: ${Queue.name}`, () => {
    const createBuggy = (options: SchedulerOptions) =>
      new Scheduler({ ...options, queue: new Queue() });
    const random = fc.property(contests, (all) =>
      new Simulation(createBuggy, CONTEST_OPTIONS).run(all),
    );
    const details = fc.check(random, { ...SEEDS, endOnFailure: true });
    assert.match(String(details.errorInstance), /^Error: I15: \d+ waits while others are served/);
  });
}

test('invariant I15 detects that short prompts go before a long one in every step', (t) => {
  const { takeAhead } = SlotAllocator.prototype;
  t.mock.method(
    SlotAllocator.prototype,
    'takeAhead',
    function (this: SlotAllocator, ...args: Parameters<typeof takeAhead>) {
      const ahead = takeAhead.apply(this, args);
      // The first call says that it is the turn of the long one, and the second one has forgotten that.
      return ahead.length > 0 ? ahead : takeAhead.apply(this, args);
    },
  );
  const random = fc.property(operations, (all) =>
    new Simulation((options) => new Scheduler(options)).run(all),
  );
  const details = fc.check(random, { ...SEEDS, endOnFailure: true });
  assert.match(String(details.errorInstance), /^Error: I15: the prompt of \d+ was passed over/);
});
