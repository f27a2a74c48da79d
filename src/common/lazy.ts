// A value that is computed on first use and then shared. A field that kept the promise would also keep a rejection, so one
// temporary failure (too many open files, a full disk) would fail every later caller.

/** A value that is computed on first use. */
export interface Lazy<T> {
  /** Resolves with the value. The first call computes it. After a failure the next call retries. */
  get(): Promise<T>;
  /** The value or the attempt in progress. Undefined before the first call and after a failure. */
  peek(): Promise<T> | undefined;
}

/** Returns a value that `make` computes on first use. Callers during an attempt share its result or error. */
export function lazy<T>(make: () => Promise<T>): Lazy<T> {
  let value: Promise<T> | undefined;
  const start = async () => make();
  return {
    get() {
      if (value) return value;
      value = start();
      value.catch(() => {
        value = undefined;
      });
      return value;
    },
    peek: () => value,
  };
}
