// Continuous batching as pure policy: which sequences the next step runs, and what its results mean.
// No I/O, no await, no clock: nothing here depends on how long a step takes. Knows token ids, slots
// and digests; no tensors, no weights, no text.
import { assert } from '../common/assert.ts';
import { ServeError } from '../common/errors.ts';
import type {
  AdapterKey,
  BatchResult,
  DecodeBatch,
  PrefillBatch,
  RowResult,
  SlotId,
} from '../engine/batch.ts';
import { AdapterTurns } from './adapter-turns.ts';
import { compactSlots, type SlotMove } from './compact-slots.ts';
import { FairQueue } from './fair-queue.ts';
import type { EngineEvent, SequenceId } from './protocol.ts';
import {
  applyRow,
  isTerminal,
  type Sequence,
  type TerminalEvent,
  toDecodeRow,
  toPrefillBatch,
} from './sequence.ts';

const DEFAULT_MAX_WAITING = 256;

export interface SchedulerOptions {
  /** KV slots: sequences that are prefilled or run at once. */
  slotCount: number;
  /** Positions of a KV slot. */
  maxSeqLength: number;
  /** Accepted sequences beyond the slots; more are refused, so that nobody waits without end. */
  maxWaiting?: number;
  /** The same for one tenant, so that it cannot fill the queue; by default `maxWaiting`. */
  maxWaitingPerTenant?: number;
  /** Prompt tokens of one step, of one prompt or of several: what the running rows wait for between two tokens. */
  prefillChunk?: number;
  /** Distinct adapters that run at once; by default as many as slots, which is no limit. */
  maxActiveAdapters?: number;
  /** Whether these adapters' weights can be attached together; by default always. Quick and without effect. */
  canAttach?: (adapters: readonly AdapterKey[]) => boolean;
}

/** A prompt's chunk, and the adapter that is to be attached for it. */
export interface StepPrefill {
  readonly id: SequenceId;
  readonly attach: AdapterKey | undefined;
  readonly batch: PrefillBatch;
}

/** What the engine does next: moves, detach, prefills in order, decode. */
export interface Step {
  /** Sequences whose prefill begins. */
  readonly admitted: readonly SequenceId[];
  readonly moves: readonly SlotMove[];
  readonly detach: readonly AdapterKey[];
  /** Together at most `prefillChunk` tokens; only the last may leave its prompt unfinished. */
  readonly prefills: readonly StepPrefill[];
  readonly decode: DecodeBatch | undefined;
  /** The sequences of `decode`, by row. */
  readonly decodeIds: readonly SequenceId[];
}

/** A run's result, or why it threw. */
export type RunOutcome = { readonly result: BatchResult } | { readonly error: ServeError };

/** An outcome for each batch of the step. A prefill that failed left its `attach` undone. */
export interface StepOutcome {
  readonly prefills: readonly RunOutcome[];
  readonly decode: RunOutcome | undefined;
}

export interface SchedulerStats {
  running: number;
  waiting: number;
  kvUsage: number;
  steps: number;
  promptTokens: number;
  generatedTokens: number;
  nonFiniteRows: number;
  maxActiveAdapters: number;
  attachedAdapters: AdapterKey[];
  waitingAdapters: AdapterKey[];
}

export class Scheduler {
  readonly #options: Required<SchedulerOptions>;
  readonly #queue = new FairQueue();
  readonly #turns: AdapterTurns;
  /** Every sequence that was submitted and has not ended. */
  readonly #live = new Map<SequenceId, Sequence>();
  /** Tenant → how many of them are its. */
  readonly #liveOf = new Map<string, number>();
  readonly #attached = new Set<AdapterKey>();
  /** Row i owns slot i, except between a settle and the next step. */
  #running: Sequence[] = [];
  /** Own the slots after the running rows, in order. Between steps at most one, unfinished. */
  #prefilling: Sequence[] = [];
  #inFlight: Step | undefined;
  #totals = { steps: 0, promptTokens: 0, generatedTokens: 0, nonFiniteRows: 0 };

