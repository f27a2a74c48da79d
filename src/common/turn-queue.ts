// Runs tasks one after the other. Tenants take turns, so that one with many tasks does not delay the single task of another.
import { ServeError } from './errors.ts';

/** Who wants a task done. */
export interface Caller {
  readonly tenant: string;
  /** Ends the wait. A task that has begun goes on. */
  readonly signal?: AbortSignal | undefined;
}

/** The limits of a queue. */
export interface TurnQueueOptions {
  /** The tasks of all tenants. One tenant may have half of them. */
  readonly maxWaiting: number;
}

/** A queue of tasks. */
export class TurnQueue {
  readonly #maxWaiting: number;
  /** Tenant → its waiting tasks, oldest first. The tenants are in the order of their turns. */
  readonly #waiting = new Map<string, (() => Promise<unknown>)[]>();
  #isRunning = false;

  constructor({ maxWaiting }: TurnQueueOptions) {
    this.#maxWaiting = maxWaiting;
  }

  /**
   * Runs a task when it is its turn, and settles as it does. Rejects with the reason of the caller's signal, and with `ServeError`
   * if too many tasks wait: `overloaded`, or `rate_limit_exceeded` if they are those of its tenant.
   */
  take<T>({ tenant, signal }: Caller, task: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      signal?.throwIfAborted();
      this.#requireRoom(tenant);
      const leave = () => {
        this.#remove(tenant, start);
        reject(signal!.reason);
      };
      const start = () => {
        const ended = task().finally(() => signal?.removeEventListener('abort', leave));
        ended.then(resolve, reject);
        return ended;
      };
      signal?.addEventListener('abort', leave, { once: true });
      this.#waiting.set(tenant, [...(this.#waiting.get(tenant) ?? []), start]);
      this.#startNext();
    });
  }

  #requireRoom(tenant: string): void {
    const own = this.#waiting.get(tenant)?.length ?? 0;
    const all = [...this.#waiting.values()].reduce((sum, { length }) => sum + length, 0);
    if (all >= this.#maxWaiting) {
      throw new ServeError('overloaded', 'Too many requests are being prepared. Try again later.');
    }
    if (own < this.#maxWaiting / 2) return;
    const message = 'Too many of your requests are being prepared. Wait until some are answered.';
    throw new ServeError('rate_limit_exceeded', message);
  }

  #startNext(): void {
    const [next] = this.#waiting;
    if (this.#isRunning || !next) return;
    const [tenant, [start]] = next;
    this.#remove(tenant, start!);
    const rest = this.#waiting.get(tenant);
    if (rest) {
      this.#waiting.delete(tenant); // it comes after the others
      this.#waiting.set(tenant, rest);
    }
    this.#isRunning = true;
    const proceed = () => {
      this.#isRunning = false;
      this.#startNext();
    };
    void start!().then(proceed, proceed);
  }

  #remove(tenant: string, task: () => Promise<unknown>): void {
    const rest = this.#waiting.get(tenant)?.filter((other) => other !== task) ?? [];
    if (rest.length > 0) this.#waiting.set(tenant, rest);
    else this.#waiting.delete(tenant);
  }
}
