// An invariant that does not hold. Its message begins with the invariant's name.

/** Thrown by a check, and reported by the world. */
export class Violation extends Error {
  override name = 'Violation';
  readonly invariant: string;

  constructor(invariant: string, message: string) {
    super(`${invariant}: ${message}`);
    this.invariant = invariant;
  }
}
