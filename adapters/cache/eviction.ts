// Chooses which adapter leaves memory, by GreedyDual-Size with frequency (Cherkasova 1998): the one with the lowest
// value = age + uses x reload time / bytes. The age is the value of the last evicted adapter, so that formerly popular ones
// do not stay forever. Tenants' shares come first. It knows no weights, no leases and no clock.

/** A record of an adapter that can be evicted. */
export interface Evictable {
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

/** The reasons for which adapters give way. */
export interface Pressure<T> {
  /** The lowest ranks go first; undefined: it stays. */
  rank(entry: T): number | undefined;
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
   * Chooses the adapter to evict; undefined if none may go. Those of the lowest rank go first, of these the ones that are not
   * warm, of these the one of the lowest value, the first of equals.
   */
  choose<T extends Evictable>(idle: Iterable<T>, { rank, nowMs }: Pressure<T>): T | undefined {
    let candidates: T[] = [];
    let lowest = Number.POSITIVE_INFINITY;
    for (const entry of idle) {
      const own = rank(entry) ?? Number.POSITIVE_INFINITY;
      if (own < lowest) candidates = [];
      lowest = Math.min(lowest, own);
      if (own === lowest && own < Number.POSITIVE_INFINITY) candidates.push(entry);
    }
    const cool = candidates.filter(({ warmUntilMs }) => warmUntilMs <= nowMs);
    const victim = leastValued(cool.length > 0 ? cool : candidates);
    if (victim) this.#age = Math.max(this.#age, victim.value);
    return victim;
  }
}

function leastValued<T extends Evictable>(entries: readonly T[]): T | undefined {
  let least: T | undefined;
  for (const entry of entries) if (!least || entry.value < least.value) least = entry;
  return least;
}
