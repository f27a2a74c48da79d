// Runs a model's requests in the order of their numbers, which is not the order in which they arrive: a client sends the parts of
// a batch in parallel.
import { ServeError } from '../common/errors.ts';

/** A client has a step or two in flight, each of a few parts. */
const MAX_EARLY = 256;

/** Requests of one model. */
export class OrderedWork {
  /** Starts the requests that came before an earlier one, by number. Undefined: the number is only reserved yet. */
  readonly #early = new Map<number, (() => void) | undefined>();
  #next: number;
  #last: Promise<unknown> = Promise.resolve();

  /** @param next the number of the first request */
  constructor(next = 0) {
    this.#next = next;
  }

  /** Runs work after everything that has started. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => {});
    return result;
  }

  /** Reserves a number. Throws `ServeError` if it was used, or if too many wait for an earlier one. */
  reserve(number: number): void {
    if (number < this.#next || this.#early.has(number)) {
      const message = 'seq_id: this number was used, or the requests after it did not wait for it';
      throw new ServeError('expired', message, { param: 'seq_id' });
    }
    if (number !== this.#next && this.#early.size >= MAX_EARLY) {
      const message = `seq_id: ${MAX_EARLY} requests wait for an earlier one. Send request ${this.#next} first.`;
      throw new ServeError('rate_limit_exceeded', message, { param: 'seq_id' });
    }
    this.#early.set(number, undefined);
  }

  /** Whether other requests wait for this number. */
  isAwaited(number: number): boolean {
    return number === this.#next && this.#early.size > 0;
  }

  /** Gives a reserved number back. */
  release(number: number): void {
    this.#early.delete(number);
  }

  /** Runs the work of a number, which need not be reserved, after that of all smaller ones. */
  runInOrder<T>(number: number, work: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#early.set(number, () => this.run(work).then(resolve, reject));
      this.#startNext();
    });
  }

  /** Starts the requests that wait for numbers that have not arrived. Those numbers cannot be used any more. */
  skipMissing(): void {
    for (const number of [...this.#early.keys()].sort((a, b) => a - b)) {
      this.#next = Math.max(this.#next, number);
      this.#startNext();
      if (this.#early.has(number)) return; // it is reserved, so its work follows
    }
  }

  #startNext(): void {
    for (let start = this.#early.get(this.#next); start; start = this.#early.get(this.#next)) {
      this.#early.delete(this.#next++);
      start();
    }
  }
}
