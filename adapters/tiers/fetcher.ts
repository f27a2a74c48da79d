// Reads published adapters from the store, with patience that ends: deadlines, few tries, a breaker, a short memory of
// failures. Where the bytes go is an argument. It knows no requests and no engine.
import { LRUCache } from 'lru-cache';
import { ServeError } from '../../src/common/errors.ts';
import type { Logger } from '../../src/common/log.ts';
import {
  type Backoff,
  type Clock,
  deadline,
  retry,
  systemClock,
  unlessAborted,
} from '../../src/common/waiting.ts';
import { keys, type VersionManifest } from '../repository/manifest.ts';
import { logStoreFault, type StoreFault } from '../store/alerts.ts';
import { type ObjectStore, StoreError } from '../store/store.ts';
import { Breaker, RetryBudget } from './breaker.ts';
import { CorruptContent, type OpenFile } from './disk.ts';
import { FetchQueue } from './fetch-queue.ts';

export interface FetcherOptions {
  readonly store: Pick<ObjectStore, 'get' | 'label'>;
  readonly log: Pick<Logger, 'warn' | 'error'>;
  readonly clock?: Clock;
  /** In [0, 1). */
  readonly random?: () => number;
  readonly deadlines?: Partial<FetchDeadlines>;
}

export interface FetchDeadlines {
  /** Until the store's first answer. */
  readonly firstByteMs: number;
  /** Between two pieces of a body. */
  readonly idleMs: number;
  /** For a fetch, all its tries together. */
  readonly totalMs: number;
}

/** S3 answers in 200 ms, or at its client's second try; the largest adapter (2 GiB) comes in 40 s at 50 MB/s. */
const DEADLINES: FetchDeadlines = { firstByteMs: 10_000, idleMs: 5_000, totalMs: 60_000 };

type FaultKind = Exclude<StoreFault, 'conflict' | 'damaged'>;

interface FaultRule {
  readonly maxTries: number;
  /** Whoever asks again sooner gets the same answer. */
  readonly rememberMs: number;
  readonly code: 'adapter_unavailable' | 'adapter_checksum_mismatch';
}

const FAULTS: Record<FaultKind, FaultRule> = {
  /** A store tries again by itself where that may help (S3's client: three times); a body that breaks off is ours. */
  unavailable: { maxTries: 1, rememberMs: 1_000, code: 'adapter_unavailable' },
  interrupted: { maxTries: 3, rememberMs: 1_000, code: 'adapter_unavailable' },
  denied: {
    maxTries: 1,
    rememberMs: 5_000,
    code: 'adapter_unavailable',
  },
  invalid: {
    maxTries: 1,
    rememberMs: 5_000,
    code: 'adapter_unavailable',
  },
  missing: {
    maxTries: 1,
    rememberMs: 5_000,
    code: 'adapter_unavailable',
  },
  corrupt: {
    maxTries: 2,
    rememberMs: 30_000,
    code: 'adapter_checksum_mismatch',
  },
};
const MAX_REMEMBERED = 1_000;
const BACKOFF: Backoff = { firstMs: 200, longestMs: 1_000 };

/** A manifest names a file that is not there. */
class MissingObject extends Error {
  override name = 'MissingObject';
}

/** The store answered, then its body failed. */
class InterruptedBody extends Error {
  override name = 'InterruptedBody';
}

export class Fetcher {
  readonly #options: Required<Omit<FetcherOptions, 'deadlines'>>;
  readonly #deadlines: FetchDeadlines;
  readonly #queue = new FetchQueue();
  readonly #breaker = new Breaker();
  readonly #budget = new RetryBudget();
  readonly #failures: LRUCache<string, ServeError>;
  readonly #closed = new AbortController();

