// Which adapter leaves memory: the one that is cheapest to have again for the room it takes. Pure policy over plain
// records (GreedyDual-Size with frequency, Cherkasova 1998): value = age + uses x reload time / bytes, where the age
// is the value of the last one that left, so that what was popular once does not stay for ever. Owners that are active
// keep their share whatever others ask for. It knows no weights, no leases and no clock.

export interface Evictable {
  readonly owner: string;
  readonly byteSize: number;
  /** What having it again takes. */
  readonly loadMs: number;
  /** How often it was asked for since it was loaded. */
  uses: number;
  /** As of its last use. */
  value: number;
  /** Somebody expects it to be asked for until then. */
  warmUntilMs: number;
}

export interface Pressure {
  /** Bytes in memory of each owner that was active lately; the newcomer's count with its owner. */
  readonly bytesByOwner: ReadonlyMap<string, number>;
  readonly capacityBytes: number;
  readonly nowMs: number;
}

/** A load takes no less: what is in the page cache today may not be tomorrow. */
const MIN_LOAD_MS = 1;

export class EvictionOrder {
  #age = 0;

  /** To be called at each use, the first one included. */
  use(entry: Evictable): void {
    entry.uses++;
    entry.value = this.#age + (entry.uses * Math.max(entry.loadMs, MIN_LOAD_MS)) / entry.byteSize;
  }

  /**
   * Whom to evict; undefined where there is nobody. Of equal values the first of the list goes. A share weighs more
   * than warmth, and neither keeps anything where all have it.
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

/** An owner that was not active lately has no share. */
function isOverShare(owner: string, { bytesByOwner, capacityBytes }: Pressure): boolean {
  const bytes = bytesByOwner.get(owner);
  return bytes === undefined || bytes > capacityBytes / bytesByOwner.size;
}

function leastValued<T extends Evictable>(entries: readonly T[]): T | undefined {
  let least: T | undefined;
  for (const entry of entries) if (!least || entry.value < least.value) least = entry;
  return least;
}
