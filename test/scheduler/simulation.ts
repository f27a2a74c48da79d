// Runs a scheduler over random operations, and checks after each of them the invariants that must always hold. A
// violated one throws an error that starts with its name (I01 … I21 in the reference).
import { ServeError } from '../../src/common/errors.ts';
import { type GenerationRequest, GREEDY } from '../../src/contracts/generation.ts';
import type { BatchResult } from '../../src/engine/batch.ts';
import type { SchedulerOptions } from '../../src/scheduler/options.ts';
import type { EngineEvent, SequenceId } from '../../src/scheduler/protocol.ts';
import type { Scheduler } from '../../src/scheduler/scheduler.ts';
import { createSequence, isTerminal } from '../../src/scheduler/sequence.ts';
import type { DecodeOutcome, StepPlan } from '../../src/scheduler/step-plan.ts';
import { check, checkStream, type Tracked } from './checked-stream.ts';
import { FakeEngine } from './fake-engine.ts';
import {
  drafterOf,
  MAX_PROMPT,
  MAX_TOKENS,
  type Operation,
  SIM_OPTIONS,
  type SimulationOptions,
  type Submission,
  shortBaseRequest,
  WEIGHTS,
} from './simulated-operations.ts';
import { ZERO_SAMPLER } from './zero-sampler.ts';

/**
 * The largest difference between the service over weight of two backlogged tenants: I13, with w_p = 1, w_q = 2, weights
 * ≥ 1.
 */
const maxUnfairness = (slotCount: number) => 2 * Math.max(MAX_PROMPT, 2 * slotCount * MAX_TOKENS);

/** How long a step takes. */
const STEP_MS = 100;

/**
 * The most steps between the submit of a sequence and its first token while others are submitted without end: tenants that were
 * served less by then come first.
 */
const MAX_WAIT_STEPS = 600;
/** A stream adds no more requests than that to the queue. */
const MAX_STREAM_WAITING = 6;
const STEPS_BEFORE_RIVAL = 20;

const sampler = ZERO_SAMPLER;

const FAILED = { error: new ServeError('internal_error', 'The run failed.') };

export class Simulation {
  readonly #scheduler: Scheduler;
  readonly #tracked = new Map<SequenceId, Tracked>();
  readonly #served = new Map<string, number>();
  /** Pair of backlogged tenants → the difference in their service when both became backlogged. */
  readonly #unfairness = new Map<string, number>();
  #inFlight:
    | { step: StepPlan; prefills: BatchResult[]; decode: BatchResult | undefined }
    | undefined;
  #lastId = 0;
  #steps = 0;
  #nowMs = 0;

  readonly #options: SimulationOptions;
  readonly #engine: FakeEngine;

  /** `createScheduler` gets the same options, with a clock on which every step takes 100 ms. */
  constructor(
    createScheduler: (options: SchedulerOptions) => Scheduler,
    options: SimulationOptions = SIM_OPTIONS,
  ) {
    this.#options = options;
    this.#engine = new FakeEngine(options);
    this.#scheduler = createScheduler({ ...options, now: () => this.#nowMs });
  }

