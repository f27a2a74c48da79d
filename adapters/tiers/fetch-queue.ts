// Who fetches next: a bounded number at once, and between owners whoever has the fewest under way, so that nobody's
// many cold adapters hold up another's one. It knows no adapters and no store.
import { ServeError } from '../../src/common/errors.ts';

/** A hanging store holds so many fetches; each writes to the disk. */
const MAX_PARALLEL_FETCHES = 4;
/** Distinct adapters; requests for one adapter share its fetch. */
const MAX_WAITING_FETCHES = 512;

interface Waiting {
  readonly owner: string;
  start(): void;
}

export class FetchQueue {
  readonly #running = new Map<string, number>();
  readonly #waiting: Waiting[] = [];
  #runningCount = 0;

  get size(): number {
    return this.#runningCount + this.#waiting.length;
  }

  /** Runs the task when its turn comes. Rejects with `overloaded` where too many wait. */
  async run<T>(owner: string, task: () => Promise<T>): Promise<T> {
    if (this.#waiting.length >= MAX_WAITING_FETCHES) {
      throw new ServeError('overloaded', 'Too many adapters are being fetched.');
    }
    await new Promise<void>((start) => {
      this.#waiting.push({ owner, start });
      this.#startMore();
    });
    try {
      return await task();
    } finally {
      this.#runningCount--;
      this.#running.set(owner, this.#runningOf(owner) - 1);
      if (this.#runningOf(owner) === 0) this.#running.delete(owner);
      this.#startMore();
    }
  }

  #startMore(): void {
    while (this.#runningCount < MAX_PARALLEL_FETCHES && this.#waiting.length > 0) {
      const counts = this.#waiting.map(({ owner }) => this.#runningOf(owner));
      const next = counts.indexOf(Math.min(...counts)); // the oldest of the least served
      const [{ owner, start }] = this.#waiting.splice(next, 1) as [Waiting];
      this.#running.set(owner, this.#runningOf(owner) + 1);
      this.#runningCount++;
      start();
    }
  }

  #runningOf(owner: string): number {
    return this.#running.get(owner) ?? 0;
  }
}