  constructor(options: SchedulerOptions) {
    this.#options = {
      maxWaiting: DEFAULT_MAX_WAITING,
      maxWaitingPerTenant: options.maxWaiting ?? DEFAULT_MAX_WAITING,
      prefillChunk: 256,
      maxActiveAdapters: options.slotCount,
      canAttach: () => true,
      ...options,
    };
    const { maxActiveAdapters: maxActive, canAttach } = this.#options;
    this.#turns = new AdapterTurns({ maxActive, canAttach });
  }

  /** Throws `ServeError`: `overloaded` where slots and queue are full, `rate_limit_exceeded` where by its own tenant. */
  submit(sequence: Sequence): void {
    const { slotCount, maxSeqLength, maxWaiting, maxWaitingPerTenant } = this.#options;
    const { promptIds, maxTokens } = sequence.request;
    assert(promptIds.length > 0, 'a prompt has tokens');
    assert(promptIds.length + maxTokens <= maxSeqLength, 'prompt and maxTokens fit into a slot');
    assert(!this.#live.has(sequence.id), 'a sequence is submitted once');
    if (this.#live.size >= slotCount + maxWaiting) {
      throw new ServeError('overloaded', 'The server is at its limit of waiting requests.');
    }
    const own = this.#liveOf.get(sequence.tenant) ?? 0;
    if (own >= slotCount + maxWaitingPerTenant) {
      throw new ServeError('rate_limit_exceeded', 'Too many of your requests are waiting already.');
    }
    this.#live.set(sequence.id, sequence);
    this.#liveOf.set(sequence.tenant, own + 1);
    if (sequence.state === 'waiting') this.#queue.push(sequence);
  }

  /** The sequence's adapter is loaded: it may be admitted. Without effect where it has ended. */
  adapterReady(id: SequenceId): void {
    const sequence = this.#live.get(id);
    if (sequence?.state !== 'loading') return;
    sequence.state = 'waiting';
    this.#queue.push(sequence);
  }

  /** Ends a sequence with `finished: abort`; see `fail` for when. */
  abort(id: SequenceId): EngineEvent[] {
    return this.#end(id, { type: 'finished', id, reason: 'abort' });
  }

  /**
   * Ends a sequence at the step boundary: now, or where a step with it is in flight, when that is
   * settled, in place of its results. Without effect where it has ended.
   */
  fail(id: SequenceId, error: ServeError): EngineEvent[] {
    return this.#end(id, { type: 'failed', id, error: error.toPlain() });
  }

  /** The next step, or undefined where nothing is to run. It must be settled before the next. */
  next(): Step | undefined {
    assert(!this.#inFlight, 'one step at a time');
    const { rows, moves } = compactSlots(this.#running, this.#prefilling);
    this.#running = rows;
    const known = this.#prefilling.length;
    const batches = this.#prefillBatches();
    const admitted = this.#prefilling.slice(known).map(({ id }) => id);
    if (batches.length === 0 && rows.length === 0) return undefined;
    const detach = this.#detachUnused();
    const prefills = batches.map((batch, i) => {
      return { id: this.#prefilling[i]!.id, attach: this.#attach(batch.adapter), batch };
    });
    const decode = rows.length > 0 ? decodeBatch(rows) : undefined;
    const decodeIds = rows.map(({ id }) => id);
    this.#inFlight = { admitted, moves, detach, prefills, decode, decodeIds };
    return this.#inFlight;
  }

  /** Applies what the step's runs gave, and answers every event of the step in order. */
  settle(step: Step, outcome: StepOutcome): EngineEvent[] {
    assert(step === this.#inFlight, 'the step in flight is settled, once');
    this.#inFlight = undefined;
    this.#totals.steps++;
    const decoded = this.#running;
    const prefilled = this.#prefilling;
    const started = step.prefills.flatMap((prefill, i) =>
      this.#settlePrefill(prefilled[i]!, prefill, outcome.prefills[i]),
    );
    return [...started, ...(step.decode ? this.#settleDecode(decoded, outcome.decode) : [])];
  }

  isLive(id: SequenceId): boolean {
    return this.#live.has(id);
  }

  isAttached(adapter: AdapterKey): boolean {
    return this.#attached.has(adapter);
  }

  /** Accepted sequences: all, or those that own no slot yet. */
  ids(which: 'live' | 'waiting'): SequenceId[] {
    const all = [...this.#live.values()];
    const chosen = which === 'live' ? all : all.filter(({ slot }) => slot === undefined);
    return chosen.map(({ id }) => id);
  }

  stats(): SchedulerStats {
    const { slotCount, maxSeqLength } = this.#options;
    const live = [...this.#live.values()];
    const waiting = live.filter(({ slot }) => slot === undefined);
    const waitingAdapters = new Set(waiting.flatMap(({ adapter }) => adapter ?? []));
    const positions = live.reduce((sum, { pastLength }) => sum + pastLength, 0);
    return {
      ...this.#totals,
      running: live.length - waiting.length,
      waiting: waiting.length,
      kvUsage: positions / (slotCount * maxSeqLength),
      maxActiveAdapters: this.#options.maxActiveAdapters,
      attachedAdapters: [...this.#attached],
      waitingAdapters: [...waitingAdapters],
    };
  }

  /** Chunks of prompts up to the step's budget: first the unfinished one, then newly admitted ones. */
  #prefillBatches(): PrefillBatch[] {
    const batches: PrefillBatch[] = [];
    for (let budget = this.#options.prefillChunk; budget > 0; ) {
      const sequence = this.#prefilling[batches.length] ?? this.#admit();
      if (!sequence) break;
      const batch = toPrefillBatch(sequence, budget);
      batches.push(batch);
      budget -= batch.tokenIds.length;
      // Charged at once: the next place of this step may be another tenant's.
      this.#queue.chargePrompt(sequence, batch.tokenIds.length);
    }
    return batches;
  }

  /** The first in order takes the next free slot. */
  #admit(): Sequence | undefined {
    const started = [...this.#running, ...this.#prefilling];
    if (started.length >= this.#options.slotCount) return undefined;
    const find = this.#queue.find.bind(this.#queue);
    const sequence = this.#turns.choose(find, started);
    if (!sequence) return undefined;
    this.#queue.remove(sequence);
    sequence.state = 'prefilling';
    sequence.slot = started.length as SlotId;
    this.#prefilling = [...this.#prefilling, sequence];
    return sequence;
  }

  /** What was attached stays until a step comes that does not use it: the next request may. */
  #detachUnused(): AdapterKey[] {
    const used = new Set([...this.#running, ...this.#prefilling].map(({ adapter }) => adapter));
    const unused = [...this.#attached].filter((key) => !used.has(key));
    for (const key of unused) this.#attached.delete(key);
    return unused;
  }

  /** The adapter itself where it has to be attached first. */
  #attach(adapter: AdapterKey | undefined): AdapterKey | undefined {
    if (adapter === undefined || this.#attached.has(adapter)) return undefined;
    this.#attached.add(adapter);
    return adapter;
  }

  #settlePrefill(
    sequence: Sequence,
    { attach, batch }: StepPrefill,
    outcome: RunOutcome | undefined,
  ): EngineEvent[] {
    assert(outcome, 'a prefill has an outcome');
    if ('error' in outcome) {
      if (attach !== undefined) this.#attached.delete(attach);
      return this.#conclude(sequence, failure(sequence, outcome.error));
    }
    const { tokenIds } = batch;
    const { rows, promptLogprobs } = outcome.result;
    sequence.pastLength += tokenIds.length;
    sequence.promptLogprobs.push(...promptLogprobs);
    this.#totals.promptTokens += tokenIds.length;
    if (sequence.ending) return this.#conclude(sequence, []);
    const [row] = rows;
    const { promptIds } = sequence.request;
    if (sequence.pastLength < promptIds.length && row?.ok !== false) return [];
    return this.#conclude(sequence, this.#finishPrompt(sequence, row));
  }

  #finishPrompt(sequence: Sequence, row: RowResult | undefined): EngineEvent[] {
    const { id, request, promptLogprobs } = sequence;
    const events: EngineEvent[] = [];
    if (request.promptTopLogprobs !== undefined && row?.ok !== false) {
      events.push({ type: 'prompt', id, logprobs: promptLogprobs });
    }
    if (row) events.push(...this.#applyRow(sequence, row));
    else events.push({ type: 'finished', id, reason: 'length' });
    this.#prefilling = this.#prefilling.filter((other) => other !== sequence);
    sequence.state = 'running';
    this.#running = [...this.#running, sequence];
    return events;
  }

  #settleDecode(rows: readonly Sequence[], outcome: RunOutcome | undefined): EngineEvent[] {
    assert(outcome, 'a decode has an outcome');
    return rows.flatMap((sequence, i) => {
      if ('error' in outcome) return this.#conclude(sequence, failure(sequence, outcome.error));
      const row = outcome.result.rows[i];
      assert(row, 'a decode answers each row');
      sequence.pastLength++;
      return this.#conclude(sequence, sequence.ending ? [] : this.#applyRow(sequence, row));
    });
  }

  /** A token that ends the sequence unseen was served too. */
  #applyRow(sequence: Sequence, row: RowResult): EngineEvent[] {
    if (row.ok) {
      this.#totals.generatedTokens++;
      this.#queue.chargeGenerated(sequence, 1);
    } else if (row.reason === 'non_finite') {
      this.#totals.nonFiniteRows++;
    }
    return applyRow(sequence, row);
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

  #forget({ id, tenant }: Sequence): void {
    this.#live.delete(id);
    const left = this.#liveOf.get(tenant)! - 1;
    if (left > 0) this.#liveOf.set(tenant, left);
    else this.#liveOf.delete(tenant);
  }

  /** Frees what the sequence holds where its events end it; an ending takes the events' place. */
  #conclude(sequence: Sequence, events: EngineEvent[]): EngineEvent[] {
    const concluded = sequence.ending ? [sequence.ending] : events;
    if (!isTerminal(concluded.at(-1))) return concluded;
    if (sequence.state === 'waiting') this.#queue.remove(sequence);
    this.#prefilling = this.#prefilling.filter((other) => other !== sequence);
    this.#running = this.#running.filter((other) => other !== sequence);
    this.#forget(sequence);
    sequence.state = 'finished';
    sequence.slot = undefined;
    return concluded;
  }
}

function decodeBatch(rows: readonly Sequence[]): DecodeBatch {
  return { kind: 'decode', rows: rows.map(toDecodeRow) };
}

function failure(sequence: Sequence, error: ServeError): EngineEvent[] {
  return [{ type: 'failed', id: sequence.id, error: error.toPlain() }];
}
