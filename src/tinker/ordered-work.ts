// Runs a model's requests in the order of their numbers, which is not the order in which they arrive: a client sends the parts of
// a batch in parallel.
import { ServeError } from '../common/errors.ts';

/** A client has a step or two in flight, each of a few parts. */
const MAX_EARLY = 256;

/** Requests of one model. */
export class OrderedWork {
  /** Requests that came before an earlier one, by number. */
  readonly #early = new Map<number, () => void>();
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

  /** Throws `ServeError` if a number was used, or if too many wait for an earlier one. */
  check(number: number): void {
    if (number < this.#next || this.#early.has(number)) {
      throw new ServeError('expired', 'seq_id: the result of this request was dropped');
    }
    if (this.#early.size >= MAX_EARLY) {
      const message = `seq_id: ${MAX_EARLY} requests wait for an earlier one. Send request ${this.#next} first.`;
      throw new ServeError('rate_limit_exceeded', message, { param: 'seq_id' });
    }
  }

  /** Runs the work of a number after that of all smaller ones. Throws as `check`. */
  runInOrder<T>(number: number, work: () => Promise<T>): Promise<T> {
    this.check(number);
    return new Promise((resolve, reject) => {
      this.#early.set(number, () => this.run(work).then(resolve, reject));
      for (let start = this.#early.get(this.#next); start; start = this.#early.get(this.#next)) {
        this.#early.delete(this.#next++);
        start();
      }
    });
  }
}
