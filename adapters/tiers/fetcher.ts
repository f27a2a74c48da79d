// Fetches published adapters from the store, with deadlines, a few retries, a circuit breaker, and a short memory for failures.
// The caller writes the bytes.

import { LRUCache } from 'lru-cache';
import { entryLimit } from '../../src/common/entry-limit.ts';
import { ServeError } from '../../src/common/errors.ts';
import type { Logger } from '../../src/common/log.ts';
import { TurnQueue } from '../../src/common/turn-queue.ts';
import {
  type Backoff,
  type Clock,
  deadline,
  retry,
  systemClock,
  unlessAborted,
} from '../../src/common/waiting.ts';
import { keys, type VersionManifest } from '../repository/manifest.ts';
import { logStoreFault, type StoreFault } from '../store/guarded-store.ts';
import { type ObjectStore, StoreError } from '../store/store.ts';
import { CorruptContent, type OpenFile } from './disk.ts';

/** The store and the limits of a fetcher. */
interface FetcherOptions {
  readonly store: Pick<ObjectStore, 'get' | 'label'>;
  readonly log: Pick<Logger, 'warn' | 'error'>;
  readonly clock?: Clock;
  readonly deadlines?: Partial<FetchDeadlines>;
}

/** How long to wait for the store. */
interface FetchDeadlines {
  /** Until the store's first byte. */
  readonly firstByteMs: number;
  /** Between two chunks of a body. */
  readonly idleMs: number;
  /** For all tries of a fetch. */
  readonly totalMs: number;
}

/** S3 answers in 200 ms, or on its client's second try. The largest adapter (2 GiB) takes 40 s at 50 MB/s. */
const DEADLINES: FetchDeadlines = { firstByteMs: 10_000, idleMs: 5_000, totalMs: 60_000 };

type FaultKind = Exclude<StoreFault, 'conflict' | 'damaged'>;

interface FaultRule {
  readonly maxTries: number;
  /** Requests within this time fail with the same error. */
  readonly rememberMs: number;
  readonly code: 'adapter_unavailable' | 'adapter_checksum_mismatch';
}

const FAULTS: Record<FaultKind, FaultRule> = {
  // The drivers retry failed calls (S3's client three times), but not a body that breaks off.
  unavailable: { maxTries: 1, rememberMs: 1_000, code: 'adapter_unavailable' },
  interrupted: { maxTries: 3, rememberMs: 1_000, code: 'adapter_unavailable' },
  denied: { maxTries: 1, rememberMs: 5_000, code: 'adapter_unavailable' },
  invalid: { maxTries: 1, rememberMs: 5_000, code: 'adapter_unavailable' },
  missing: { maxTries: 1, rememberMs: 5_000, code: 'adapter_unavailable' },
  corrupt: { maxTries: 2, rememberMs: 30_000, code: 'adapter_checksum_mismatch' },
};
/**
 * Each fetch writes to the disk, and a hanging store can block all running fetches. Waiting fetches are for different adapters,
 * because requests for one adapter share a fetch.
 */
const FETCHES = {
  maxParallel: 4,
  maxWaiting: 512,
  maxPerTenant: 512,
  fullMessage: 'Too many adapters are waiting to be fetched. Try again.',
};
const MAX_REMEMBERED = 1_000;
const BACKOFF: Backoff = { firstMs: 200, longestMs: 1_000 };

/** A file in the manifest does not exist. */
class MissingObject extends Error {
  override name = 'MissingObject';
}

/** The store answered, but the body broke off. */
class InterruptedBody extends Error {
  override name = 'InterruptedBody';
}

/** Fetches versions, a few at a time. */
export class Fetcher {
  readonly #options: Required<Omit<FetcherOptions, 'deadlines'>>;
  readonly #deadlines: FetchDeadlines;
  readonly #queue = new TurnQueue(FETCHES);
  readonly #breaker = new CircuitBreaker();
  readonly #budget = new RetryBudget();
  readonly #failures: LRUCache<string, ServeError>;
  readonly #closed = new AbortController();

