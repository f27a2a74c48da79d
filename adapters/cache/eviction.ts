// Chooses which adapter leaves memory, by GreedyDual-Size with frequency (Cherkasova 1998): the one with the lowest
// value = age + uses x reload time / bytes. The age is the value of the last evicted adapter, so that formerly popular ones
// do not stay forever. Active owners keep their share. It knows no weights, no leases and no clock.

/** A record of an adapter that can be evicted. */
export interface Evictable {
  readonly owner: string;
  readonly byteSize: number;
  /** Time to load it again. */
  readonly loadMs: number;
  /** Requests since it was loaded. */
  uses: number;
  /** Its value at its last use. */
  value: number;
  /** Until then it is expected to be used. */
  warmUntilMs: number;
}

/** The state of the memory when an adapter needs room. */
export interface Pressure {
  /** Bytes in memory by owner, for owners that were active lately. Includes the new adapter. */
  readonly bytesByOwner: ReadonlyMap<string, number>;
  readonly capacityBytes: number;
  readonly nowMs: number;
}

/** The least reload time to assume: a file in the page cache today may not be there tomorrow. */
const MIN_LOAD_MS = 1;

/** The eviction policy and its age. */
export class EvictionOrder {
  #age = 0;

  /** Call it on each use, including the first. */
  use(entry: Evictable): void {
    entry.uses++;
    entry.value = this.#age + (entry.uses * Math.max(entry.loadMs, MIN_LOAD_MS)) / entry.byteSize;
  }

  /**
   * Chooses the adapter to evict; undefined if there is none. Owners above their share lose adapters first, then adapters that
   * are not warm, then those of the lowest value, the first of equals.
   */
  choose<T extends Evictable>(idle: Iterable<T>, pressure: Pressure): T | undefined {
    let candidates = [...idle];
    const narrow = (isOpen: (entry: T) => boolean) => {
      const open = candidates.filter(isOpen);
      if (open.length > 0) candidates = open;
    };
    narrow(({ owner }) => isOverShare(owner, pressure));
    narrow(({ warmUntilMs }) => warmUntilMs <= pressure.nowMs);
    const victim = leastValued(candidates);
    if (victim) this.#age = Math.max(this.#age, victim.value);
    return victim;
  }
}

/** Whether the owner has more than its share. An inactive owner has none. */
function isOverShare(owner: string, { bytesByOwner, capacityBytes }: Pressure): boolean {
  const bytes = bytesByOwner.get(owner);
  return bytes === undefined || bytes > capacityBytes / bytesByOwner.size;
}

function leastValued<T extends Evictable>(entries: readonly T[]): T | undefined {
  let least: T | undefined;
  for (const entry of entries) if (!least || entry.value < least.value) least = entry;
  return least;
}
