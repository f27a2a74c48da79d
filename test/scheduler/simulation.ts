// Runs a scheduler over random operations, and checks after each of them the invariants that must always hold. A
// violated one throws an error that starts with its name (I01 … I21 in the reference).
import fc from 'fast-check';
import { ServeError } from '../../src/common/errors.ts';
import { type GenerationRequest, GREEDY } from '../../src/contracts/generation.ts';
import type { BatchResult } from '../../src/engine/batch.ts';
import { Drafter } from '../../src/scheduler/drafter.ts';
import type { EngineEvent, SequenceId } from '../../src/scheduler/protocol.ts';
import type { Scheduler, SchedulerOptions } from '../../src/scheduler/scheduler.ts';
import { createSequence, isTerminal, type Sequence } from '../../src/scheduler/sequence.ts';
import type { DecodeOutcome, StepPlan } from '../../src/scheduler/step-plan.ts';
import { FakeEngine, POISON, referencePromptLogprobs, referenceTokens } from './fake-engine.ts';
import { ScriptedProposer, spoil } from './proposers.ts';
import { ZERO_SAMPLER } from './zero-sampler.ts';

const MAX_PROMPT = 12;
const MAX_TOKENS = 8;

type AdapterLimits = Pick<SchedulerOptions, 'maxActiveAdapters' | 'canAttach'>;

export const SIM_OPTIONS: Required<
  Omit<SchedulerOptions, keyof AdapterLimits | 'countCachedTokens' | 'now' | 'queue'>
> = {
  slotCount: 4,
  guestSlots: 1,
  maxSeqLength: MAX_PROMPT + MAX_TOKENS,
  prefillChunk: 5,
};

const WEIGHTS = { a: 1, b: 8, c: 2 };

/**
 * The largest difference between the service over weight of two backlogged tenants: I13, with w_p = 1, w_q = 2, weights
 * ≥ 1.
 */
const MAX_UNFAIRNESS = 2 * Math.max(MAX_PROMPT, 2 * SIM_OPTIONS.slotCount * MAX_TOKENS);

const submission = fc.record({
  tenant: fc.constantFrom('a', 'b', 'c'),
  adapter: fc.constantFrom(undefined, undefined, 'x', 'y', 'z', POISON),
  promptLength: fc.integer({ min: 1, max: MAX_PROMPT }),
  maxTokens: fc.integer({ min: 0, max: MAX_TOKENS }),
  stops: fc.boolean(),
  scores: fc.boolean(),
});

type Submission = typeof submission extends fc.Arbitrary<infer T> ? T : never;

const operation = fc.oneof(
  { weight: 4, arbitrary: submission.map((of) => ({ type: 'submit' as const, of })) },
  {
    weight: 1,
    arbitrary: fc.constantFrom('a', 'b').map((tenant) => ({ type: 'flood' as const, tenant })),
  },
  { weight: 4, arbitrary: fc.nat().map((pick) => ({ type: 'ready' as const, pick })) },
  { weight: 2, arbitrary: fc.nat().map((pick) => ({ type: 'abort' as const, pick })) },
  {
    weight: 12,
    arbitrary: fc.integer({ min: 1, max: 12 }).map((count) => ({ type: 'tick' as const, count })),
  },
  { weight: 1, arbitrary: fc.constant({ type: 'crash' as const }) },
  { weight: 1, arbitrary: fc.nat().map((culprit) => ({ type: 'overdue' as const, culprit })) },
);

export const operations = fc.array(operation, { minLength: 5, maxLength: 60 });

type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

const sampler = ZERO_SAMPLER;

const FAILED = { error: new ServeError('internal_error', 'The run failed.') };

interface Tracked {
  readonly sequence: Sequence;
  readonly tenant: Submission['tenant'];
  readonly events: EngineEvent[];
  abortedAt: 'no' | 'asked' | 'due';
}

export class Simulation {
  readonly #scheduler: Scheduler;
  readonly #engine = new FakeEngine(SIM_OPTIONS);
  readonly #tracked = new Map<SequenceId, Tracked>();
  readonly #served = new Map<string, number>();
  /** Pair of backlogged tenants → the difference in their service when both became backlogged. */
  readonly #unfairness = new Map<string, number>();
  #inFlight:
    | { step: StepPlan; prefills: BatchResult[]; decode: BatchResult | undefined }
    | undefined;
  #lastId = 0;
  #steps = 0;

  /** Whether fewer adapters than slots can run. Then a slot or a tenant may have to wait for the end of another one. */
  readonly #limits: AdapterLimits;

