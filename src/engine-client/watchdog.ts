// Watches whether the engine process is alive and makes progress, by its heartbeats and the times that its runs have taken on
// this machine. Reports only; the supervisor kills the process.
import { smallest } from '../common/long-arrays.ts';
import { type Clock, every } from '../common/waiting.ts';
import type { RunSize } from '../scheduler/protocol.ts';

/** A run is remembered for this many later runs of its size, at most twice as many. A second of decoding has 10 to 100 runs. */
export const RUNS_REMEMBERED = 256;

/** The longest runs of a size in two spans of `RUNS_REMEMBERED` runs: the current and the previous one. */
interface Recent {
  readonly size: RunSize;
  readonly ms: number;
  readonly count: number;
  readonly earlierMs: number;
}

/** The longest recent run of each size. A stall, for example while the machine swaps, is forgotten after a while. */
export class RunTimes {
  readonly #recent = new Map<string, Recent>();

  record(size: RunSize, ms: number): void {
    const key = keyOf(size);
    const last = this.#recent.get(key) ?? { size, ms: 0, count: 0, earlierMs: 0 };
    const isOver = last.count === RUNS_REMEMBERED;
    const next = isOver
      ? { size, ms, count: 1, earlierMs: last.ms }
      : { ...last, ms: Math.max(last.ms, ms), count: last.count + 1 };
    this.#recent.set(key, next);
  }

  /**
   * Returns the longest time in ms of a recent run of this size. If there was none, derives it from the other sizes: the time
   * grows at most with the number of tokens or of keys, and the larger factor counts. A derived time is at most `maxDerivedMs`.
   * Undefined before the first run.
   */
  longestMs(size: RunSize, maxDerivedMs: number): number | undefined {
    const ofSize = this.#recent.get(keyOf(size));
    if (ofSize) return longest(ofSize);
    const bounds = [...this.#recent.values()].map((recent) => {
      const { tokens, keys } = recent.size;
      return longest(recent) * Math.max(1, size.tokens / tokens, size.keys / keys);
    });
    return bounds.length > 0 ? smallest([...bounds, maxDerivedMs]) : undefined;
  }
}

function longest({ ms, earlierMs }: Recent): number {
  return Math.max(ms, earlierMs);
}

function keyOf({ tokens, keys }: RunSize): string {
  return `${tokens} ${keys}`;
}

/** How often a watchdog checks. Its times are accurate to this. */
const TICK_MS = 250;
/** A run that takes this much longer than any run of its size is a stall. No new requests should arrive. */
const STALL_MS = 4_000;
/** Four heartbeats. */
const SILENCE_STALL_MS = 4_000;

/** A `Watchdog`'s time limits. */
export interface WatchdogLimits {
  /** How long a run of unknown size may take before it is terminated. */
  readonly firstRunBudgetMs: number;
  /** How much longer than any run of its size a run may take before it is terminated. */
  readonly graceMs: number;
  /** How long a run may take to end after its termination, before the process is killed. */
  readonly terminationMs: number;
  /** How long a ready process may send no heartbeat before it is killed. */
  readonly silenceBudgetMs: number;
}

/** A `Watchdog`'s limits, inputs and callbacks. */
interface WatchdogOptions extends WatchdogLimits {
  /** Includes runs of earlier engine processes, because the times describe this machine. */
  readonly runTimes: RunTimes;
  readonly clock?: Clock;
  /** Whether a sequence waits for a step. */
  isWaiting(): boolean;
  /** A run exceeded its time and has to be terminated. */
  onOverdue(overdueMs: number): void;
  /** A run did not end although it was told to terminate. */
  onStuck(): void;
  /** No heartbeat arrived: the process is stopped, or the system gives it no CPU time. */
  onSilent(): void;
}

/**
 * Watches one engine process. Counts ticks of this process's event loop instead of time: a pause of the server or the machine
 * counts as one tick, and the loop reads messages that have arrived before the next tick.
 */
export class Watchdog {
  readonly #options: WatchdogOptions;
  /** Stops the watchdog. */
  readonly stop: () => void;
  #silentMs = 0;
  #runMs = 0;
  /** The size of the current run. Undefined if none has begun. */
  #size: RunSize | undefined;
  /** How long the current run had taken when it became overdue. */
  #overdueAtMs: number | undefined;

  constructor(options: WatchdogOptions) {
    this.#options = options;
    this.stop = every(TICK_MS, () => this.#tick(), options.clock);
  }

  /** Whether heartbeats arrive and the current run does not take far longer than others of its size. */
  get isProgressing(): boolean {
    const stallMs = STALL_MS + (this.#longestMs() ?? 0);
    return this.#silentMs < SILENCE_STALL_MS && this.#runMs < stallMs;
  }

  /** Records a heartbeat. */
  beat(): void {
    this.#silentMs = 0;
  }

  /** Records that a run of this size begins and the previous one has ended. Undefined if nothing runs. */
  began(size: RunSize | undefined): void {
    this.stepped();
    this.#size = size;
  }

  /** Records the end of a step. The next one begins with a run of the same size, unless `began` says otherwise. */
  stepped(): void {
    // A run that was told to terminate says nothing about other runs.
    const isKnown = this.#size !== undefined && this.#overdueAtMs === undefined;
    // Rounded up, because times of other sizes may be derived from this one.
    if (isKnown) this.#options.runTimes.record(this.#size!, this.#runMs + TICK_MS);
    this.#runMs = 0;
    this.#overdueAtMs = undefined;
  }

  /** The longest run of the current size so far, in ms. */
  #longestMs(): number | undefined {
    const { firstRunBudgetMs, runTimes } = this.#options;
    return this.#size && runTimes.longestMs(this.#size, firstRunBudgetMs);
  }

  #tick(): void {
    const { isWaiting, silenceBudgetMs, firstRunBudgetMs, graceMs, terminationMs, ...on } =
      this.#options;
    this.#silentMs += TICK_MS;
    this.#runMs = isWaiting() ? this.#runMs + TICK_MS : 0;
    if (this.#silentMs >= silenceBudgetMs) on.onSilent();
    else if (this.#overdueAtMs !== undefined) {
      if (this.#runMs >= this.#overdueAtMs + terminationMs) on.onStuck();
    } else {
      const longestMs = this.#longestMs();
      const budgetMs = longestMs === undefined ? firstRunBudgetMs : longestMs + graceMs;
      if (this.#runMs < budgetMs) return;
      this.#overdueAtMs = this.#runMs;
      on.onOverdue(this.#runMs);
    }
  }
}
