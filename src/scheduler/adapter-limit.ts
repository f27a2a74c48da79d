// Limits which distinct adapters run at once, by their number and by the memory they need, and starves none: if the
// first waiting adapter does not fit, one active adapter is drained (its rows finish, no new ones start), then the
// next, until the waiting one fits. Knows no tenants: the queue brings the sequences in order.
import type { AdapterKey } from '../engine/batch.ts';
import type { Sequence } from './sequence.ts';

/** `draining` gets no new rows, so that `adapter` can take its room. */
interface Handover {
  readonly adapter: AdapterKey;
  readonly draining: AdapterKey;
}

/** Which adapters may run at once. */
export interface AdapterLimitOptions {
  readonly maxActive: number;
  /** Whether these adapters fit together. Not called for an adapter that would run alone. */
  canAttach(adapters: readonly AdapterKey[]): boolean;
}

/** Adapter → the most tokens that any of its rows may still generate. */
type ActiveAdapters = ReadonlyMap<AdapterKey, number>;

/** Finds the first sequence of the queue that passes a filter. */
type FindInQueue = (isAdmissible: (sequence: Sequence) => boolean) => Sequence | undefined;

/** Chooses the next sequence within the limit. */
export class AdapterLimit {
  readonly #options: AdapterLimitOptions;
  #handover: Handover | undefined;

  constructor(options: AdapterLimitOptions) {
    this.#options = options;
  }

  /** The first sequence in the queue's order that may start beside `running`. */
  choose(find: FindInQueue, running: readonly Sequence[]): Sequence | undefined {
    const active = remainingTokensByAdapter(running);
    this.#endHandover(find, active);
    const first = find(() => true);
    const wanted = this.#handover?.adapter ?? first?.adapter;
    if (wanted !== undefined && !active.has(wanted) && !this.#hasRoom(wanted, active)) {
      const isDraining = this.#handover && active.has(this.#handover.draining);
      if (!isDraining) this.#handover = { adapter: wanted, draining: soonestDone(active) };
    }
    return find((sequence) => this.#isAdmissible(sequence, active));
  }

  #isAdmissible({ adapter }: Sequence, active: ActiveAdapters): boolean {
    if (adapter === undefined) return true;
    if (active.has(adapter)) return adapter !== this.#handover?.draining;
    if (this.#handover !== undefined && this.#handover.adapter !== adapter) return false;
    return this.#hasRoom(adapter, active);
  }

  /** Ends the handover if its adapter runs, or if no sequence waits for it any more. */
  #endHandover(find: FindInQueue, active: ActiveAdapters): void {
    const adapter = this.#handover?.adapter;
    if (adapter === undefined) return;
    if (active.has(adapter) || !find((sequence) => sequence.adapter === adapter)) {
      this.#handover = undefined;
    }
  }

  #hasRoom(adapter: AdapterKey, active: ActiveAdapters): boolean {
    if (active.size === 0) return true;
    if (active.size >= this.#options.maxActive) return false;
    return this.#options.canAttach([...active.keys(), adapter]);
  }
}

function remainingTokensByAdapter(running: readonly Sequence[]): Map<AdapterKey, number> {
  const remaining = new Map<AdapterKey, number>();
  for (const { adapter, request, completionTokens } of running) {
    if (adapter === undefined) continue;
    const own = request.maxTokens - completionTokens;
    remaining.set(adapter, Math.max(own, remaining.get(adapter) ?? 0));
  }
  return remaining;
}

function soonestDone(active: ActiveAdapters): AdapterKey {
  const [first] = [...active].sort(([, a], [, b]) => a - b);
  return first![0];
}
