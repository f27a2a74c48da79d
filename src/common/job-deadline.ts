// The time of one job in a child process. It ends nothing once the job is over, because the process may then have the next job.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { readCpuTime } from './cpu-time.ts';

/** A job may take so many times its limit if it does not get a core: its priority leaves it a tenth of a busy one. */
const MAX_WAIT_FACTOR = 10;

/** A deadline that can be moved until the job is over. */
export class JobDeadline {
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;

  /** Calls `stop` after `ms` milliseconds. Replaces what was started before. */
  start(ms: number, stop: () => void): void {
    clearTimeout(this.#timer);
    const stopUnlessOver = () => this.#isOver || stop();
    // If this thread was busy, an answer may be waiting: read it first.
    this.#timer = setTimeout(() => void nextTurn().then(nextTurn).then(stopUnlessOver), ms);
  }

  /**
   * Calls `stop` once the process has computed for `ms` milliseconds from now, or at the latest after `MAX_WAIT_FACTOR` times that.
   * If the system does not tell what it computes (not Linux), after `ms`. Replaces what was started before.
   */
  startComputing(pid: number | undefined, ms: number, stop: () => void): void {
    const latestMs = performance.now() + MAX_WAIT_FACTOR * ms;
    const before = computedMs(pid);
    const check = () => {
      const left = ms - (computedMs(pid) - before);
      if (!(left > 0) || performance.now() >= latestMs) return stop();
      this.start(Math.ceil(left), check);
    };
    this.start(ms, check);
  }

  /** Says that the job is over. */
  end(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }
}

/** NaN if it cannot be known. */
function computedMs(pid: number | undefined): number {
  return (pid !== undefined && readCpuTime(pid)?.runMs) || Number.NaN;
}
