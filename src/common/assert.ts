// Assertions against programming mistakes: conditions that no input can break. Bad input is a `ServeError` or `FileError`.

/** A bug in this program. */
export class AssertionError extends Error {
  override name = 'AssertionError';
}

/** Throws `AssertionError` if an invariant of this program does not hold. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** Makes a switch over a union exhaustive: a missing case does not compile. */
export function assertNever(value: never): never {
  throw new AssertionError(`unexpected case: ${JSON.stringify(value)}`);
}
