// A queue of fetches with a limit on parallel ones. The owner with the fewest running fetches is next, so that one owner's
// many cold adapters do not delay another's. It knows no adapters and no store.
import { ServeError } from '../../src/common/errors.ts';

/** Each fetch writes to the disk, and a hanging store can block all of them. */
const MAX_PARALLEL_FETCHES = 4;
/** Counts distinct adapters, because requests for one adapter share its fetch. */
const MAX_WAITING_FETCHES = 512;

interface Waiting {
  readonly owner: string;
  start(): void;
}

/** A fair queue of fetches. */
export class FetchQueue {
  readonly #running = new Map<string, number>();
  readonly #waiting: Waiting[] = [];
  #runningCount = 0;

  /** Fetches that run or wait. */
  get size(): number {
    return this.#runningCount + this.#waiting.length;
  }

  /** Runs the task when its turn comes. Rejects with `ServeError` (`overloaded`) if too many wait. */
  async run<T>(owner: string, task: () => Promise<T>): Promise<T> {
    if (this.#waiting.length >= MAX_WAITING_FETCHES) {
      throw new ServeError('overloaded', 'Too many adapters are waiting to be fetched. Try again.');
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