  constructor({ deadlines, ...options }: FetcherOptions) {
    this.#options = { clock: systemClock, random: Math.random, ...options };
    this.#deadlines = { ...DEADLINES, ...deadlines };
    this.#failures = new LRUCache({
      max: MAX_REMEMBERED,
      ttl: FAULTS.unavailable.rememberMs,
      ttlResolution: 0,
      perf: this.#options.clock,
    });
  }

  /** Under way or waiting. */
  get size(): number {
    return this.#queue.size;
  }

  /** Whether the breaker is open: nobody asks, as the store does not answer. */
  get isPaused(): boolean {
    return this.#breaker.pauseMs(this.#options.clock.now()) > 0;
  }

  /**
   * Gives `write` the version's files when its turn comes; more than once where a try fails. Rejects with `ServeError`,
   * or with what `write` itself throws. Whoever asks is `owner`.
   */
  async fetch(
    owner: string,
    manifest: VersionManifest,
    write: (open: OpenFile) => Promise<void>,
  ): Promise<void> {
    const id = `${owner}/${manifest.digest}`;
    const known = this.#failures.get(id);
    if (known) throw known;
    this.#refuseInPause();
    try {
      await this.#queue.run(owner, () => this.#ask(manifest, write));
    } catch (error) {
      throw this.#toRefusal(id, manifest, error);
    }
  }

  /** Ends what is under way. */
  close(): void {
    this.#closed.abort(new ServeError('overloaded', 'The server is shutting down.'));
  }

  /** Tries, and tells the breaker how it went: once, as all tries are about one object. */
  async #ask(manifest: VersionManifest, write: (open: OpenFile) => Promise<void>): Promise<void> {
    const { clock } = this.#options;
    this.#refuseInPause();
    this.#breaker.asks(clock.now());
    try {
      await this.#tries(manifest, write);
      this.#breaker.succeeded();
    } catch (error) {
      const kind = kindOf(error);
      if (kind === 'unavailable' || kind === 'interrupted') this.#breaker.failed(clock.now());
      else this.#breaker.succeeded();
      throw error;
    }
  }

  async #tries(manifest: VersionManifest, write: (open: OpenFile) => Promise<void>): Promise<void> {
    const { clock, random } = this.#options;
    const { totalMs } = this.#deadlines;
    const late = new StoreError('unavailable', `no adapter within ${totalMs} ms`);
    using total = deadline(totalMs, late, { clock, signal: this.#closed.signal });
    this.#budget.firstTry();
    await retry(() => write((name) => this.#read(manifest, name, total.signal)), {
      ...BACKOFF,
      clock,
      random,
      signal: total.signal,
      isRetryable: (error, attempt) => {
        const kind = kindOf(error);
        return kind !== undefined && attempt < FAULTS[kind].maxTries && this.#budget.take();
      },
    });
  }

  /** The body of one file, with a deadline for the first answer and between its pieces. */
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
        wait.stop(); // what the reader does with it is no silence of the store's
        isDone = next.done === true;
        if (isDone) return;
        yield next.value;
      }
    } finally {
      // Not awaited: a body that hangs is ended by the signal, not by waiting for its next piece.
      if (!isDone) void body.return?.()?.catch(() => {});
    }
  }

  #refuseInPause(): void {
    const pauseMs = this.#breaker.pauseMs(this.#options.clock.now());
    if (pauseMs === 0) return;
    const retryAfterS = Math.ceil(pauseMs / 1000);
    throw new ServeError('adapter_unavailable', MESSAGES.adapter_unavailable, { retryAfterS });
  }

  /** What a client is told, remembered and logged; the reason is for the log only. */
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
  adapter_unavailable: 'The adapter cannot be fetched now.',
  adapter_checksum_mismatch: 'The stored adapter is not what was published.',
} as const;

function interrupted(cause: unknown): never {
  if (!(cause instanceof StoreError)) throw cause;
  throw new InterruptedBody(cause.message, { cause });
}

/** Undefined for what is no fault of the store's: it is passed on. */
function kindOf(error: unknown): FaultKind | undefined {
  if (error instanceof StoreError) {
    return error.kind === 'conflict' || error.kind === 'damaged' ? 'unavailable' : error.kind;
  }
  if (error instanceof InterruptedBody) return 'interrupted';
  if (error instanceof MissingObject) return 'missing';
  if (error instanceof CorruptContent) return 'corrupt';
  return undefined;
}