  /** `limits` are those of the scheduler, if it has any. */
  constructor(scheduler: Scheduler, limits: AdapterLimits = {}) {
    this.#scheduler = scheduler;
    this.#limits = limits;
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
      case 'crash':
        if (this.#inFlight) this.#applyResults(() => FAILED);
        break;
      case 'overdue':
        if (this.#inFlight) this.#applyResults((decode) => aloneBut(operation.culprit, decode));
        break;
    }
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
    this.#tracked.set(id, { sequence, tenant, events: [], abortedAt: 'no' });
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
    if (!step) return;
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
      slots.every((slot) => slot < SIM_OPTIONS.slotCount),
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
    check(tokens <= SIM_OPTIONS.prefillChunk, 'I14', 'a step prefills more than its budget');
  }

  #checkAttached(): void {
    const attached = [...this.#engine.attached];
    const { maxActiveAdapters = SIM_OPTIONS.slotCount, canAttach = () => true } = this.#limits;
    check(attached.length <= maxActiveAdapters, 'I06', 'more adapters are attached than may run');
    const fits = attached.length <= 1 || canAttach(attached);
    check(fits, 'I06', 'adapters are attached that have no room together');
  }

  /** The bounds do not hold for sequences that wait for their adapter to be attached. */
  #hasLimits(): boolean {
    return Object.keys(this.#limits).length > 0;
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
    const isFull = owners.length >= SIM_OPTIONS.slotCount - SIM_OPTIONS.guestSlots;
    const tokens = prefills.reduce((sum, { batch }) => sum + batch.tokenIds.length, 0);
    const fit = chunks.every(
      (length) => tokens + Math.min(length, SIM_OPTIONS.prefillChunk) <= SIM_OPTIONS.prefillChunk,
    );
    check(
      waiting.length === 0 || isFull || !fit,
      'I14',
      'a slot is idle while somebody waits for it',
    );
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
      check(unfair <= MAX_UNFAIRNESS, 'I13', `${one} and ${other} lie ${unfair} apart`);
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

function shortBaseRequest(tenant: Submission['tenant']): Submission {
  return { tenant, adapter: undefined, promptLength: 8, maxTokens: 4, stops: false, scores: false };
}

/** Guesses that are all right, that are wrong now and then, that are all wrong, that end the sequence, or none. */
function drafterOf(request: GenerationRequest, adapter: string | undefined): Drafter | undefined {
  const { promptIds, maxTokens, stopTokenIds } = request;
  const beyondTheEnd = { ...request, maxTokens: maxTokens + 4, stopTokenIds: [] };
  const right = referenceTokens(beyondTheEnd, adapter);
  const scripts = [
    right,
    spoil(right, 3, 50),
    spoil(right, 1, 50),
    right.map((id, i) => (i % 2 === 0 ? id : (stopTokenIds[0] ?? id))),
    undefined,
  ];
  const script = scripts[(promptIds.length + maxTokens) % scripts.length];
  return script && new Drafter(new ScriptedProposer(script));
}

/** I01, I07, I09: compares the stream so far with that of the sequence alone. */
function checkStream({ sequence, events }: Tracked): void {
  const { request, adapter } = sequence;
  const expected = referenceTokens(request, adapter === POISON ? undefined : adapter);
  const tokens = events.flatMap((event) => (event.type === 'token' ? [event.tokenId] : []));
  const isPrefix = tokens.every((token, i) => token === expected[i]);
  check(isPrefix, 'I01', `${sequence.id}: ${tokens} is not the start of ${expected}`);
  const [first] = events;
  const last = events.at(-1)!;
  const prompts = events.filter(({ type }) => type === 'prompt').length;
  check(
    prompts === 0 || (prompts === 1 && first?.type === 'prompt'),
    'I07',
    'the prompt comes first',
  );
  if (first?.type === 'prompt') {
    const scores = referencePromptLogprobs(request.promptIds, adapter);
    check(JSON.stringify(first.logprobs) === JSON.stringify(scores), 'I01', 'a wrong prompt score');
  }
  if (!isTerminal(last)) return;
  check(tokens.length === sequence.completionTokens, 'I09', 'tokens counted are not tokens sent');
  if (last.type !== 'finished' || last.reason === 'abort') return;
  check(tokens.length === expected.length, 'I09', `${tokens.length} tokens of ${expected.length}`);
  check(prompts === (request.promptTopLogprobs === undefined ? 0 : 1), 'I07', 'the prompt is lost');
}

function check(condition: unknown, invariant: string, message: string): asserts condition {
  if (!condition) throw new Error(`${invariant}: ${message}`);
}
