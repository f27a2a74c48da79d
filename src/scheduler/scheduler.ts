// Continuous batching as pure policy: decides which sequences the next step runs, and applies its results. No I/O, no await,
// and the clock is an argument. Works on token ids, slots and digests, never on tensors or text.
import { assert } from '../common/assert.ts';
import { ServeError } from '../common/errors.ts';
import { append } from '../common/long-arrays.ts';
import { noTotals } from '../contracts/engine.ts';
import type {
  AdapterKey,
  DecodeBatch,
  DecodeRow,
  PrefillBatch,
  RowResult,
  SlotId,
} from '../engine/batch.ts';
import { AdapterLimit } from './adapter-limit.ts';
import { MatchingShares } from './fair-queue.ts';
import { IdleSequences } from './idle.ts';
import { type SchedulerOptions, withDefaults } from './options.ts';
import { copyCost, type PrefixChange, Prefixes } from './prefixes.ts';
import type { EngineEvent, SequenceId } from './protocol.ts';
import type { AdapterStart } from './sequence.ts';
import {
  applyRows,
  failedEvent,
  isTerminal,
  isZeroed,
  pooledEvent,
  type Sequence,
  type TerminalEvent,
  toDecodeRows,
  toPrefillBatch,
} from './sequence.ts';
import { SlotAllocator } from './slot-allocator.ts';
import {
  attach,
  compactSlots,
  type DecodeOutcome,
  detachUnused,
  type RunOutcome,
  rowOutcome,
  type StepInFlight,
  type StepPlan,
} from './step-plan.ts';

/** Admits sequences, plans steps and applies their results. */
export class Scheduler {
  readonly #options: Required<SchedulerOptions>;
  readonly #allocator: SlotAllocator;
  readonly #prefixes: Prefixes;
  readonly #matching = new MatchingShares();
  readonly #idle: IdleSequences;
  /** Every sequence that was submitted and has not ended. */
  readonly #live = new Map<SequenceId, Sequence>();
  /** The adapters in the engine's slots once the planned step has run. */
  readonly #attached = new Set<AdapterKey>();
  /** Row i owns slot i, except between a step's results and the next step. */
  #running: Sequence[] = [];
  /**
   * These own the slots after the running rows, in order. Between steps there is at most one, whose prompt is unfinished. Paused
   * idle sequences own later slots.
   */
  #prefilling: Sequence[] = [];
  #inFlight: StepInFlight | undefined;
  readonly #totals = noTotals();
  /** When the last step was planned, in monotonic milliseconds. */
  #plannedMs = 0;

