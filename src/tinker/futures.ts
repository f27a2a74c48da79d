// The results that clients of Tinker's protocol ask for later. A request has an id that its client can repeat, so work that was
// started once is never started again.
import { ServeError } from '../common/errors.ts';
import { formatFileSize } from '../common/format-bytes.ts';
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
const MAX_RESULTS = 10_000;
/** A step of reinforcement draws some thousands of samples in parallel. */
const MAX_UNFINISHED = 10_000;
/** No tenant has more than a quarter of the unfinished requests, even if it is alone: others can begin without a wait. */
const MIN_SHARES = 4;
/** The requests in memory that wait, as the bytes that are kept of them. A prompt of 8,192 tokens takes 50 kB. */
const MAX_UNFINISHED_BYTES = 256 * 2 ** 20;
/** Results of a few thousand tokens are tens of kilobytes; with the best alternatives of each token, megabytes. */
const MAX_BYTES = 256 * 2 ** 20;

/** The most that `Futures` keeps. */
interface FuturesLimits {
  readonly maxResults?: number;
  readonly maxBytes?: number;
  /** The tenants share these two. */
  readonly maxUnfinished?: number;
  readonly maxUnfinishedBytes?: number;
}

/** Unfinished work, and the bytes that its requests take in memory. */
interface Load {
  readonly count: number;
  readonly bytes: number;
}

const NO_LOAD: Load = { count: 0, bytes: 0 };

/** A tenant's results. */
interface Results {
  /** By id, the oldest first. */
  readonly sizes: Map<string, number>;
  bytes: number;
}

/** Keeps unfinished work and the newest results. */
export class Futures {
  readonly #futures = new Map<string, Future>();
  /** By tenant, for those that have some. */
  readonly #unfinished = new Map<string, Load>();
  /** By tenant. */
  readonly #results = new Map<string, Results>();
  readonly #limits: Required<FuturesLimits>;
  #count = 0;
  #bytes = 0;

  constructor({
    maxResults = MAX_RESULTS,
    maxBytes = MAX_BYTES,
    maxUnfinished = MAX_UNFINISHED,
    maxUnfinishedBytes = MAX_UNFINISHED_BYTES,
  }: FuturesLimits = {}) {
    this.#limits = { maxResults, maxBytes, maxUnfinished, maxUnfinishedBytes };
  }

  /** Whether this work was started. */
  has(id: string): boolean {
    return this.#futures.has(id);
  }

  /**
   * Throws `ServeError` (429) if a tenant has as much unfinished work as it may. The more tenants have some, the smaller is the
   * share of each, but a new tenant always has one.
   * @param bytes of the request, if it is kept in memory
   */
  requireRoom(tenant: string, bytes = 0): void {
    const own = this.#unfinished.get(tenant);
    if (!own) return;
    const shares = Math.max(MIN_SHARES, this.#unfinished.size);
    const { maxUnfinished, maxUnfinishedBytes } = this.#limits;
    const share = Math.ceil(maxUnfinished / shares);
    const shareBytes = Math.ceil(maxUnfinishedBytes / shares);
    const isFull = own.count >= share;
    if (!isFull && own.bytes + bytes <= shareBytes) return;
    const [has, limit] = isFull
      ? [`${own.count} unfinished requests`, share]
      : [`unfinished requests of ${formatFileSize(own.bytes)}`, formatFileSize(shareBytes)];
    const message = `You have ${has}; your share of this server is ${limit}. Wait for results.`;
    throw new ServeError('rate_limit_exceeded', message);
  }

  /** Starts work, unless it was started before. @param bytes as in `requireRoom` */
  start(id: string, tenant: string, work: () => Promise<FutureValue>, bytes = 0): void {
    if (this.#futures.has(id)) return;
    const future = { tenant, outcome: { kind: 'pending' } as FutureOutcome };
    const result = work(); // may refuse
    this.#addLoad(tenant, { count: 1, bytes });
    const settle = (outcome: FutureOutcome) => {
      future.outcome = outcome;
      this.#addLoad(tenant, { count: -1, bytes: -bytes });
      this.#keep(id, tenant, sizeOf(outcome));
    };
    const settled = result.then(
      (value) => settle({ kind: 'done', value }),
      (error: unknown) => settle({ kind: 'failed', error }),
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

  #addLoad(tenant: string, change: Load): void {
    const now = this.#unfinished.get(tenant) ?? NO_LOAD;
    const next = { count: now.count + change.count, bytes: now.bytes + change.bytes };
    if (next.count === 0) this.#unfinished.delete(tenant);
    else this.#unfinished.set(tenant, next);
  }

  /** Keeps a result. Beyond the limits, the tenant with the most results, or with the most bytes, loses its oldest ones. */
  #keep(id: string, tenant: string, bytes: number): void {
    const own = this.#results.get(tenant) ?? { sizes: new Map(), bytes: 0 };
    this.#results.set(tenant, own);
    own.sizes.set(id, bytes);
    this.#addSize(own, 1, bytes);
    const { maxResults, maxBytes } = this.#limits;
    while (this.#count > maxResults) this.#dropOldest(({ sizes }) => sizes.size);
    while (this.#bytes > maxBytes) this.#dropOldest((one) => one.bytes);
  }

  /** Drops a result of the tenant with the largest weight. */
  #dropOldest(weightOf: (results: Results) => number): void {
    const [tenant, largest] = [...this.#results].reduce((most, one) =>
      weightOf(one[1]) > weightOf(most[1]) ? one : most,
    );
    const [id, bytes] = largest.sizes.entries().next().value!;
    this.#futures.delete(id);
    largest.sizes.delete(id);
    this.#addSize(largest, -1, -bytes);
    if (largest.sizes.size === 0) this.#results.delete(tenant);
  }

  #addSize(results: Results, count: number, bytes: number): void {
    this.#count += count;
    this.#bytes += bytes;
    results.bytes += bytes;
  }
}

/** Objects are small. */
function sizeOf(outcome: FutureOutcome): number {
  return outcome.kind === 'done' && outcome.value instanceof Uint8Array ? outcome.value.length : 0;
}