  constructor({ deadlines, ...options }: FetcherOptions) {
    this.#options = { clock: systemClock, ...options };
    this.#deadlines = { ...DEADLINES, ...deadlines };
    this.#failures = new LRUCache({
      ...entryLimit(MAX_REMEMBERED),
      ttl: FAULTS.unavailable.rememberMs,
      ttlResolution: 0,
      perf: this.#options.clock,
    });
  }

  /** The number of running and waiting fetches. */
  get size(): number {
    return this.#queue.size;
  }

  /** Whether fetches are suspended because the store does not answer. */
  get isPaused(): boolean {
    return this.#breaker.pauseMs(this.#options.clock.now()) > 0;
  }

  /**
   * Calls `write` with the version's files when it is the owner's turn, and again if a try fails. Rejects with `ServeError` or
   * the error of `write`.
   */
  async fetch(
    owner: string,
    manifest: VersionManifest,
    write: (open: OpenFile) => Promise<void>,
  ): Promise<void> {
    const id = `${owner}/${manifest.digest}`;
    const known = this.#failures.get(id);
    if (known) throw known;
    this.#refuseIfOpen();
    try {
      await this.#queue.take({ tenant: owner }, () => this.#attempt(manifest, write));
    } catch (error) {
      throw this.#toRefusal(id, manifest, error);
    }
  }

  /** Ends all fetches. */
  close(): void {
    this.#closed.abort(new ServeError('overloaded', 'The server is shutting down. Try again.'));
  }

  /** Fetches with retries, and reports one result to the breaker. */
  async #attempt(
    manifest: VersionManifest,
    write: (open: OpenFile) => Promise<void>,
  ): Promise<void> {
    const { clock } = this.#options;
    this.#refuseIfOpen();
    this.#breaker.started(clock.now());
    try {
      await this.#fetchWithRetries(manifest, write);
      this.#breaker.succeeded();
    } catch (error) {
      const kind = kindOf(error);
      if (kind === 'unavailable' || kind === 'interrupted') this.#breaker.failed(clock.now());
      else this.#breaker.succeeded();
      throw error;
    }
  }

  async #fetchWithRetries(
    manifest: VersionManifest,
    write: (open: OpenFile) => Promise<void>,
  ): Promise<void> {
    const { clock } = this.#options;
    const { totalMs } = this.#deadlines;
    const late = new StoreError('unavailable', `no adapter within ${totalMs} ms`);
    using total = deadline(totalMs, late, { clock, signal: this.#closed.signal });
    this.#budget.firstTry();
    await retry(() => write((name) => this.#read(manifest, name, total.signal)), {
      ...BACKOFF,
      clock,
      signal: total.signal,
      isRetryable: (error, attempt) => {
        const kind = kindOf(error);
        return kind !== undefined && attempt < FAULTS[kind].maxTries && this.#budget.take();
      },
    });
  }

  /** Yields the body of one file, with deadlines for the answer and for each chunk. */
  async *#read(
    manifest: VersionManifest,
    name: keyof VersionManifest['files'],
    total: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    const { store, clock } = this.#options;
    const key = keys.versionFile(manifest, name);
    const { firstByteMs, idleMs } = this.#deadlines;
    const late = (ms: number) => new StoreError('unavailable', `no byte of ${name} for ${ms} ms`);
    using wait = deadline(firstByteMs, late(firstByteMs), { clock, signal: total });
    const { signal } = wait;
    const object = await unlessAborted(store.get(key, { signal }), signal);
    if (!object) throw new MissingObject(`${name} is not in the store`);
    const body = object.body[Symbol.asyncIterator]();
    let isDone = false;
    try {
      while (true) {
        wait.restart(idleMs, late(idleMs));
        const next = await unlessAborted(body.next(), signal).catch(interrupted);
        wait.stop(); // the reader's time does not count
        isDone = next.done === true;
        if (isDone) return;
        yield next.value;
      }
    } finally {
      // Not awaited: the call never returns if the body hangs.
      if (!isDone) void body.return?.()?.catch(() => {});
    }
  }

  #refuseIfOpen(): void {
    const pauseMs = this.#breaker.pauseMs(this.#options.clock.now());
    if (pauseMs === 0) return;
    const retryAfterS = Math.ceil(pauseMs / 1000);
    throw new ServeError('adapter_unavailable', MESSAGES.adapter_unavailable, { retryAfterS });
  }

  /** Logs and remembers an error. Returns the error for the client. */
  #toRefusal(id: string, manifest: VersionManifest, error: unknown): unknown {
    const kind = kindOf(error);
    if (!kind) return error;
    const { log, store } = this.#options;
    const { code, rememberMs } = FAULTS[kind];
    const refusal = new ServeError(code, MESSAGES[code], { cause: error });
    this.#failures.set(id, refusal, { ttl: rememberMs });
    const { tenant, name, version } = manifest;
    const reason = (error as Error).message;
    const fields = {
      adapter: id,
      version: `${tenant}/${name}/${version}`,
      store: store.label,
      reason,
    };
    logStoreFault(log, kind, fields, 'adapter not fetched');
    return refusal;
  }
}

