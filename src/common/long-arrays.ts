// What `Math.min`, `Math.max` and `push` do, for arrays of any length. A call with spread arguments puts each on the stack, which
// overflows above about 100,000 of them. `spread-arguments.grit` forbids such calls.

/** Returns the smallest of the values; Infinity if there are none. */
export function smallest(values: Iterable<number>): number {
  let result = Number.POSITIVE_INFINITY;
  for (const value of values) result = Math.min(result, value);
  return result;
}

/** Returns the largest of the values; -Infinity if there are none. */
export function largest(values: Iterable<number>): number {
  let result = Number.NEGATIVE_INFINITY;
  for (const value of values) result = Math.max(result, value);
  return result;
}

/** Appends items to an array. */
export function append<T>(to: T[], items: Iterable<T>): void {
  for (const item of items) to.push(item);
}
