// Limits which distinct adapters run in the same step, by their number and their memory, and starves none. A sequence whose
// turn has come may still have to wait for its adapter, because switching adapters costs steps with idle rows. If it has waited
// too long, a running adapter is drained for it, as in SGLang: the draining adapter only takes requests that end about as soon
// as its running ones. The queue decides the order of the sequences.
import type { AdapterKey } from '../engine/batch.ts';
import type { Sequence } from './sequence.ts';

/**
 * How long a sequence waits for its adapter before a running one is drained, as in SGLang. A tenant with no running sequence
 * does not wait: the queue's order already limits how often tenants alternate.
 */
const STARVING_AFTER_MS = 3000;

/**
 * A draining adapter takes requests that end within this multiple of the steps it needs anyway. The steps count from the start
 * of the drain. Counted from each request, a steady stream of requests would never let the drain end.
 */
const DRAIN_TOLERANCE = 1.2;

/** An adapter that is being drained to make room for another one. */
interface Drain {
  readonly adapter: AdapterKey;
  /** No request may start that could run beyond this step. */
  readonly lastStep: number;
}

/** The limits on the adapters that run in the same step. */
interface AdapterLimitOptions {
  readonly maxActive: number;
  /** The prompt tokens of one step. */
  readonly prefillChunk: number;
  /** Whether these adapters fit together. Not called for an adapter that would run alone. */
  canAttach(adapters: readonly AdapterKey[]): boolean;
  /** Whether a sequence waits for this adapter, even if something else keeps it from starting. */
  isWanted(adapter: AdapterKey): boolean;
}

/** The moment of a choice. */
interface ChoiceTime {
  readonly step: number;
  readonly nowMs: number;
}

/** The running adapters and tenants at the moment of a choice. */
interface Situation extends ChoiceTime {
  /** Adapter → the most steps that any of its rows may still take. */
  readonly active: ReadonlyMap<AdapterKey, number>;
  /** The tenants with running rows. */
  readonly tenants: ReadonlySet<string>;
}

/** Finds the first sequence of the queue that passes a filter. */
type FindInQueue = (isAdmissible: (sequence: Sequence) => boolean) => Sequence | undefined;

/** Chooses the next sequence within the limit. */
export class AdapterLimit {
  readonly #options: AdapterLimitOptions;
  /** Starving adapter → the adapter that is drained for it. At most one entry per active adapter. */
  readonly #drains = new Map<AdapterKey, Drain>();
  /** Adapter → the time at which it last ran, within the last `STARVING_AFTER_MS`. */
  readonly #lastActiveMs = new Map<AdapterKey, number>();

  constructor(options: AdapterLimitOptions) {
    this.#options = options;
  }

  /** Returns the queue's first sequence that may start while `running` are running. */
  choose(find: FindInQueue, running: readonly Sequence[], time: ChoiceTime): Sequence | undefined {
    const tenants = new Set(running.map(({ tenant }) => tenant));
    const now: Situation = { ...time, tenants, active: this.#activeAdapters(running) };
    this.#noteActive(now);
    this.#endDrains(now);
    for (;;) {
      const passedOver: Sequence[] = [];
      const sequence = find((waiting) => {
        if (this.#isAdmissible(waiting, now)) return true;
        passedOver.push(waiting);
        return false;
      });
      // A drain that begins now may rule it out.
      if (!this.#beginDrain(passedOver, now)) return sequence;
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

  /** Drains the adapter that will be done soonest, for the first starving sequence. Returns whether a drain began. */
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

  /** Whether the sequence needs room for its adapter now and no adapter is being drained for it. */
  #isStarving({ adapter, tenant, waitingSinceMs }: Sequence, now: Situation): boolean {
    const { active, tenants, nowMs } = now;
    if (adapter === undefined || active.has(adapter)) return false;
    const drain = this.#drains.get(adapter);
    // If the drained adapter is gone but has freed too little memory, another one is drained immediately.
    if (drain) return !active.has(drain.adapter) && !this.#hasRoom(adapter, active);
    if (!tenants.has(tenant)) return true;
    const sinceMs = Math.max(waitingSinceMs, this.#lastActiveMs.get(adapter) ?? 0);
    return nowMs - sinceMs > STARVING_AFTER_MS;
  }

  /** Ends the drains for adapters that run by now, or that no sequence waits for. */
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

  /** The most steps that a sequence may still take. The last step of its prompt also yields its first token. */
  #stepsOf({ request, completionTokens, pastLength }: Sequence): number {
    const tokens = request.maxTokens - completionTokens;
    if (completionTokens > 0) return tokens;
    const left = request.promptIds.length - pastLength;
    return Math.ceil(left / this.#options.prefillChunk) + Math.max(0, tokens - 1);
  }
}