  constructor(options: SchedulerOptions) {
    this.#options = withDefaults(options);
    const { maxActiveAdapters: maxActive, prefillChunk, canAttach, queue } = this.#options;
    this.#idle = new IdleSequences(this.#options);
    const isWanted = (key: AdapterKey) =>
      !!queue.find((s) => s.adapter === key && (!s.isIdle || this.#idle.takesPart));
    const adapterLimit = new AdapterLimit({ maxActive, prefillChunk, canAttach, isWanted });
    this.#prefixes = new Prefixes(this.#options.countCachedTokens);
    const parts = { adapterLimit, prefixes: this.#prefixes };
    this.#allocator = new SlotAllocator({ ...this.#options, ...parts });
  }

  /** Accepts a sequence. The caller limits how many wait. */
  submit(sequence: Sequence): void {
    const { maxSeqLength } = this.#options;
    const { promptIds, maxTokens } = sequence.request;
    assert(promptIds.length > 0, 'a prompt has tokens');
    assert(maxTokens === 0 || !sequence.pooler, 'a prompt with an embedding has no answer');
    assert(promptIds.length + maxTokens <= maxSeqLength, 'prompt and maxTokens fit into a slot');
    assert(!this.#live.has(sequence.id), 'a sequence is submitted once');
    this.#live.set(sequence.id, sequence);
    if (sequence.state === 'waiting') this.#enqueue(sequence);
  }

  /** Queues a sequence whose adapter and grammar are loaded. Does nothing if the sequence has ended. */
  loaded(id: SequenceId, start: AdapterStart = {}): void {
    const sequence = this.#live.get(id);
    if (sequence?.state !== 'loading') return;
    Object.assign(sequence, start);
    sequence.state = 'waiting';
    this.#enqueue(sequence);
  }

  /** Ends a sequence with `finished: abort`, with the same timing as `fail`. */
  abort(id: SequenceId): EngineEvent[] {
    return this.#end(id, { type: 'finished', id, reason: 'abort' });
  }

  /**
   * Ends a sequence. If it is part of the current step, it ends when that step's results are applied, and receives none of
   * them. Does nothing if the sequence has ended.
   */
  fail(id: SequenceId, error: ServeError): EngineEvent[] {
    return this.#end(id, failedEvent({ id }, error));
  }

  /** Plans the next step. Returns undefined if there is nothing to run. Call `applyResults` before the next call. */
  next(): StepPlan | undefined {
    assert(!this.#inFlight, 'one step at a time');
    this.#plannedMs = this.#options.now();
    const cutOff = this.#beginIdle();
    const [unfinished] = this.#prefilling;
    const taken = new Set([...this.#running, ...this.#prefilling].map(({ slot }) => slot));
    this.#matching.begin(this.#plannedMs, [...this.#running, ...this.#prefilling]);
    const ahead = unfinished
      ? this.#allocator.takeAhead(unfinished, this.#running, this.#admitting())
      : [];
    this.#prefilling = [...ahead, ...this.#prefilling];
    const { rows, moves } = compactSlots(this.#running, this.#prefilling);
    this.#running = rows;
    const isReady = this.#matching.prepareAll(rows);
    const batches = this.#prefillBatches(ahead);
    const admitted = this.#prefilling.filter((sequence) => sequence !== unfinished);
    for (const { cachedTokens } of admitted) this.#totals.promptTokens += cachedTokens;
    if (batches.length === 0 && rows.length === 0) return undefined;
    const active = [...rows, ...this.#prefilling];
    const room = this.#idle.makeRoom(active, taken);
    const evicted = [...cutOff, ...room.evicted.flatMap((sequence) => this.#evict(sequence))];
    const detach = detachUnused(this.#attached, [...active, ...this.#idle.paused]);
    const prefills = batches.map((batch, i) => {
      const sequence = this.#prefilling[i]!;
      const isNew = sequence !== unfinished && batch.pastLength > 0;
      const restore = isNew ? sequence.prefix : undefined;
      return { id: sequence.id, attach: attach(this.#attached, batch.adapter), restore, batch };
    });
    const decoded = isReady ? rows : [];
    const decode = isReady ? ({ kind: 'decode', rows: toDecodeRows(rows) } as const) : undefined;
    const decodeIds = decoded.map(({ id }) => id);
    const allMoves = [...room.moves, ...moves];
    const plan = { evicted, admitted, moves: allMoves, detach, prefills, decode, decodeIds };
    this.#inFlight = { plan, prefilled: this.#prefilling, decoded, appliedPrefills: 0 };
    return plan;
  }

  /** Applies the outcome of the step's next prefill and returns its events. Other runs of the step may still follow. */
  applyPrefill(plan: StepPlan, outcome: RunOutcome): EngineEvent[] {
    const step = this.#inFlight;
    assert(step?.plan === plan, 'results are applied to the step in flight, once');
    const i = step.appliedPrefills++;
    const prefill = plan.prefills[i];
    assert(prefill, 'each prefill has one outcome');
    const sequence = step.prefilled[i]!;
    if ('error' in outcome) {
      if (prefill.attach !== undefined && outcome.isDetached) this.#attached.delete(prefill.attach);
      this.#prefixes.forget(sequence);
      return this.#conclude(sequence, [failedEvent(sequence, outcome.error)]);
    }
    const { tokenIds, forcedIds = [] } = prefill.batch;
    const { rows, promptLogprobs } = outcome.result;
    const [results] = rows;
    sequence.pastLength += tokenIds.length + forcedIds.length;
    append(sequence.promptLogprobs, promptLogprobs);
    this.#totals.promptTokens += tokenIds.length;
    if (results?.some(isZeroed)) this.#prefixes.forget(sequence);
    else this.#prefixes.keep(sequence);
    if (sequence.ending) return this.#conclude(sequence, []);
    const { promptIds } = sequence.request;
    if (sequence.pastLength < promptIds.length && results?.[0]?.ok !== false) return [];
    this.#totals.forcedTokens += forcedIds.length;
    return this.#conclude(sequence, this.#finishPrompt(sequence, results));
  }

  /** Applies the outcome of the step's decode, ends the step and returns the events. Apply the prefills first. */
  applyResults(plan: StepPlan, decode: DecodeOutcome | undefined): EngineEvent[] {
    const step = this.#inFlight;
    assert(step?.plan === plan, 'results are applied to the step in flight, once');
    assert(step.appliedPrefills === plan.prefills.length, 'a prefill has an outcome');
    this.#inFlight = undefined;
    if (plan.decode || plan.prefills.length > 0) this.#totals.steps++;
    const events = plan.decode ? this.#applyDecode(step.decoded, plan.decode, decode) : [];
    const owners = [...step.prefilled, ...this.#running, ...this.#idle.paused];
    for (const sequence of owners) append(events, this.#endLate(sequence));
    this.#matching.end(this.#options.now(), this.#options.queue);
    this.#idle.end([...step.prefilled, ...step.decoded], this.#options.now());
    return events;
  }

  /** Returns the changes of the prefix cache since the last call. Apply them in order before calling `next`. */
  takePrefixChanges(): PrefixChange[] {
    return this.#prefixes.takeChanges();
  }

  isLive(id: SequenceId): boolean {
    return this.#live.has(id);
  }

  isAttached(adapter: AdapterKey): boolean {
    return this.#attached.has(adapter);
  }

  /** Returns the ids of the accepted sequences: all of them, or only the ones without a slot. */
  ids(which: 'live' | 'waiting'): SequenceId[] {
    const isMeant = ({ slot }: Sequence) => which === 'live' || slot === undefined;
    return [...this.#live.values()].filter(isMeant).map(({ id }) => id);
  }

  /** Returns the figures of the queue, the slots and the adapters. An arrival does not wait if the next step has a slot for it. */
  stats() {
    const { slotCount, maxSeqLength } = this.#options;
    const live = [...this.#live.values()];
    const waiting = live.filter(({ slot }) => slot === undefined);
    const running = live.length - waiting.length;
    const queued = waiting.filter(({ isIdle }) => !isIdle);
    const passedOver = queued.filter((s) => s.waitingSinceMs < this.#plannedMs);
    const positions = live.reduce((sum, { pastLength }) => sum + pastLength, 0);
    return {
      ...this.#totals,
      ...this.#prefixes.totals,
      running,
      waiting: Math.max(passedOver.length, queued.length - (slotCount - running)),
      kvUsage: positions / (slotCount * maxSeqLength),
      maxActiveAdapters: this.#options.maxActiveAdapters,
      attachedAdapters: [...this.#attached],
      waitingAdapters: [...new Set(waiting.flatMap(({ adapter }) => adapter ?? []))],
    };
  }

  /**
   * Returns the step's prompt chunks within the token budget: first of the sequences `ahead`, then of the unfinished one, then
   * of newly admitted ones. No chunk is cut to fit, so other prompts do not decide how a prompt is cut. Only the last prompt may
   * stay unfinished.
   */
  #prefillBatches(ahead: readonly Sequence[]): PrefillBatch[] {
    const { prefillChunk, queue } = this.#options;
    const batches: PrefillBatch[] = [];
    for (let budget = prefillChunk; ; ) {
      const started = this.#prefilling[batches.length];
      const sequence = started ?? this.#admit(budget);
      if (!sequence) return batches;
      this.#matching.prepare(sequence);
      const batch = toPrefillBatch(sequence, prefillChunk);
      if (batch.tokenIds.length > budget) return batches; // the unfinished one, after the ones ahead of it
      batches.push(batch);
      const isAhead = ahead.includes(sequence);
      budget -= batch.tokenIds.length + (started && !isAhead ? 0 : copyCost(sequence.cachedTokens));
      // Charged here, because it decides which tenant's prompt comes next.
      if (!isAhead) queue.charge(sequence, 'promptTokens', batch.tokenIds.length);
      if (batch.pastLength + batch.tokenIds.length < sequence.request.promptIds.length)
        return batches;
    }
  }

  #admitting() {
    return { step: this.#totals.steps, idleSlots: this.#idle.slotLimit };
  }

  /** Pauses or resumes idle sequences. Evicts one whose prompt is unfinished if others run; its chunks are in the prefix cache. */
  #beginIdle(): EngineEvent[] {
    const isOther = ({ isIdle }: Sequence) => !isIdle;
    const others = {
      run: this.#running.some(isOther),
      wait: this.#prefilling.some(isOther) || !!this.#options.queue.find(isOther),
    };
    this.#running = this.#idle.begin(this.#running, others, this.#options.now());
    if (this.#idle.takesPart) return [];
    return this.#prefilling
      .filter(({ isIdle }) => isIdle)
      .flatMap((sequence) => this.#evict(sequence));
  }

  #evict(sequence: Sequence): EngineEvent[] {
    const error = new ServeError('overloaded', 'Another request needs the slot. Try again.');
    return this.#conclude(sequence, [failedEvent(sequence, error)]);
  }

  /** Starts the next waiting sequence, if one may start. */
  #admit(budget: number): Sequence | undefined {
    const prefilling = this.#prefilling;
    const started = [...this.#running, ...prefilling];
    const sequence = this.#allocator.take({ ...this.#admitting(), started, prefilling, budget });
    if (!sequence) return undefined;
    sequence.slot = started.length as SlotId;
    this.#prefilling = [...prefilling, sequence];
    return sequence;
  }

  /**
   * Ends a sequence that was asked to end after its prefill was applied or in a step that skipped it, or whose text turned out
   * to be complete after its last token.
   */
  #endLate(sequence: Sequence): EngineEvent[] {
    const { id, ending, state, sampler } = sequence;
    if (!this.#live.has(id)) return [];
    if (ending) return this.#conclude(sequence, []);
    if (state !== 'running' || !sampler.isComplete) return [];
    return this.#conclude(sequence, [{ type: 'finished', id, reason: 'stop' }]);
  }

  #enqueue(sequence: Sequence): void {
    sequence.waitingSinceMs = this.#options.now();
    this.#options.queue.push(sequence);
  }

  /** @param results undefined if no token was to be drawn */
  #finishPrompt(sequence: Sequence, results: readonly RowResult[] | undefined): EngineEvent[] {
    const { id, request, promptLogprobs } = sequence;
    const events: EngineEvent[] = [];
    if (request.promptTopLogprobs !== undefined && results?.[0]?.ok !== false) {
      events.push({ type: 'prompt', id, logprobs: promptLogprobs });
    }
    if (results) {
      // While the next token is still being matched, the last prompt token runs again.
      sequence.lastTokenId = request.promptIds.at(-1);
      sequence.pastLength = request.promptIds.length + results.length - 1;
      append(events, this.#applyRows(sequence, results));
    } else if (sequence.pooler) {
      events.push(pooledEvent(id, sequence.pooler), { type: 'finished', id, reason: 'stop' });
    } else events.push({ type: 'finished', id, reason: 'length' });
    this.#prefilling = this.#prefilling.filter((other) => other !== sequence);
    sequence.state = 'running';
    this.#running = [...this.#running, sequence];
    return events;
  }

  #applyDecode(
    sequences: readonly Sequence[],
    { rows }: DecodeBatch,
    decoded: DecodeOutcome | undefined,
  ): EngineEvent[] {
    assert(decoded, 'a decode has an outcome');
    return sequences.flatMap((sequence, i) => {
      const outcome = rowOutcome(decoded, i);
      if ('error' in outcome) {
        this.#prefixes.forget(sequence);
        return this.#conclude(sequence, [failedEvent(sequence, outcome.error)]);
      }
      const { results } = outcome;
      assert(results, 'a decode answers each row');
      if (results.some(isZeroed)) this.#prefixes.forget(sequence);
      sequence.pastLength += results.length; // later tokens in the cache are overwritten
      const { forcedIds = [] } = rows[i]!;
      const skipped = Math.max(0, results.length - 1);
      this.#totals.forcedTokens += Math.min(forcedIds.length, skipped);
      this.#countDraft(rows[i]!, Math.max(0, skipped - forcedIds.length));
      if (sequence.ending) return this.#conclude(sequence, []);
      return this.#conclude(sequence, this.#applyRows(sequence, results));
    });
  }

  #countDraft({ draftIds = [] }: DecodeRow, accepted: number): void {
    if (draftIds.length === 0) return;
    this.#totals.drafts++;
    this.#totals.draftTokens += draftIds.length;
    this.#totals.acceptedDraftTokens += accepted;
  }

  #applyRows(sequence: Sequence, rows: readonly RowResult[]): EngineEvent[] {
    const { events, generatedTokens, endingTokens } = applyRows(sequence, rows);
    this.#totals.generatedTokens += generatedTokens;
    this.#totals.forcedTokens += endingTokens;
    this.#totals.nonFiniteRows += rows.filter(isZeroed).length;
    if (generatedTokens > 0) {
      this.#options.queue.charge(sequence, 'generatedTokens', generatedTokens);
    }
    return events;
  }

  #end(id: SequenceId, event: TerminalEvent): EngineEvent[] {
    const sequence = this.#live.get(id);
    if (!sequence) return [];
    if (this.#inFlight && sequence.slot !== undefined) {
      sequence.ending ??= event;
      return [];
    }
    return this.#conclude(sequence, [event]);
  }

  /** Frees the sequence's resources if these events end it. Its `ending`, if set, replaces the events. */
  #conclude(sequence: Sequence, events: EngineEvent[]): EngineEvent[] {
    const lastEvents = sequence.ending ? [sequence.ending] : events;
    const last = lastEvents.at(-1);
    if (!isTerminal(last)) return lastEvents;
    if (last.type === 'finished') this.#prefixes.keep(sequence);
    if (sequence.state === 'waiting') this.#options.queue.remove(sequence);
    this.#prefilling = this.#prefilling.filter((other) => other !== sequence);
    this.#running = this.#running.filter((other) => other !== sequence);
    this.#idle.remove(sequence);
    this.#live.delete(sequence.id);
    sequence.state = 'finished';
    sequence.slot = undefined;
    return lastEvents;
  }
}
