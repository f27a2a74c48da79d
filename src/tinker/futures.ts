// The results that clients of Tinker's protocol ask for later. A request has an id that its client can repeat, so work that was
// started once is never started again.
import { ServeError } from '../common/errors.ts';
import { orAfter } from '../common/waiting.ts';

/** A result: JSON, or bytes of a protobuf message. */
export type FutureValue = object | Uint8Array;

/** The state of a future. */
export type FutureOutcome =
  | { readonly kind: 'pending' }
  | { readonly kind: 'done'; readonly value: FutureValue }
  | { readonly kind: 'failed'; readonly error: unknown };

interface Future {
  readonly tenant: string;
  outcome: FutureOutcome;
  readonly settled: Promise<void>;
}

/** A client fetches each result within seconds. */
const MAX_FUTURES = 10_000;
/** Results of a few thousand tokens are tens of kilobytes; with the best alternatives of each token, megabytes. */
const MAX_BYTES = 256 * 2 ** 20;

/** Keeps the newest results. */
export class Futures {
  readonly #futures = new Map<string, Future>();
  readonly #max: number;
  readonly #maxBytes: number;
  #bytes = 0;

  constructor(max = MAX_FUTURES, maxBytes = MAX_BYTES) {
    this.#max = max;
    this.#maxBytes = maxBytes;
  }

  /** Whether this work was started. */
  has(id: string): boolean {
    return this.#futures.has(id);
  }

  /** Starts work, unless it was started before. Throws `ServeError` (429) if too much is unfinished. */
  start(id: string, tenant: string, work: () => Promise<FutureValue>): void {
    if (this.#futures.has(id)) return;
    this.#makeRoom();
    const future = { tenant, outcome: { kind: 'pending' } as FutureOutcome };
    const settled = work().then(
      (value) => {
        future.outcome = { kind: 'done', value };
        this.#bytes += sizeOf(future.outcome);
      },
      (error: unknown) => {
        future.outcome = { kind: 'failed', error };
      },
    );
    this.#futures.set(id, Object.assign(future, { settled }));
  }

  /** Waits for a result, at most for this time. Throws `ServeError` (410) if it is unknown or no longer kept. */
  async wait(id: string, tenant: string, ms: number): Promise<FutureOutcome> {
    const future = this.#futures.get(id);
    if (future?.tenant !== tenant) {
      throw new ServeError('expired', 'This result is unknown or was dropped. Repeat the request.');
    }
    await orAfter(future.settled, ms, undefined);
    return future.outcome;
  }

  /** Removes the oldest results. */
  #makeRoom(): void {
    for (const [id, { outcome }] of this.#futures) {
      if (this.#futures.size < this.#max && this.#bytes <= this.#maxBytes) return;
      if (outcome.kind === 'pending') continue;
      this.#futures.delete(id);
      this.#bytes -= sizeOf(outcome);
    }
    if (this.#futures.size < this.#max) return;
    throw new ServeError(
      'rate_limit_exceeded',
      'Too many requests are unfinished. Try again later.',
    );
  }
}

/** Objects are small. */
function sizeOf(outcome: FutureOutcome): number {
  return outcome.kind === 'done' && outcome.value instanceof Uint8Array ? outcome.value.length : 0;
}
