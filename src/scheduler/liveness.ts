// Watches whether the engine process is alive and makes progress: heartbeats, a watchdog over heartbeats and steps, and
// timeouts that a pause of this process does not use up. Knows no process and kills none.
import { Worker } from 'node:worker_threads';

/** The file descriptor of the heartbeat pipe in the engine process. */
export const HEARTBEAT_FD = 4;
const HEARTBEAT_INTERVAL_MS = 1_000;

/** Plain JavaScript, because a file for the worker would need its own bundle. It stops when the pipe closes. */
const HEARTBEAT_WORKER = `
const { writeSync } = require('node:fs');
const { workerData: { fd, intervalMs } } = require('node:worker_threads');
const beat = () => {
  try {
    writeSync(fd, '.');
  } catch (error) {
    if (error.code !== 'EAGAIN') clearInterval(timer);
  }
};
const timer = setInterval(beat, intervalMs);
beat();
`;

/**
 * Writes a byte to `fd` every second until this process ends. A thread of its own does it: a step or the loading of a
 * graph can block the main thread for seconds, but only a stopped process stops all its threads.
 */
export function startHeartbeat(fd: number): void {
  const workerData = { fd, intervalMs: HEARTBEAT_INTERVAL_MS };
  new Worker(HEARTBEAT_WORKER, { eval: true, execArgv: [], workerData }).unref();
}

const TICK_MS = 250;
/** The first steps of an engine have no earlier ones to compare with. */
const MIN_STALL_MS = 4_000;
/** An engine counts as stalled when its step takes this many times as long as its longest one so far. */
const STALL_FACTOR = 10;
/** Four heartbeats. */
const SILENCE_STALL_MS = 4_000;

/** The time limits of a `Watchdog`, and what it calls when one is exceeded. */
export interface WatchdogOptions {
  /** How long a step may take while work waits. */
  readonly stepBudgetMs: number;
  /** How long heartbeats may be missing. */
  readonly silenceBudgetMs: number;
  /** Whether a sequence waits for a step. */
  isWaiting(): boolean;
  /** A step exceeded its budget. */
  onStuck(): void;
  /** No heartbeat came: the process is stopped, or the system gives it no time. */
  onSilent(): void;
}

/**
 * Watches one engine process. It counts ticks of this process's event loop instead of time, so a pause of the server or
 * of the machine counts as one tick, and the loop reads the messages that arrived before the next tick.
 */
export class Watchdog {
  readonly #options: WatchdogOptions;
  readonly #timer: NodeJS.Timeout;
  #silentMs = 0;
  #stepMs = 0;
  #longestStepMs = 0;

  constructor(options: WatchdogOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  /** Whether heartbeats arrive and the current step is not far longer than the steps before it. */
  get isProgressing(): boolean {
    const stallMs = Math.max(MIN_STALL_MS, STALL_FACTOR * this.#longestStepMs);
    return this.#silentMs < SILENCE_STALL_MS && this.#stepMs < stallMs;
  }

  /** Records a heartbeat. */
  beat(): void {
    this.#silentMs = 0;
  }

  /** Records the end of a step. */
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

const TIMEOUT_TICKS = 20;

/**
 * Calls `action` after `ms` milliseconds during which the event loop ran. After a SIGSTOP or a suspended machine, an
 * ordinary timer fires before the loop has read the messages that arrived meanwhile; here a pause counts as at most a
 * twentieth of `ms`. Returns a function that cancels the timeout.
 */
export function setLoopTimeout(action: () => void, ms: number): () => void {
  let ticks = 0;
  const tick = () => {
    if (ticks++ < TIMEOUT_TICKS) timer = setTimeout(tick, ms / TIMEOUT_TICKS);
    else action();
  };
  let timer: NodeJS.Timeout;
  tick();
  return () => clearTimeout(timer);
}