const MESSAGES = {
  adapter_unavailable: 'The adapter cannot be fetched now. Try again later.',
  adapter_checksum_mismatch: 'The stored adapter differs from the published one. Publish it again.',
} as const;

function interrupted(cause: unknown): never {
  if (!(cause instanceof StoreError)) throw cause;
  throw new InterruptedBody(cause.message, { cause });
}

/** Returns the kind of a store fault; undefined for other errors, which are passed on. */
function kindOf(error: unknown): FaultKind | undefined {
  if (error instanceof StoreError) {
    return error.kind === 'conflict' || error.kind === 'damaged' ? 'unavailable' : error.kind;
  }
  if (error instanceof InterruptedBody) return 'interrupted';
  if (error instanceof MissingObject) return 'missing';
  if (error instanceof CorruptContent) return 'corrupt';
  return undefined;
}

// A circuit breaker and a retry budget for a failing store. Both are pure: time is an argument.

/** This many failures in a row, of any adapters, open the breaker. */
const OPENS_AFTER = 5;
const OPEN_MS = 10_000;

/** Stops calls for a while after several failures in a row. */
class CircuitBreaker {
  #failures = 0;
  /** Set while it is open. */
  #openUntilMs: number | undefined;

  /** Returns the milliseconds until the next call may start; 0 if it may start now. */
  pauseMs(nowMs: number): number {
    return Math.max(0, (this.#openUntilMs ?? nowMs) - nowMs);
  }

  /** Notes that a call starts. If the breaker was open, others stay blocked until this call reports its result. */
  started(nowMs: number): void {
    if (this.#openUntilMs !== undefined) this.#openUntilMs = nowMs + OPEN_MS;
  }

  /** Notes that the store answered, even if it refused. */
  succeeded(): void {
    this.#failures = 0;
    this.#openUntilMs = undefined;
  }

  /** Notes that the store did not answer. */
  failed(nowMs: number): void {
    this.#failures++;
    if (this.#failures >= OPENS_AFTER) this.#openUntilMs = nowMs + OPEN_MS;
  }
}

/** Retries per call: few enough not to multiply the load on an overloaded store. */
const RETRY_SHARE = 0.1;
/** Retries that can be saved up, and the initial balance: a few faults in a row are normal. */
const RETRY_RESERVE = 10;

/** Limits retries to a share of all calls. */
export class RetryBudget {
  #tokens = RETRY_RESERVE;

  /** Notes a first try, which earns a fraction of a retry. */
  firstTry(): void {
    this.#tokens = Math.min(RETRY_RESERVE, this.#tokens + RETRY_SHARE);
  }

  /** Takes a retry from the budget. Returns false if it is empty. */
  take(): boolean {
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
