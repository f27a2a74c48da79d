// Limits which distinct adapters run at once, by their number and by the memory they need, and starves none. A sequence
// whose turn it is may have to wait for its adapter: switching costs steps with idle rows. If it waits for too long, a
// running adapter is drained for it, as in SGLang: it takes only requests that end about as soon as its running ones. The
// queue brings the sequences in order.
import type { AdapterKey } from '../engine/batch.ts';
import type { Sequence } from './sequence.ts';

/**
 * How long a sequence waits for its adapter before a running one is drained, as in SGLang. A tenant that has nothing
 * running does not wait: the order of the queue already limits how often tenants take turns.
 */
const STARVING_AFTER_MS = 3000;

/**
 * A draining adapter takes requests that end within this multiple of the steps it needs anyway, counted from the start of
 * the drain: if it were counted from each request, an endless stream of requests would never let it end.
 */
const DRAIN_TOLERANCE = 1.2;

/** An adapter that makes room for another one. */
interface Drain {
  readonly adapter: AdapterKey;
  /** No request may start that could run beyond this step. */
  readonly lastStep: number;
}

/** Which adapters may run at once. */
export interface AdapterLimitOptions {
  readonly maxActive: number;
  /** The prompt tokens of one step. */
  readonly prefillChunk: number;
  /** Whether these adapters fit together. Not called for an adapter that would run alone. */
  canAttach(adapters: readonly AdapterKey[]): boolean;
  /** Whether a sequence waits for this adapter, even if it may not start now for another reason. */
  isWanted(adapter: AdapterKey): boolean;
}

/** The moment of a choice. */
export interface ChoiceTime {
  readonly step: number;
  readonly nowMs: number;
}

/** The running adapters and tenants at the moment of a choice. */
interface Situation extends ChoiceTime {
  /** Adapter → the most steps that any of its rows may still take. */
  readonly active: ReadonlyMap<AdapterKey, number>;
  /** The tenants that have rows. */
  readonly tenants: ReadonlySet<string>;
}

/** Finds the first sequence of the queue that passes a filter. */
type FindInQueue = (isAdmissible: (sequence: Sequence) => boolean) => Sequence | undefined;

/** Chooses the next sequence within the limit. */
export class AdapterLimit {
  readonly #options: AdapterLimitOptions;
  /** Starving adapter → the adapter that is drained for it. At most one entry per active adapter. */
  readonly #drains = new Map<AdapterKey, Drain>();
  /** When the adapters that ran within the last `STARVING_AFTER_MS` did so last. */
  readonly #lastActiveMs = new Map<AdapterKey, number>();

  constructor(options: AdapterLimitOptions) {
    this.#options = options;
  }

  /** The first sequence in the queue's order that may start beside `running`. */
  choose(find: FindInQueue, running: readonly Sequence[], time: ChoiceTime): Sequence | undefined {
    const tenants = new Set(running.map(({ tenant }) => tenant));
    const now: Situation = { ...time, tenants, active: this.#activeAdapters(running) };
    this.#noteActive(now);
    this.#endDrains(now);
    for (;;) {
      const passedOver: Sequence[] = [];
      const chosen = find((sequence) => {
        if (this.#isAdmissible(sequence, now)) return true;
        passedOver.push(sequence);
        return false;
      });
      // A drain that begins may rule out the chosen one.
      if (!this.#beginDrain(passedOver, now)) return chosen;
    }
  }

  #isAdmissible(sequence: Sequence, { active, step }: Situation): boolean {
    const { adapter } = sequence;
    if (adapter === undefined) return true;
    if (active.has(adapter)) {
      const drain = this.#drainOf(adapter);
      return !drain || step + this.#stepsOf(sequence) <= drain.lastStep;
    }
    if (this.#drains.size > 0 && !this.#drains.has(adapter)) return false;
    return this.#hasRoom(adapter, active);
  }

  /** Drains the adapter that is done soonest for the first of the sequences that needs it. Returns whether one does. */
  #beginDrain(passedOver: readonly Sequence[], now: Situation): boolean {
    const undrained = [...now.active].filter(([adapter]) => !this.#drainOf(adapter));
    const [soonest] = undrained.sort(([, a], [, b]) => a - b);
    const starving = soonest && passedOver.find((sequence) => this.#isStarving(sequence, now));
    if (starving?.adapter === undefined) return false;
    const [adapter, steps] = soonest!;
    const lastStep = now.step + Math.floor(DRAIN_TOLERANCE * steps);
    this.#drains.set(starving.adapter, { adapter, lastStep });
    return true;
  }

  /** Whether it needs room for its adapter now, and nothing is drained for that. */
  #isStarving({ adapter, tenant, waitingSinceMs }: Sequence, now: Situation): boolean {
    const { active, tenants, nowMs } = now;
    if (adapter === undefined || active.has(adapter)) return false;
    const drain = this.#drains.get(adapter);
    // If the drained one is gone and has left too little memory, the next one follows at once.
    if (drain) return !active.has(drain.adapter) && !this.#hasRoom(adapter, active);
    if (!tenants.has(tenant)) return true;
    const sinceMs = Math.max(waitingSinceMs, this.#lastActiveMs.get(adapter) ?? 0);
    return nowMs - sinceMs > STARVING_AFTER_MS;
  }

  /** Ends the drains for adapters that run, or that no sequence waits for any more. */
  #endDrains({ active }: Situation): void {
    for (const wanted of [...this.#drains.keys()]) {
      if (active.has(wanted) || !this.#options.isWanted(wanted)) this.#drains.delete(wanted);
    }
  }

  #drainOf(adapter: AdapterKey): Drain | undefined {
    return [...this.#drains.values()].find((drain) => drain.adapter === adapter);
  }

  #hasRoom(adapter: AdapterKey, active: Situation['active']): boolean {
    if (active.size === 0) return true;
    if (active.size >= this.#options.maxActive) return false;
    return this.#options.canAttach([...active.keys(), adapter]);
  }

  #noteActive({ active, nowMs }: Situation): void {
    for (const [adapter, atMs] of this.#lastActiveMs) {
      if (nowMs - atMs > STARVING_AFTER_MS) this.#lastActiveMs.delete(adapter);
    }
    for (const adapter of active.keys()) this.#lastActiveMs.set(adapter, nowMs);
  }

  #activeAdapters(running: readonly Sequence[]): Map<AdapterKey, number> {
    const active = new Map<AdapterKey, number>();
    for (const sequence of running) {
      const { adapter } = sequence;
      if (adapter === undefined) continue;
      active.set(adapter, Math.max(this.#stepsOf(sequence), active.get(adapter) ?? 0));
    }
    return active;
  }

  /** The most steps that a sequence may still take. The step that ends its prompt gives its first token. */
  #stepsOf({ request, completionTokens, pastLength }: Sequence): number {
    const tokens = request.maxTokens - completionTokens;
    if (completionTokens > 0) return tokens;
    const left = request.promptIds.length - pastLength;
    return Math.ceil(left / this.#options.prefillChunk) + Math.max(0, tokens - 1);
  }
}
