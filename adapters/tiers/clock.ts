// Time as the tiers need it, as an argument, so that tests need not wait; and waits that end. It knows nothing else.

export interface Clock {
  /** Monotonic milliseconds. */
  now(): number;
  /** Calls back once, unless the function that it answers was called before. */
  schedule(delayMs: number, callback: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  schedule(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
};

/** Resolves after the delay, or rejects with the signal's reason. */
export function sleep(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    const wake = () => {
      cancel();
      signal.removeEventListener('abort', leave);
      resolve();
    };
    const leave = () => {
      cancel();
      reject(signal.reason);
    };
    const cancel = clock.schedule(delayMs, wake);
    signal.addEventListener('abort', leave, { once: true });
  });
}

export interface Deadline extends Disposable {
  readonly signal: AbortSignal;
  /** Starts the time anew. */
  restart(ms: number, reason: Error): void;
  stop(): void;
}

/** A signal that aborts with its parent, or with `reason` when time is up. */
export function deadline(
  clock: Clock,
  { ms, reason, parent }: { ms: number; reason: Error; parent: AbortSignal },
): Deadline {
  const controller = new AbortController();
  const follow = () => controller.abort(parent.reason);
  if (parent.aborted) follow();
  parent.addEventListener('abort', follow, { once: true });
  let stop = clock.schedule(ms, () => controller.abort(reason));
  return {
    signal: controller.signal,
    restart(nextMs, nextReason) {
      stop();
      stop = clock.schedule(nextMs, () => controller.abort(nextReason));
    },
    stop: () => stop(),
    [Symbol.dispose]() {
      stop();
      parent.removeEventListener('abort', follow);
    },
  };
}

/** For a promise that may not hear the signal; it is left to itself then. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const leave = () => reject(signal.reason);
    if (signal.aborted) leave();
    signal.addEventListener('abort', leave, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave));
  });
}
