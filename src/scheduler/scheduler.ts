// Continuous batching as pure policy: which sequences the next step runs, and what its results mean.
// No I/O, no await, no clock: nothing here depends on how long a step takes. Knows token ids, slots
// and digests; no tensors, no weights, no text.
import { assert } from '../assert.ts';
import type {
  AdapterKey,
  BatchResult,
  DecodeBatch,
  PrefillBatch,
  RowResult,
  SlotId,
} from '../engine/batch.ts';
import { ServeError } from '../errors.ts';
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

export interface SchedulerOptions {
  /** KV slots: sequences that are prefilled or run at once. */
  slotCount: number;
  /** Positions of a KV slot. */
  maxSeqLength: number;
  /** Accepted sequences beyond the slots; more are refused, so that nobody waits without end. */
  maxWaiting?: number;
  /** Prompt tokens of one step: what the running rows wait for between two of their tokens. */
  prefillChunk?: number;
  /** Distinct adapters that run at once; by default as many as slots, which is no limit. */
  maxActiveAdapters?: number;
}

/** What the engine does next: moves, detach, attach, prefill, decode, in this order. */
export interface Step {
  readonly moves: readonly SlotMove[];
  readonly detach: readonly AdapterKey[];
  /** Always the prefill's adapter. */
  readonly attach: AdapterKey | undefined;
  readonly prefill: PrefillBatch | undefined;
  readonly decode: DecodeBatch | undefined;
}

/** A run's result, or why it threw. */
export type RunOutcome = { readonly result: BatchResult } | { readonly error: ServeError };

/** An outcome for each batch of the step. A prefill that failed left its `attach` undone. */
export interface StepOutcome {
  readonly prefill: RunOutcome | undefined;
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
}

export class Scheduler {
  readonly #options: Required<SchedulerOptions>;
  readonly #queue = new FairQueue();
  readonly #turns: AdapterTurns;
  /** Every sequence that was submitted and has not ended. */
  readonly #live = new Map<SequenceId, Sequence>();
  readonly #attached = new Set<AdapterKey>();
  /** Row i owns slot i, except between a settle and the next step. */
  #running: Sequence[] = [];
  #prefilling: Sequence | undefined;
  #inFlight: Step | undefined;
  #totals = { steps: 0, promptTokens: 0, generatedTokens: 0, nonFiniteRows: 0 };

  constructor(options: SchedulerOptions) {
    this.#options = {
      maxWaiting: 256,
      prefillChunk: 256,
      maxActiveAdapters: options.slotCount,
      ...options,
    };
    this.#turns = new AdapterTurns(this.#options.maxActiveAdapters);
  }

  /** Throws `ServeError` `overloaded` where slots and queue are full. */
  submit(sequence: Sequence): void {
    const { slotCount, maxSeqLength, maxWaiting } = this.#options;
    const { promptIds, maxTokens } = sequence.request;
    assert(promptIds.length > 0, 'a prompt has tokens');
    assert(promptIds.length + maxTokens <= maxSeqLength, 'prompt and maxTokens fit into a slot');
    assert(!this.#live.has(sequence.id), 'a sequence is submitted once');
    if (this.#live.size >= slotCount + maxWaiting) {
      throw new ServeError('overloaded', 'The server is at its limit of waiting requests.');
    }
    this.#live.set(sequence.id, sequence);
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
    const { rows, moves } = compactSlots(this.#running);
    this.#running = rows;
    this.#prefilling ??= this.#admit();
    if (!this.#prefilling && rows.length === 0) return undefined;
    const { attach, detach } = this.#switchAdapters();
    const prefill =
      this.#prefilling && toPrefillBatch(this.#prefilling, this.#options.prefillChunk);
    const decode = rows.length > 0 ? decodeBatch(rows) : undefined;
    this.#inFlight = { moves, detach, attach, prefill, decode };
    return this.#inFlight;
  }

  /** Applies what the step's runs gave, and answers every event of the step in order. */
  settle(step: Step, outcome: StepOutcome): EngineEvent[] {
    assert(step === this.#inFlight, 'the step in flight is settled, once');
    this.#inFlight = undefined;
    this.#totals.steps++;
    const decoded = this.#running;
    return [
      ...(step.prefill ? this.#settlePrefill(step, outcome.prefill) : []),
      ...(step.decode ? this.#settleDecode(decoded, outcome.decode) : []),
    ];
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
    const waiting = this.ids('waiting').length;
    let positions = 0;
    for (const { pastLength } of this.#live.values()) positions += pastLength;
    return {
      ...this.#totals,
      running: this.#live.size - waiting,
      waiting,
      kvUsage: positions / (slotCount * maxSeqLength),
    };
  }

  /** The first in order takes the slot after the running rows; only one is prefilled at a time. */
  #admit(): Sequence | undefined {
    if (this.#running.length >= this.#options.slotCount) return undefined;
    const find = this.#queue.find.bind(this.#queue);
    const sequence = this.#turns.choose(find, this.#running);
    if (!sequence) return undefined;
    this.#queue.remove(sequence);
    sequence.state = 'prefilling';
    sequence.slot = this.#running.length as SlotId;
    return sequence;
  }

  /** What was attached stays until a step comes that does not use it: the next request may. */
  #switchAdapters(): { attach: AdapterKey | undefined; detach: AdapterKey[] } {
    const used = new Set(this.#running.map(({ adapter }) => adapter));
    const own = this.#prefilling?.adapter;
    const detach = [...this.#attached].filter((key) => key !== own && !used.has(key));
    for (const key of detach) this.#attached.delete(key);
    if (own === undefined || this.#attached.has(own)) return { attach: undefined, detach };
    this.#attached.add(own);
    return { attach: own, detach };
  }

  #settlePrefill(step: Step, outcome: RunOutcome | undefined): EngineEvent[] {
    const sequence = this.#prefilling;
    assert(sequence && step.prefill && outcome, 'a prefill has a sequence and an outcome');
    if ('error' in outcome) {
      if (step.attach !== undefined) this.#attached.delete(step.attach);
      return this.#conclude(sequence, failure(sequence, outcome.error));
    }
    const { tokenIds } = step.prefill;
    const { rows, promptLogprobs } = outcome.result;
    sequence.pastLength += tokenIds.length;
    sequence.promptLogprobs.push(...promptLogprobs);
    this.#totals.promptTokens += tokenIds.length;
    this.#queue.chargePrompt(sequence.tenant, tokenIds.length);
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
    this.#prefilling = undefined;
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
      this.#queue.chargeGenerated(sequence.tenant, 1);
    } else {
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

  /** Frees what the sequence holds where its events end it; an ending takes the events' place. */
  #conclude(sequence: Sequence, events: EngineEvent[]): EngineEvent[] {
    const concluded = sequence.ending ? [sequence.ending] : events;
    if (!isTerminal(concluded.at(-1))) return concluded;
    if (sequence.state === 'waiting') this.#queue.remove(sequence);
    if (sequence === this.#prefilling) this.#prefilling = undefined;
    this.#running = this.#running.filter((other) => other !== sequence);
    this.#live.delete(sequence.id);
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
