// Bounds how many distinct adapters run at once, without starving one that is not among them: the
// first in line that finds no room names an active adapter that takes no new rows until it is done.
// Knows no order of tenants: the queue brings the sequences in order.
import type { AdapterKey } from '../engine/batch.ts';
import type { Sequence } from './sequence.ts';

/** `adapter` gets the next free place; `draining` is active and takes no new rows until then. */
interface Turn {
  readonly adapter: AdapterKey;
  readonly draining: AdapterKey;
}

export class AdapterTurns {
  readonly #maxActive: number;
  #turn: Turn | undefined;

  constructor(maxActive: number) {
    this.#maxActive = maxActive;
  }

  /**
   * The first of the queue's order that may start beside `running`. `find` looks the queue through
   * in order.
   */
  choose(
    find: (isAdmissible: (sequence: Sequence) => boolean) => Sequence | undefined,
    running: readonly Sequence[],
  ): Sequence | undefined {
    const active = remainingTokensByAdapter(running);
    this.#endTurn(find, active);
    const first = find(() => true);
    if (first?.adapter !== undefined && !active.has(first.adapter) && this.#isFull(active)) {
      this.#turn ??= { adapter: first.adapter, draining: soonestDone(active) };
    }
    return find((sequence) => this.#isAdmissible(sequence, active));
  }

  #isAdmissible({ adapter }: Sequence, active: ReadonlyMap<AdapterKey, number>): boolean {
    if (adapter === undefined) return true;
    if (active.has(adapter)) return adapter !== this.#turn?.draining;
    if (this.#isFull(active)) return false;
    return this.#turn === undefined || this.#turn.adapter === adapter;
  }

  /** A turn ends when its adapter got its place, or when nobody waits for it any more. */
  #endTurn(
    find: (isAdmissible: (sequence: Sequence) => boolean) => Sequence | undefined,
    active: ReadonlyMap<AdapterKey, number>,
  ): void {
    const adapter = this.#turn?.adapter;
    if (adapter === undefined) return;
    if (active.has(adapter) || !find((sequence) => sequence.adapter === adapter)) {
      this.#turn = undefined;
    }
  }

  #isFull(active: ReadonlyMap<AdapterKey, number>): boolean {
    return active.size >= this.#maxActive;
  }
}

/** Adapter → the most tokens that any of its rows may still generate. */
function remainingTokensByAdapter(running: readonly Sequence[]): Map<AdapterKey, number> {
  const remaining = new Map<AdapterKey, number>();
  for (const { adapter, request, completionTokens } of running) {
    if (adapter === undefined) continue;
    const own = request.maxTokens - completionTokens;
    remaining.set(adapter, Math.max(own, remaining.get(adapter) ?? 0));
  }
  return remaining;
}

function soonestDone(active: ReadonlyMap<AdapterKey, number>): AdapterKey {
  const [first] = [...active].sort(([, a], [, b]) => a - b);
  return first![0];
}
