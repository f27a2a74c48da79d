// A value that takes time to make: made at its first use and shared from then on. Keeping the promise in a field would
// also keep a rejection, and one passing failure (too many open files, a full disk) would then answer every later caller.

export interface Lazy<T> {
  /** Resolves with the value, which the first call makes. If making it fails, the next call tries again. */
  get(): Promise<T>;
  /** The value or the attempt to make it; undefined before the first call and after a failure. */
  peek(): Promise<T> | undefined;
}

/** Returns a value that `make` makes when it is first asked for. Callers during an attempt share it, and its error. */
export function lazy<T>(make: () => Promise<T>): Lazy<T> {
  let made: Promise<T> | undefined;
  const start = async () => make();
  return {
    get() {
      if (made) return made;
      const attempt = start();
      made = attempt;
      attempt.catch(() => {
        made = undefined;
      });
      return attempt;
    },
    peek: () => made,
  };
}
