// Idle sequences, such as the lines of a batch: nobody waits for them, so they only use slots and time that others leave. While
// others run, they pause and keep their slots, except for a small share of the steps. If others need the slots or the memory of
// the adapters, paused sequences are evicted, and their client submits them again. Pure policy; time is an argument.
import { append } from '../common/long-arrays.ts';
import type { AdapterKey, SlotId } from '../engine/batch.ts';
import { FairQueue, type WaitingQueue } from './fair-queue.ts';
import type { Sequence } from './sequence.ts';
import type { SlotMove } from './step-plan.ts';

/**
 * The part of the time that idle sequences take while others run, so that a batch makes progress on a busy server. Few enough
 * steps are then longer for the others to leave the p95 of their inter-token latency almost as it is.
 */
const IDLE_SHARE = 0.03;
/** The part of the slots that may be taken when an idle sequence starts next to others. Later arrivals find the rest free. */
const SHARED_SLOTS = 0.5;

/** A queue in which idle sequences come after all others. Both kinds are fair between tenants. */
export class IdleLastQueue implements WaitingQueue {
  readonly #others = new FairQueue();
  readonly #idle = new FairQueue();

  push(sequence: Sequence): void {
    this.#of(sequence).push(sequence);
  }

  remove(sequence: Sequence): void {
    this.#of(sequence).remove(sequence);
  }

  find(isAdmissible: (sequence: Sequence) => boolean): Sequence | undefined {
    return this.#others.find(isAdmissible) ?? this.#idle.find(isAdmissible);
  }

  isBefore(sequence: Sequence, started: Sequence): boolean {
    if (sequence.isIdle !== started.isIdle) return !sequence.isIdle;
    return this.#of(sequence).isBefore(sequence, started);
  }

  charge(...[payer, service, count]: Parameters<WaitingQueue['charge']>): void {
    this.#of(payer).charge(payer, service, count);
  }

  #of({ isIdle }: Pick<Sequence, 'isIdle'>): FairQueue {
    return isIdle ? this.#idle : this.#others;
  }
}

/** The limits of the scheduler that decide who may run together. */
interface Limits {
  readonly slotCount: number;
  readonly maxActiveAdapters: number;
  readonly canAttach: (adapters: readonly AdapterKey[]) => boolean;
}

/** The sequences other than idle ones at the start of a step. */
interface Others {
  /** Whether any of them decodes. */
  readonly run: boolean;
  /** Whether any of them waits for its first token. */
  readonly wait: boolean;
}

/** The paused sequences of one scheduler, and the times at which they may run. */
export class IdleSequences {
  readonly #limits: Limits;
  #paused: Sequence[] = [];
  #takesPart = true;
  #hadOthers = false;
  /** When idle sequences may next run together with others. */
  #dueMs = 0;
  #beganMs = 0;
  /** How long the last step with idle sequences took. */
  #stepMs = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** The sequences that own slots but do not run. */
  get paused(): readonly Sequence[] {
    return this.#paused;
  }

  /** Whether idle sequences take part in the current step. */
  get takesPart(): boolean {
    return this.#takesPart;
  }

  /** How many slots may be taken when an idle sequence starts in the current step. */
  get slotLimit(): number {
    if (!this.#takesPart) return 0;
    return this.#limits.slotCount * (this.#hadOthers ? SHARED_SLOTS : 1);
  }

  /** Begins a step. Pauses or resumes the idle ones of the running sequences, and returns the sequences that run. */
  begin(running: readonly Sequence[], others: Others, nowMs: number): Sequence[] {
    const hasOthers = others.run || others.wait;
    if (hasOthers && !this.#hadOthers) this.#dueMs = nowMs + this.#stepMs / IDLE_SHARE;
    this.#hadOthers = hasOthers;
    this.#beganMs = nowMs;
    this.#takesPart = !hasOthers || (!others.wait && nowMs >= this.#dueMs);
    const all = [...running, ...this.#paused];
    this.#paused = this.#takesPart ? [] : all.filter(({ isIdle }) => isIdle);
    return this.#takesPart ? all : all.filter(({ isIdle }) => !isIdle);
  }

  /** Ends a step in which these sequences ran. */
  end(ran: readonly Sequence[], nowMs: number): void {
    if (!ran.some(({ isIdle }) => isIdle)) return;
    this.#stepMs = nowMs - this.#beganMs;
    this.#dueMs = nowMs + this.#stepMs / IDLE_SHARE;
  }

  /** Forgets a sequence that has ended. */
  remove(sequence: Sequence): void {
    this.#paused = this.#paused.filter((other) => other !== sequence);
  }

  /**
   * Makes room for the step's sequences, which own the first slots: evicts paused sequences if there are too few slots or if
   * the adapters do not fit together, and moves the others to later slots. `taken` are the slots that the step's sequences
   * owned before it. Evicted sequences stay in `paused` until they are removed.
   */
  makeRoom(
    active: readonly Sequence[],
    taken: ReadonlySet<SlotId | undefined>,
  ): { readonly evicted: readonly Sequence[]; readonly moves: readonly SlotMove[] } {
    // The ones with the most work done come first.
    const kept = this.#paused.toSorted((a, b) => b.pastLength - a.pastLength);
    const evicted = kept.splice(Math.max(0, this.#limits.slotCount - active.length));
    const isActive = (key: AdapterKey) => active.some(({ adapter }) => adapter === key);
    while (kept.length > 0 && !this.#fitTogether([...active, ...kept])) {
      const i = kept.findLastIndex(({ adapter }) => adapter !== undefined && !isActive(adapter));
      append(evicted, kept.splice(i, 1));
    }
    const owned = new Set([...taken, ...kept.map(({ slot }) => slot)]);
    const moves: SlotMove[] = [];
    for (const sequence of kept) {
      if (sequence.slot! >= active.length) continue;
      const to = this.#freeSlot(active.length, owned);
      if (to === undefined) evicted.push(sequence);
      else {
        moves.push({ from: sequence.slot!, to, length: sequence.pastLength });
        sequence.slot = to;
        owned.add(to);
      }
    }
    return { evicted, moves };
  }

  #fitTogether(sequences: readonly Sequence[]): boolean {
    const adapters = [...new Set(sequences.flatMap(({ adapter }) => adapter ?? []))];
    if (adapters.length <= 1) return true;
    return adapters.length <= this.#limits.maxActiveAdapters && this.#limits.canAttach(adapters);
  }

  #freeSlot(first: number, owned: ReadonlySet<SlotId | undefined>): SlotId | undefined {
    for (let slot = first; slot < this.#limits.slotCount; slot++) {
      if (!owned.has(slot as SlotId)) return slot as SlotId;
    }
    return undefined;
  }
}