  run(all: readonly Operation[]): void {
    for (const one of all) this.#apply(one);
    for (const id of this.#live()) this.#scheduler.loaded(id);
    for (let i = 0; i < 4000 && (this.#inFlight || this.#live().length > 0); i++) this.#tick();
    check(this.#live().length === 0, 'I08', 'a sequence never ended');
  }

  #apply(operation: Operation): void {
    switch (operation.type) {
      case 'submit':
        this.#submit(operation.of);
        break;
      case 'flood':
        for (let i = 0; i < 12; i++) this.#submit(shortBaseRequest(operation.tenant));
        break;
      case 'ready':
        this.#withLive(operation.pick, ({ sequence }) => this.#scheduler.loaded(sequence.id));
        break;
      case 'abort':
        this.#withLive(operation.pick, (tracked) => this.#abort(tracked));
        break;
      case 'tick':
        for (let i = 0; i < operation.count; i++) this.#tick();
        break;
      case 'stream':
        this.#stream(operation);
        break;
      case 'crash':
        if (this.#inFlight) this.#applyResults(() => FAILED);
        break;
      case 'overdue':
        if (this.#inFlight) this.#applyResults((decode) => aloneBut(operation.culprit, decode));
        break;
    }
  }

  /** I15: every request starts, however many others follow it. */
  #stream({ streams, rival }: Extract<Operation, { type: 'stream' }>): void {
    const flow = () => {
      for (const stream of streams) {
        if (this.#scheduler.ids('waiting').length < MAX_STREAM_WAITING) this.#submitLoaded(stream);
      }
      this.#tick();
      this.#tick();
    };
    for (const id of this.#live()) this.#scheduler.loaded(id);
    for (let i = 0; i < STEPS_BEFORE_RIVAL; i++) flow();
    this.#submitLoaded(rival);
    const isEarly = ({ sequence: { state } }: Tracked) =>
      state === 'waiting' || state === 'prefilling';
    const early = [...this.#tracked.values()].filter(isEarly);
    for (let steps = 0; early.some(isEarly); steps++) {
      const late = early.find(isEarly)!.sequence;
      check(steps < MAX_WAIT_STEPS, 'I15', `${late.id} waits while others are served`);
      flow();
    }
  }

  #submitLoaded(of: Submission): void {
    this.#submit(of);
    this.#scheduler.loaded(this.#lastId as SequenceId);
  }

  #submit({ tenant, adapter, promptLength, maxTokens, stops, scores }: Submission): void {
    const weight = WEIGHTS[tenant];
    const id = ++this.#lastId as SequenceId;
    const promptIds = Array.from({ length: promptLength }, (_, i) => id * 1000 + i);
    const request: GenerationRequest = {
      promptIds,
      maxTokens,
      stopTokenIds: stops ? [1, 2, 3, 4, 5] : [],
      sampling: GREEDY,
      ...(scores && { promptTopLogprobs: 0 }),
    };
    const drafter = drafterOf(request, adapter);
    const sequence = createSequence({ id, tenant, weight, adapter, request, sampler, drafter });
    this.#scheduler.submit(sequence);
    this.#tracked.set(id, { sequence, tenant, events: [], abortedAt: 'no', idleSteps: 0 });
  }

  #abort(tracked: Tracked): void {
    const { id } = tracked.sequence;
    if (tracked.abortedAt === 'no') tracked.abortedAt = this.#inFlight ? 'asked' : 'due';
    this.#record(this.#scheduler.abort(id));
  }

  /** Begins or ends a step, so that operations can come between the two. */
  #tick(): void {
    if (this.#inFlight) this.#applyResults();
    else this.#begin();
  }

  #begin(): void {
    const step = this.#scheduler.next();
    for (const { sequence, events, abortedAt } of this.#tracked.values()) {
      if (abortedAt === 'no') continue;
      const isGone = sequence.slot === undefined && isTerminal(events.at(-1));
      check(isGone, 'I21', `${sequence.id} was aborted, and takes part in the next step`);
    }
    this.#checkSlots(step);
    this.#checkIdleSlots(step);
    this.#checkProgress(step);
    if (!step) return;
    this.#nowMs += STEP_MS;
    for (const { from, to, length } of step.moves) this.#engine.moveSlot(from, to, length);
    for (const key of step.detach) this.#engine.detachAdapter(key);
    const prefills = step.prefills.map(({ attach, batch }) => {
      if (attach !== undefined) this.#engine.attachAdapter({ digest: attach });
      return this.#engine.runNow(batch);
    });
    this.#checkAttached();
    const decode = step.decode && this.#engine.runNow(step.decode);
    this.#checkOwners(step);
    this.#recordService(step, decode);
    // Operations come after the results of some prefills and before those of the others.
    const early = prefills.splice(0, ++this.#steps % (prefills.length + 1));
    for (const result of early) this.#record(this.#scheduler.applyPrefill(step, { result }));
    this.#inFlight = { step, prefills, decode };
  }

  #applyResults(toOutcome = (result: BatchResult): DecodeOutcome => ({ result })): void {
    const { step, prefills, decode } = this.#inFlight!;
    this.#inFlight = undefined;
    for (const result of prefills) this.#record(this.#scheduler.applyPrefill(step, { result }));
    this.#record(this.#scheduler.applyResults(step, decode && toOutcome(decode)));
    for (const tracked of this.#tracked.values()) {
      if (tracked.abortedAt === 'asked') tracked.abortedAt = 'due';
    }
    this.#checkFairness();
  }

  #record(events: readonly EngineEvent[]): void {
    for (const event of events) {
      const tracked = this.#tracked.get(event.id);
      check(tracked, 'I07', 'an event of nobody');
      check(!isTerminal(tracked.events.at(-1)), 'I07', `${event.type} after the end`);
      tracked.events.push(event);
      checkStream(tracked);
    }
  }

  /** I03: slots have distinct owners, the decode batch owns the first ones, and the prefills own those after them. */
  #checkSlots(step: StepPlan | undefined): void {
    const owners = [...this.#tracked.values()].filter(
      ({ sequence }) => sequence.slot !== undefined,
    );
    const slots = owners.map(({ sequence }) => sequence.slot!);
    check(new Set(slots).size === slots.length, 'I03', 'a slot has two owners');
    check(
      slots.every((slot) => slot < this.#options.slotCount),
      'I03',
      'a slot does not exist',
    );
    const rows = step?.decode?.rows.length ?? 0;
    const running = owners.filter(({ sequence }) => sequence.state === 'running');
    check(running.length === rows, 'I03', 'the rows are not the running sequences');
    check(
      running.every(({ sequence }) => sequence.slot! < rows),
      'I03',
      'the rows are no prefix',
    );
    const prefills = step?.prefills ?? [];
    const isBehind = prefills.every(({ batch }) => batch.slot >= rows);
    check(isBehind, 'I03', 'a prefill is among the rows');
    const tokens = prefills.reduce((sum, { batch }) => sum + batch.tokenIds.length, 0);
    check(tokens <= this.#options.prefillChunk, 'I14', 'a step prefills more than its budget');
  }

  #checkAttached(): void {
    const attached = [...this.#engine.attached];
    const { slotCount, maxActiveAdapters = slotCount, canAttach = () => true } = this.#options;
    check(attached.length <= maxActiveAdapters, 'I06', 'more adapters are attached than may run');
    const fits = attached.length <= 1 || canAttach(attached);
    check(fits, 'I06', 'adapters are attached that have no room together');
  }

  /** The bounds do not hold for sequences that wait for their adapter to be attached. */
  #hasLimits(): boolean {
    const { maxActiveAdapters, canAttach } = this.#options;
    return maxActiveAdapters !== undefined || canAttach !== undefined;
  }

  /** I03: a slot contains the tokens of its owner. Each prompt starts with a distinct number. */
  #checkOwners(step: StepPlan): void {
    for (const { sequence } of this.#tracked.values()) {
      if (sequence.slot === undefined) continue;
      if (sequence.state === 'prefilling' && !prefillOf(step, sequence.slot)) continue;
      const [first] = this.#engine.slots[sequence.slot]!;
      check(first === sequence.request.promptIds[0], 'I03', 'a slot holds another sequence');
    }
  }

  /** I14: the scheduler is work conserving, within the token budget of the step. */
  #checkIdleSlots(step: StepPlan | undefined): void {
    if (this.#hasLimits()) return;
    const all = [...this.#tracked.values()];
    const waiting = all.filter(({ sequence }) => sequence.state === 'waiting');
    const owners = all.filter(({ sequence }) => sequence.slot !== undefined);
    const chunks = waiting.map(({ sequence }) => sequence.request.promptIds.length);
    const prefills = step?.prefills ?? [];
    const isFull = owners.length >= this.#options.slotCount - this.#options.reservedSlots;
    // A prompt that stays unfinished may leave one token of the budget, so that its last chunk is not a single token.
    const isUnfinished = all.some(({ sequence }) => sequence.state === 'prefilling');
    const tokens = prefills.reduce(
      (sum, { batch }) => sum + batch.tokenIds.length,
      isUnfinished ? 1 : 0,
    );
    const fit = chunks.every(
      (length) =>
        tokens + Math.min(length, this.#options.prefillChunk) <= this.#options.prefillChunk,
    );
    check(
      waiting.length === 0 || isFull || !fit,
      'I14',
      'a slot is idle while somebody waits for it',
    );
  }

  /** I15: an unfinished prompt runs in every other step, whatever goes before it. */
  #checkProgress(step: StepPlan | undefined): void {
    for (const tracked of this.#tracked.values()) {
      const { id, slot, state } = tracked.sequence;
      const runs = state !== 'prefilling' || (step && prefillOf(step, slot!));
      tracked.idleSteps = runs ? 0 : tracked.idleSteps + 1;
      check(tracked.idleSteps <= 1, 'I15', `the prompt of ${id} was passed over twice`);
    }
  }

  #recordService(step: StepPlan, decode: BatchResult | undefined): void {
    for (const { sequence, tenant } of this.#tracked.values()) {
      const { slot, state } = sequence;
      if (slot === undefined) continue;
      const prompt = prefillOf(step, slot)?.batch.tokenIds.length ?? 0;
      const drawn = state === 'running' ? (decode?.rows[slot] ?? []) : [];
      const generated = drawn.filter(({ ok }) => ok).length;
      const service = (prompt + 2 * generated) / WEIGHTS[tenant];
      this.#served.set(tenant, (this.#served.get(tenant) ?? 0) + service);
    }
  }

  /** I13, over every interval in which two tenants have an admissible sequence waiting. */
  #checkFairness(): void {
    if (this.#hasLimits()) return;
    const backlogged = new Set<string>();
    for (const { sequence, tenant } of this.#tracked.values()) {
      if (sequence.state === 'waiting') backlogged.add(tenant);
    }
    for (const [one, other] of [
      ['a', 'b'],
      ['a', 'c'],
      ['b', 'c'],
    ] as const) {
      const pair = one + other;
      if (!backlogged.has(one) || !backlogged.has(other)) {
        this.#unfairness.delete(pair);
        continue;
      }
      const difference = (this.#served.get(one) ?? 0) - (this.#served.get(other) ?? 0);
      const start = this.#unfairness.get(pair) ?? difference;
      this.#unfairness.set(pair, start);
      const unfair = Math.abs(difference - start);
      check(
        unfair <= maxUnfairness(this.#options.slotCount),
        'I13',
        `${one} and ${other} lie ${unfair} apart`,
      );
    }
  }

  #live(of?: string): SequenceId[] {
    return [...this.#tracked.values()]
      .filter(({ tenant, events }) => !isTerminal(events.at(-1)) && (of ?? tenant) === tenant)
      .map(({ sequence }) => sequence.id);
  }

  #withLive(pick: number, act: (tracked: Tracked) => void): void {
    const live = this.#live();
    const tracked = this.#tracked.get(live[pick % live.length]!);
    if (tracked) act(tracked);
  }
}

/** The outcome of rows that ran alone, of which one failed. */
function aloneBut(culprit: number, { rows, promptLogprobs }: BatchResult): DecodeOutcome {
  const isCulprit = (row: number) => row === culprit % rows.length;
  return {
    alone: rows.map((row, i) => {
      return isCulprit(i) ? FAILED : { result: { rows: [row], promptLogprobs } };
    }),
  };
}

function prefillOf(step: StepPlan, slot: number) {
  return step.prefills.find(({ batch }) => batch.slot === slot);
}
