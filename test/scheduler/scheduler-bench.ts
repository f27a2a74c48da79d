// A scheduler and a fake engine for tests. A step takes as long as the test says, on a virtual clock.
import type { GenerationRequest } from '../../src/contracts/generation.ts';
import type { Sampler } from '../../src/engine/sampling/sampler.ts';
import type { SchedulerOptions } from '../../src/scheduler/options.ts';
import type { EngineEvent, SequenceId } from '../../src/scheduler/protocol.ts';
import { Scheduler } from '../../src/scheduler/scheduler.ts';
import { createSequence } from '../../src/scheduler/sequence.ts';
import type { StepPlan } from '../../src/scheduler/step-plan.ts';
import { FakeEngine } from './fake-engine.ts';
import { ZERO_SAMPLER } from './zero-sampler.ts';

/** A scheduler and a fake engine on a virtual clock, and the events of both. */
export class Bench {
  readonly scheduler: Scheduler;
  readonly engine: FakeEngine;
  readonly events: EngineEvent[] = [];
  /** How long a step takes on the virtual clock. */
  stepMs = 100;
  nowMs = 0;
  #lastId = 0;

  constructor(options: Partial<SchedulerOptions> = {}) {
    const limits = { slotCount: 4, maxSeqLength: 64, now: () => this.nowMs, ...options };
    this.scheduler = new Scheduler(limits);
    this.engine = new FakeEngine(limits);
  }

  submit(
    request: GenerationRequest,
    {
      tenant = 't',
      weight = 1,
      adapter = undefined as string | undefined,
      sampler = ZERO_SAMPLER,
    } = {},
  ) {
    const id = ++this.#lastId as SequenceId;
    this.scheduler.submit(createSequence({ id, tenant, weight, adapter, request, sampler }));
    return id;
  }

  submitReady(
    request: GenerationRequest,
    of: { tenant?: string; weight?: number; adapter?: string; sampler?: Sampler } = {},
  ) {
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
    for (const { attach, batch } of step.prefills) {
      if (attach !== undefined) this.engine.attachAdapter({ digest: attach });
      const result = this.engine.runNow(batch);
      this.events.push(...this.scheduler.applyPrefill(step, { result }));
    }
    const decode = step.decode && { result: this.engine.runNow(step.decode) };
    this.nowMs += this.stepMs;
    this.events.push(...this.scheduler.applyResults(step, decode));
  }

  runAll(): StepPlan[] {
    const steps: StepPlan[] = [];
    for (let step = this.step(); step; step = this.step()) steps.push(step);
    return steps;
  }

  /** Runs until the sequence has its first token, or has ended without one. Returns the steps that this took. */
  stepsToFirst(id: SequenceId, { most = 1000, before = () => {} } = {}): number {
    for (let steps = 0; steps < most; steps++) {
      if (this.tokens(id).length > 0 || this.ending(id) !== undefined) return steps;
      before();
      this.step();
    }
    throw new Error(`no token within ${most} steps`);
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
