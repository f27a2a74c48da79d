// Virtual time for several machines. Nothing happens between two events of the queue, so a run takes no real time, and its
// order follows from the seed.

import type { Clock } from '../../src/common/waiting.ts';
import { seededRandom } from '../fixtures.ts';

interface Timer {
  /** When it was to fire. */
  dueMs: number;
  /** When it fires: later than `dueMs` if its machine is frozen then. */
  atMs: number;
  readonly order: number;
  readonly callback: () => void;
  readonly machine: Machine;
  isCancelled: boolean;
}

/** The first moment, in Unix milliseconds. */
export const START_MS = Date.UTC(2026, 0, 1);
/** Turns of the event loop after which something must be running in circles. */
const MAX_TURNS = 10_000;

/** The time of all machines. */
export class VirtualTime {
  #nowMs = 0;
  #order = 0;
  readonly #machines: Machine[] = [];
  /** A binary heap by time, then by order. */
  readonly #heap: Timer[] = [];

  get nowMs(): number {
    return this.#nowMs;
  }

  /** Unix milliseconds. */
  get date(): number {
    return START_MS + Math.floor(this.#nowMs);
  }

  machine(seed: number): Machine {
    const machine = new Machine(this, seed);
    this.#machines.push(machine);
    return machine;
  }

  add(machine: Machine, delayMs: number, callback: () => void): Timer {
    const dueMs = this.#nowMs + Math.max(0, delayMs);
    const of = { callback, machine, isCancelled: false };
    const timer = { dueMs, atMs: dueMs, order: this.#order++, ...of };
    this.#push(timer);
    return timer;
  }

  /** Runs all events until then, and calls `check` after each, when everything that followed from it is done. */
  async runFor(ms: number, check: () => void = () => {}): Promise<void> {
    const endMs = this.#nowMs + ms;
    await settled();
    check();
    for (let timer = this.#heap[0]; timer && timer.atMs <= endMs; timer = this.#heap[0]) {
      this.#pop();
      if (timer.isCancelled || timer.machine.isDead) continue;
      this.#nowMs = Math.max(this.#nowMs, timer.atMs);
      const { frozenUntilMs } = timer.machine;
      if (frozenUntilMs > this.#nowMs) {
        timer.atMs = frozenUntilMs;
        this.#push(timer);
        continue;
      }
      timer.callback();
      await settled();
      check();
    }
    this.#nowMs = endMs;
  }

  /** All machines are suspended for a while. */
  skip(ms: number): void {
    this.#nowMs += ms;
    for (const timer of this.#heap) timer.dueMs += ms;
    for (const machine of this.#machines) machine.freeze(0);
    this.unfreeze();
  }

  /** Timers that a freeze postponed are due as if there was none; one that is not over postpones them again. */
  unfreeze(): void {
    for (const timer of this.#heap) timer.atMs = timer.dueMs;
    this.#heap.sort((a, b) => (isBefore(a, b) ? -1 : 1));
  }

  #push(timer: Timer): void {
    const heap = this.#heap;
    let at = heap.push(timer) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(timer, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = timer;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}

/** The clock of one machine, which can stop, jump and die. */
export class Machine implements Clock {
  readonly #time: VirtualTime;
  readonly #random: () => number;
  #skewMs = 0;
  isDead = false;
  frozenUntilMs = 0;

  constructor(time: VirtualTime, seed: number) {
    this.#time = time;
    const random = seededRandom(seed);
    this.#random = () => (random() + 1) / 2;
  }

  now = (): number => this.#time.nowMs;
  random = (): number => this.#random();
  /** Unix milliseconds by this machine's clock. */
  date = (): number => this.#time.date + this.#skewMs;

  schedule = (delayMs: number, callback: () => void): (() => void) => {
    if (delayMs === Number.POSITIVE_INFINITY) return () => {};
    const timer = this.#time.add(this, delayMs, callback);
    return () => {
      timer.isCancelled = true;
    };
  };

  /** An integer from 0 to `count` - 1. */
  draw(count: number): number {
    return Math.floor(this.random() * count);
  }

  jump(ms: number): void {
    this.#skewMs += ms;
  }

  /** Nothing happens on this machine for a while; afterwards everything that is due happens at once. */
  freeze(ms: number): void {
    this.frozenUntilMs = Math.max(this.frozenUntilMs, this.#time.nowMs + ms);
  }

  /** Ends a freeze. */
  thaw(): void {
    this.frozenUntilMs = Math.min(this.frozenUntilMs, this.#time.nowMs);
    this.#time.unfreeze();
  }

  /** Nothing happens on this machine any more. */
  kill(): void {
    this.isDead = true;
  }
}

function isBefore(a: Timer, b: Timer): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** Resolves when nothing is left to do without time passing. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < MAX_TURNS; turn++) {
    await new Promise((resolve) => setImmediate(resolve));
    if (!process.getActiveResourcesInfo().includes('Immediate')) return;
  }
  throw new Error('something runs in circles without time passing');
}
