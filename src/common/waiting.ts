// Ways to wait: sleeping, deadlines, and retries with backoff. Time and randomness are arguments, so that tests do not wait.

/** A source of time. */
export interface Clock {
  /** Returns monotonic milliseconds. */
  now(): number;
  /** Calls back once after the delay. The returned function cancels the call. */
  schedule(delayMs: number, callback: () => void): () => void;
  /** A random number in [0, 1) that spreads retries. Default: `Math.random`. */
  random?(): number;
}

/** The machine's own clock. */
export const systemClock: Clock = {
  now: () => performance.now(),
  schedule(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
};

/** The signal that ends a wait early, and the clock. */
interface WaitOptions {
  readonly signal?: AbortSignal | undefined;
  readonly clock?: Clock;
}

/** Resolves after the delay. Rejects with the signal's reason if it aborts first. */
export async function sleep(
  delayMs: number,
  { signal, clock = systemClock }: WaitOptions = {},
): Promise<void> {
  let cancel = () => {};
  const delay = new Promise<void>((resolve) => {
    cancel = clock.schedule(delayMs, resolve);
  });
  try {
    await unlessAborted(delay, signal);
  } finally {
    cancel();
  }
}

/** A signal that aborts when time is up. Dispose of it when the work is done. */
export interface Deadline extends Disposable {
  readonly signal: AbortSignal;
  /** Allows another `ms` milliseconds from now. If a reason is given, later aborts with that one. */
  restart(ms: number, reason?: Error): void;
  /** Stops the clock until the next `restart`. */
  stop(): void;
}

/** Returns a signal that aborts with `reason` after `ms` milliseconds, or with its parent. */
export function deadline(
  ms: number,
  reason: Error,
  { signal: parent, clock = systemClock }: WaitOptions = {},
): Deadline {
  const controller = new AbortController();
  const follow = () => controller.abort(parent!.reason);
  if (parent?.aborted) follow();
  parent?.addEventListener('abort', follow, { once: true });
  let stop = clock.schedule(ms, () => controller.abort(reason));
  return {
    signal: controller.signal,
    restart(nextMs, nextReason = reason) {
      stop();
      stop = clock.schedule(nextMs, () => controller.abort(nextReason));
    },
    stop: () => stop(),
    [Symbol.dispose]() {
      stop();
      parent?.removeEventListener('abort', follow);
    },
  };
}

/** Settles as the promise does, or rejects with the signal's reason. Useful for promises that ignore the signal. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const leave = () => reject(signal.reason);
    if (signal.aborted) leave();
    signal.addEventListener('abort', leave, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave));
  });
}

/** A promise with the functions that settle it. */
export interface Resolvers<T> {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: Error) => void;
}

/** `Promise.withResolvers`, which Node 20 lacks. The promise may be ignored: its rejection is never unhandled. */
export function withResolvers<T>(): Resolvers<T> {
  let resolvers: Omit<Resolvers<T>, 'promise'> | undefined;
  const promise = new Promise<T>((resolve, reject) => {
    resolvers = { resolve, reject };
  });
  promise.catch(() => {});
  return { promise, ...resolvers! };
}

/** Calls back every `ms` milliseconds. Returns a function that stops the calls. */
export function every(ms: number, callback: () => void, clock: Clock = systemClock): () => void {
  let cancel = () => {};
  const next = () => {
    cancel = clock.schedule(ms, () => {
      next();
      callback();
    });
  };
  next();
  return () => cancel();
}

const TIMEOUT_TICKS = 20;

/**
 * Calls `action` after `ms` milliseconds during which the event loop ran. After a SIGSTOP or a suspended machine, an
 * ordinary timer fires before the loop has read the messages that arrived meanwhile; here a pause counts as at most a
 * twentieth of `ms`. Returns a function that cancels the timeout.
 */
export function setLoopTimeout(
  action: () => void,
  ms: number,
  clock: Clock = systemClock,
): () => void {
  let ticks = 0;
  let cancel = () => {};
  const tick = () => {
    if (ticks++ < TIMEOUT_TICKS) cancel = clock.schedule(ms / TIMEOUT_TICKS, tick);
    else action();
  };
  tick();
  return () => cancel();
}

/** Settles as the promise does, or resolves with `late` after `ms` milliseconds. */
export async function orAfter<T, L>(
  promise: Promise<T>,
  ms: number,
  late: L,
  clock: Clock = systemClock,
): Promise<T | L> {
  let cancel = () => {};
  const timeout = new Promise<L>((resolve) => {
    cancel = clock.schedule(ms, () => resolve(late));
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    cancel();
  }
}

/** The bounds of exponential backoff. */
export interface Backoff {
  /** The longest delay before the second try. It doubles with each try. */
  readonly firstMs: number;
  /** The upper limit of all delays. */
  readonly longestMs: number;
}

/**
 * Returns the delay after the given try, counted from 1: exponential backoff with full jitter, so that clients that
 * collided once do not collide again. `random` is in [0, 1).
 */
export function backoffMs(
  attempt: number,
  { firstMs, longestMs }: Backoff,
  random: () => number = Math.random,
): number {
  return random() * Math.min(longestMs, firstMs * 2 ** (attempt - 1));
}

/** When `retry` retries. */
interface RetryOptions extends Backoff, WaitOptions {
  /** The most tries. Default: no limit. */
  readonly maxTries?: number;
  /** Whether a retry may help. Called after each failed try but the last. Default: always. */
  readonly isRetryable?: (error: unknown, attempt: number) => boolean;
  /** The shortest delay after this error, such as a server's `retry-after`. Never more than `longestMs`. */
  readonly minDelayMs?: (error: unknown) => number;
}

/**
 * Runs `work` until it succeeds, with backoff between the tries. Rejects with the last error if a retry is not worthwhile, and
 * with the signal's reason if the signal aborts.
 */
export async function retry<T>(
  work: (attempt: number) => Promise<T>,
  options: RetryOptions,
): Promise<T> {
  const { maxTries = Infinity, isRetryable = () => true, minDelayMs = () => 0, clock } = options;
  for (let attempt = 1; ; attempt++) {
    options.signal?.throwIfAborted();
    try {
      return await work(attempt);
    } catch (error) {
      options.signal?.throwIfAborted();
      if (attempt >= maxTries || !isRetryable(error, attempt)) throw error;
      const atLeastMs = Math.min(minDelayMs(error), options.longestMs);
      await sleep(Math.max(atLeastMs, backoffMs(attempt, options, clock?.random)), options);
    }
  }
}
