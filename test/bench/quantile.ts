// Order statistics of measurements. Pure: it knows no units.

/** Returns a quantile, interpolated. `share` is in [0, 1]: 0.5 is the median. */
export function quantile(values: readonly number[], share: number): number {
  if (values.length === 0) throw new Error('nothing was measured');
  const sorted = [...values].sort((a, b) => a - b);
  const at = share * (sorted.length - 1);
  const low = sorted[Math.floor(at)]!;
  return low + (sorted[Math.ceil(at)]! - low) * (at - Math.floor(at));
}

/** Returns the median; undefined if there are no values. */
export function median(values: readonly number[] = []): number | undefined {
  return values.length === 0 ? undefined : quantile(values, 0.5);
}
