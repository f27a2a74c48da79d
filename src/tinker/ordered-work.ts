// Runs a model's requests in the order of their numbers, which is not the order in which they arrive: a client sends the parts of
// a batch in parallel.
import { ServeError } from '../common/errors.ts';

/** A client has a step or two in flight, each of a few parts. */
const MAX_EARLY = 256;

/** Requests of one model, numbered from 1. */
export class OrderedWork {
  /** Requests that came before an earlier one, by number. */
  readonly #early = new Map<number, () => void>();
  #next = 1;
  #last: Promise<unknown> = Promise.resolve();

  /** Runs work after everything that has started. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => {});
    return result;
  }

  /**
   * Runs the work of a number after that of all smaller ones. Throws `ServeError` if the number was used, or if too many wait for
   * an earlier one.
   */
  runInOrder<T>(number: number, work: () => Promise<T>): Promise<T> {
    if (number < this.#next || this.#early.has(number)) {
      throw new ServeError('expired', 'seq_id: the result of this request was dropped');
    }
    if (this.#early.size >= MAX_EARLY) {
      const message = `seq_id: ${MAX_EARLY} requests wait for an earlier one. Send request ${this.#next} first.`;
      throw new ServeError('rate_limit_exceeded', message, { param: 'seq_id' });
    }
    return new Promise((resolve, reject) => {
      this.#early.set(number, () => this.run(work).then(resolve, reject));
      for (let start = this.#early.get(this.#next); start; start = this.#early.get(this.#next)) {
        this.#early.delete(this.#next++);
        start();
      }
    });
  }
}
