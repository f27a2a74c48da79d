// Watches whether the engine process is alive and makes progress: heartbeats, a watchdog over heartbeats and runs, and timeouts
// that do not elapse while this process is paused. Reports only; the supervisor kills the process.
import { Worker } from 'node:worker_threads';
import { type Clock, every, systemClock } from '../common/waiting.ts';
import type { RunSize } from './protocol.ts';
import type { RunTimes } from './run-times.ts';

/** The file descriptor of the heartbeat pipe in the engine process. */
export const HEARTBEAT_FD = 4;
const HEARTBEAT_INTERVAL_MS = 1_000;

/** Plain JavaScript, because a worker in a file would need a separate bundle. It stops when the pipe closes. */
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
 * Writes a byte to `fd` every second until this process ends, from a separate thread: a step or the loading of a graph can
 * block the main thread for seconds, but only a stopped process stops all its threads.
 */
export function startHeartbeat(fd: number): void {
  const workerData = { fd, intervalMs: HEARTBEAT_INTERVAL_MS };
  new Worker(HEARTBEAT_WORKER, { eval: true, execArgv: [], workerData }).unref();
}

/** How often a watchdog checks. Its times are accurate to this. */
const TICK_MS = 250;
/** A run that takes this much longer than any run of its size is a stall. No new requests should arrive. */
const STALL_MS = 4_000;
/** Four heartbeats. */
const SILENCE_STALL_MS = 4_000;

/** A `Watchdog`'s time limits, inputs and callbacks. */
interface WatchdogOptions {
  /** Includes runs of earlier engine processes, because the times describe this machine. */
  readonly runTimes: RunTimes;
  /** How long a run of unknown size may take. */
  readonly firstRunBudgetMs: number;
  /** How much longer than any run of its size a run may take. */
  readonly graceMs: number;
  /** How much longer a run may take after it was told to terminate. */
  readonly terminationMs: number;
  /** How long heartbeats may be missing. */
  readonly silenceBudgetMs: number;
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

const TIMEOUT_TICKS = 20;

/**
 * Calls `action` after `ms` milliseconds during which the event loop ran. After a SIGSTOP or a suspended machine, an
 * ordinary timer fires before the loop has read the messages that arrived meanwhile; here a pause counts as at most a
 * twentieth of `ms`. Returns a function that cancels the timeout.
 */
export function setLoopTimeout(
  action: () => void,
  ms: number,
  clock: Clock = systemClock,
): () => void {
  let ticks = 0;
  let cancel = () => {};
  const tick = () => {
    if (ticks++ < TIMEOUT_TICKS) cancel = clock.schedule(ms / TIMEOUT_TICKS, tick);
    else action();
  };
  tick();
  return () => cancel();
}
