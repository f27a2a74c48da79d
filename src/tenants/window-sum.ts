// A sum over the last minute, in bounded memory. The caller passes the time.

/** The length of the window in milliseconds. */
export const WINDOW_MS = 60_000;
/**
 * Amounts added within this time leave the window together, when the last of them does. A window then has at most 61 entries.
 */
const MERGED_MS = 1000;

interface Entry {
  readonly firstMs: number;
  lastMs: number;
  amount: number;
}

/**
 * The sum of the amounts that were added within the last minute, or up to a second longer. Never less than the last minute's.
 */
export class WindowSum {
  /** In the order of their times. */
  readonly #entries: Entry[] = [];
  #total = 0;

  /** @param nowMs monotonic milliseconds, as in the other methods */
  add(amount: number, nowMs: number): void {
    const last = this.#entries.at(-1);
    this.#total += amount;
    if (last && nowMs - last.firstMs < MERGED_MS) {
      last.lastMs = nowMs;
      last.amount += amount;
    } else {
      this.#entries.push({ firstMs: nowMs, lastMs: nowMs, amount });
    }
  }

  /** Returns the sum now. */
  total(nowMs: number): number {
    while (this.#entries[0] && nowMs - this.#entries[0].lastMs >= WINDOW_MS) {
      this.#total -= this.#entries.shift()!.amount;
    }
    return this.#total;
  }

  /**
   * Returns the time until `amount` of the sum has left the window if nothing is added. If the sum is smaller, returns the time
   * until an amount added now has left it.
   */
  msUntilLess(amount: number, nowMs: number): number {
    let left = amount;
    if (left <= 0) return 0;
    for (const entry of this.#entries) {
      left -= entry.amount;
      if (left <= 0) return Math.max(0, entry.lastMs + WINDOW_MS - nowMs);
    }
    return WINDOW_MS;
  }
}
