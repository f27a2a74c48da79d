import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { EngineEvent, SequenceId } from '../../src/scheduler/protocol.ts';
import { Scheduler } from '../../src/scheduler/scheduler.ts';
import type { Sequence } from '../../src/scheduler/sequence.ts';
import type { DecodeOutcome, StepPlan } from '../../src/scheduler/step-plan.ts';
import { operations, SIM_OPTIONS, Simulation } from './simulation.ts';

const SEEDS = { seed: 20260801, numRuns: 500 };

function simulate(createScheduler: () => Scheduler): void {
  fc.assert(
    fc.property(operations, (all) => new Simulation(createScheduler()).run(all)),
    SEEDS,
  );
}

test('F39, I01, I03, I06, I07, I08, I09, I13, I14, I21: these invariants hold under random operations', () => {
  simulate(() => new Scheduler(SIM_OPTIONS));
});

test('they hold, and everything ends, if only one or two adapters can run at once', () => {
  const random = fc.property(operations, fc.constantFrom(1, 2), (all, maxActiveAdapters) => {
    const scheduler = new Scheduler({ ...SIM_OPTIONS, maxActiveAdapters });
    new Simulation(scheduler, { maxActiveAdapters }).run(all);
  });
  fc.assert(random, SEEDS);
});

test('they hold, and everything ends, if adapters do not fit together', () => {
  const sizes: Record<string, number> = { x: 1, y: 2, z: 3 };
  const canAttach = (adapters: readonly string[]) =>
    adapters.reduce((sum, adapter) => sum + (sizes[adapter] ?? 1), 0) <= 3;
  const random = fc.property(operations, (all) => {
    new Simulation(new Scheduler({ ...SIM_OPTIONS, canAttach }), { canAttach }).run(all);
  });
  fc.assert(random, SEEDS);
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

class RepeatsTheEnd extends Scheduler {
  override applyResults(step: StepPlan, decode: DecodeOutcome | undefined): EngineEvent[] {
    const events = super.applyResults(step, decode);
    return [...events, ...events.filter(({ type }) => type === 'finished')];
  }
}

class LosesEnds extends Scheduler {
  override applyResults(step: StepPlan, decode: DecodeOutcome | undefined): EngineEvent[] {
    return super.applyResults(step, decode).filter(({ type }) => type !== 'failed');
  }
}

class LosesTheLastToken extends Scheduler {
  override applyResults(step: StepPlan, decode: DecodeOutcome | undefined): EngineEvent[] {
    const events = super.applyResults(step, decode);
    const isLast = (event: EngineEvent, i: number) =>
      event.type === 'token' && events[i + 1]?.type === 'finished';
    return events.filter((event, i) => !isLast(event, i));
  }
}

class KnowsOneTenant extends Scheduler {
  override submit(sequence: Sequence): void {
    super.submit(Object.assign(sequence, { tenant: 'everybody' }));
  }
}

class KeepsASlotFree extends Scheduler {
  constructor() {
    super({
      ...SIM_OPTIONS,
      slotCount: SIM_OPTIONS.slotCount - 1,
    });
  }
}

class IgnoresWeights extends Scheduler {
  override submit(sequence: Sequence): void {
    super.submit(Object.assign(sequence, { weight: 1 }));
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
  ['I07', () => new RepeatsTheEnd(SIM_OPTIONS)],
  ['I08', () => new LosesEnds(SIM_OPTIONS)],
  ['I09', () => new LosesTheLastToken(SIM_OPTIONS)],
  ['I13', () => new KnowsOneTenant(SIM_OPTIONS)],
  ['I13', () => new IgnoresWeights(SIM_OPTIONS)],
  ['I14', () => new KeepsASlotFree()],
  ['I21', () => new AbortsLate(SIM_OPTIONS)],
];

for (const [invariant, createBuggy] of SEEDED_BUGS) {
  test(`invariant ${invariant} detects a scheduler with such a bug`, () => {
    const details = fc.check(
      fc.property(operations, (all) => new Simulation(createBuggy()).run(all)),
      { ...SEEDS, endOnFailure: true },
    );
    assert.ok(details.failed, 'the bug went unseen');
    assert.match(String(details.errorInstance), new RegExp(`^Error: ${invariant}: `));
  });
}
