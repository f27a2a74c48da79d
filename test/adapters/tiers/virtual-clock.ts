// Time that passes when a test says so.
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Clock } from '../../../src/common/waiting.ts';

interface Timer {
  readonly atMs: number;
  readonly callback: () => void;
}

export class VirtualClock implements Clock {
  #nowMs = 1_000_000;
  readonly #timers = new Set<Timer>();

  /** Tests replace it. */
  random = (): number => 0.5;

  now = (): number => this.#nowMs;

  schedule = (delayMs: number, callback: () => void): (() => void) => {
    const timer = { atMs: this.#nowMs + delayMs, callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  };

  get pending(): number {
    return this.#timers.size;
  }

  advance(ms: number): void {
    const endMs = this.#nowMs + ms;
    for (let timer = this.#next(); timer && timer.atMs <= endMs; timer = this.#next()) {
      this.#fire(timer);
    }
    this.#nowMs = endMs;
  }

  /** Lets time pass whenever nothing else happens, until the promise has settled. For what does no real I/O. */
  async run<T>(promise: Promise<T>): Promise<T> {
    let isSettled = false;
    const settle = () => {
      isSettled = true;
    };
    promise.then(settle, settle);
    while (true) {
      await nextTurn();
      if (isSettled) return promise;
      const timer = this.#next();
      if (timer) this.#fire(timer);
    }
  }

  #next(): Timer | undefined {
    return [...this.#timers].sort((a, b) => a.atMs - b.atMs)[0];
  }

  #fire(timer: Timer): void {
    this.#timers.delete(timer);
    this.#nowMs = Math.max(this.#nowMs, timer.atMs);
    timer.callback();
  }
}
