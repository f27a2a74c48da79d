// The values of a line chart.

/** The x values, then the values of each line; null: not measured. */
export type Points = [number[], ...(number | null)[][]];
