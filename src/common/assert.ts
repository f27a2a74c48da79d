// Programmer's mistakes: conditions that no input may break. Bad input is a `ServeError` or a `FileError`.

export class AssertionError extends Error {
  override name = 'AssertionError';
}

/** Throws where an invariant of this program does not hold. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** Makes a switch over a union exhaustive: the compiler refuses a case that is left. */
export function assertNever(value: never): never {
  throw new AssertionError(`unexpected case: ${JSON.stringify(value)}`);
}
