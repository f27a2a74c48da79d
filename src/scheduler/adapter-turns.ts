// Bounds which distinct adapters run at once, by number and by the room that they take, without starving one that is
// not among them: the first in line that finds no room names an active adapter that takes no new rows until it is
// done, and then another one, until there is room.
// Knows no order of tenants: the queue brings the sequences in order.
import type { AdapterKey } from '../engine/batch.ts';
import type { Sequence } from './sequence.ts';

/** `adapter` gets the next free place; `draining` is active and takes no new rows until then. */
interface Turn {
  readonly adapter: AdapterKey;
  readonly draining: AdapterKey;
}

/** Which adapters may run at once. */
export interface AdapterRoom {
  readonly maxActive: number;
  /** Whether these can be attached together; whoever wants to run alone is let through, fit or not. */
  canAttach(adapters: readonly AdapterKey[]): boolean;
}

type Active = ReadonlyMap<AdapterKey, number>;

export class AdapterTurns {
  readonly #room: AdapterRoom;
  #turn: Turn | undefined;

  constructor(room: AdapterRoom) {
    this.#room = room;
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
    const wanted = this.#turn?.adapter ?? first?.adapter;
    if (wanted !== undefined && !active.has(wanted) && !this.#hasRoom(wanted, active)) {
      const isDraining = this.#turn && active.has(this.#turn.draining);
      if (!isDraining) this.#turn = { adapter: wanted, draining: soonestDone(active) };
    }
    return find((sequence) => this.#isAdmissible(sequence, active));
  }

  #isAdmissible({ adapter }: Sequence, active: Active): boolean {
    if (adapter === undefined) return true;
    if (active.has(adapter)) return adapter !== this.#turn?.draining;
    if (this.#turn !== undefined && this.#turn.adapter !== adapter) return false;
    return this.#hasRoom(adapter, active);
  }

  /** A turn ends when its adapter got its place, or when nobody waits for it any more. */
  #endTurn(
    find: (isAdmissible: (sequence: Sequence) => boolean) => Sequence | undefined,
    active: Active,
  ): void {
    const adapter = this.#turn?.adapter;
    if (adapter === undefined) return;
    if (active.has(adapter) || !find((sequence) => sequence.adapter === adapter)) {
      this.#turn = undefined;
    }
  }

  #hasRoom(adapter: AdapterKey, active: Active): boolean {
    if (active.size === 0) return true;
    if (active.size >= this.#room.maxActive) return false;
    return this.#room.canAttach([...active.keys(), adapter]);
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

function soonestDone(active: Active): AdapterKey {
  const [first] = [...active].sort(([, a], [, b]) => a - b);
  return first![0];
}
