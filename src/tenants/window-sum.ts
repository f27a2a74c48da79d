// Sums over the last minute: of one server, or of a fleet whose ledger tells its sums from time to time.

/** The length of the window in milliseconds. */
export const WINDOW_MS = 60_000;
/**
 * Amounts added within this time leave the window together, when the last of them does. A window then has at most 61 entries.
 */
const MERGED_MS = 1000;

/** An amount and when it was added, in monotonic milliseconds. It leaves the window a minute after `lastMs`. */
export interface WindowEntry {
  readonly firstMs: number;
  lastMs: number;
  amount: number;
}

/**
 * The sum of the amounts that were added within the last minute, or up to a second longer. Never less than the last minute's.
 * In a fleet it consists of what the ledger told and of what this server has added since. While the ledger does not answer,
 * the other servers are assumed to add as much as this one, so what is left is shared equally.
 */
export class WindowSum {
  /** In the order of their times, as in `#own`. */
  #told: WindowEntry[] = [];
  #own: WindowEntry[] = [];
  /** Everything that was ever added here. */
  added = 0;

  /** @param nowMs monotonic milliseconds, as in the other methods */
  add(amount: number, nowMs: number): void {
    if (amount === 0) return;
    const last = this.#own.at(-1);
    this.added += amount;
    if (last && nowMs - last.firstMs < MERGED_MS) {
      last.lastMs = nowMs;
      last.amount += amount;
    } else {
      this.#own.push({ firstMs: nowMs, lastMs: nowMs, amount });
    }
  }

  /**
   * Replaces the sum by what the ledger told.
   * @param added the part of `added` that it includes
   */
  tell(entries: WindowEntry[], added: number, nowMs: number): void {
    const rest = this.added - added;
    this.#told = entries;
    this.#own = rest > 0 ? [{ firstMs: nowMs, lastMs: nowMs, amount: rest }] : [];
  }

  /** Returns the sum now. `servers` is the number of servers that add as much as this one; 1 if the ledger knows of all. */
  total(nowMs: number, servers = 1): number {
    this.#told = this.#told.filter(({ lastMs }) => nowMs - lastMs < WINDOW_MS);
    return sumOf(this.#told) + servers * this.ownTotal(nowMs);
  }

  /** Returns the part that was added here and that the ledger has not told. */
  ownTotal(nowMs: number): number {
    while (this.#own[0] && nowMs - this.#own[0].lastMs >= WINDOW_MS) this.#own.shift();
    return sumOf(this.#own);
  }

  /**
   * Returns the time until `amount` of the sum has left the window if nothing is added. If the sum is smaller, returns the time
   * until an amount added now has left it.
   */
  msUntilLess(amount: number, nowMs: number, servers = 1): number {
    let rest = amount;
    if (rest <= 0) return 0;
    const own = this.#own.map((entry) => ({ ...entry, amount: servers * entry.amount }));
    for (const entry of [...this.#told, ...own].sort((a, b) => a.lastMs - b.lastMs)) {
      rest -= entry.amount;
      if (rest <= 0) return Math.max(0, entry.lastMs + WINDOW_MS - nowMs);
    }
    return WINDOW_MS;
  }
}

function sumOf(entries: readonly WindowEntry[]): number {
  return entries.reduce((sum, { amount }) => sum + amount, 0);
}
