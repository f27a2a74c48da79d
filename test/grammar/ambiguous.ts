// An expression whose states have many positions and explode in number: after n letters there are 2^30 of them.

/** With this many alternatives. */
export function ambiguous(alternatives: number): string {
  const others = Array.from(
    { length: alternatives },
    (_, i) => `[QJ]*${String(i).padStart(4, '0')}`,
  );
  return `(?:[QJ]*Q[QJ]{30}t0|${others.join('|')})`;
}
