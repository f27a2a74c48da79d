// Watches one engine process: whether it lives (heartbeats) and whether it makes progress (steps). It counts time in
// ticks of this process's own event loop, so a pause of the server or of the whole machine counts as one tick. After a
// pause the loop reads the waiting messages before the next tick. Knows no process and kills none.

const TICK_MS = 250;
/** A new engine's first steps have no history to be compared with. */
const MIN_STALL_MS = 4_000;
/** A step may take this many times the longest one so far before the engine counts as stalled. */
const STALL_FACTOR = 10;
/** Heartbeats come once a second. */
const SILENCE_STALL_MS = 4_000;

export interface WatchdogOptions {
  /** How long a step may take while work waits. */
  readonly stepBudgetMs: number;
  /** How long heartbeats may stay away. */
  readonly silenceBudgetMs: number;
  /** Whether a sequence waits for a step. */
  isWaiting(): boolean;
  /** A step exceeded its budget. */
  onStuck(): void;
  /** Heartbeats stayed away: the process is stopped, or the system gives it no time. */
  onSilent(): void;
}

export class Watchdog {
  readonly #options: WatchdogOptions;
  readonly #timer: NodeJS.Timeout;
  #silentMs = 0;
  #stepMs = 0;
  #longestStepMs = 0;

  /** Starts to watch. */
  constructor(options: WatchdogOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  /** Whether the process lives and its step takes no longer than steps of this engine do. */
  get isProgressing(): boolean {
    const stallMs = Math.max(MIN_STALL_MS, STALL_FACTOR * this.#longestStepMs);
    return this.#silentMs < SILENCE_STALL_MS && this.#stepMs < stallMs;
  }

  /** The process sent a heartbeat. */
  beat(): void {
    this.#silentMs = 0;
  }

  /** The engine ended a step. */
  stepped(): void {
    this.#longestStepMs = Math.max(this.#longestStepMs, this.#stepMs);
    this.#stepMs = 0;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    const { isWaiting, onSilent, onStuck, silenceBudgetMs, stepBudgetMs } = this.#options;
    this.#silentMs += TICK_MS;
    this.#stepMs = isWaiting() ? this.#stepMs + TICK_MS : 0;
    if (this.#silentMs >= silenceBudgetMs) onSilent();
    else if (this.#stepMs >= stepBudgetMs) onStuck();
  }
}
