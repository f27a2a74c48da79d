// Notices a process that wants to compute and hardly ever gets a core. The decision is pure.
import type { CpuTime } from '../common/cpu-time.ts';

/** The share of the time it wants that a process gets at least. Linux's idle class gets 0.3 % beside threads that never sleep. */
const MIN_SHARE = 0.02;
/** Long enough that a burst of other work is no reason. */
const WINDOW_MS = 60_000;

/** Follows one process. */
export class StarvationWatch {
  readonly #windowMs: number;
  #samples: (CpuTime & { readonly atMs: number })[] = [];

  constructor(windowMs: number = WINDOW_MS) {
    this.#windowMs = windowMs;
  }

  /**
   * Adds a sample and returns whether the process has starved in the window that ends now: it wanted to compute for half of
   * it or more, and got less than its share.
   * @param atMs monotonic
   */
  add({ runMs, waitMs }: CpuTime, atMs: number): boolean {
    this.#samples.push({ runMs, waitMs, atMs });
    // Keeps one sample that is as old as the window or older.
    const from = this.#samples.findLastIndex((sample) => atMs - sample.atMs >= this.#windowMs);
    if (from === -1) return false;
    this.#samples = this.#samples.slice(from);
    const [first] = this.#samples;
    const ran = runMs - first!.runMs;
    const wanted = ran + waitMs - first!.waitMs;
    return wanted >= this.#windowMs / 2 && ran < MIN_SHARE * wanted;
  }
}
