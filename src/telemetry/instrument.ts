// The description of one metric, and functions that write it briefly.

/** A metric. */
export interface Instrument {
  readonly kind: 'counter' | 'gauge' | 'histogram';
  /** A name with dots is OpenTelemetry's, and Prometheus's is derived from it. Other names are the same in both. */
  readonly name: string;
  /** A UCUM unit. */
  readonly unit:
    | 's'
    | 'By'
    | '1'
    | '{token}'
    | '{request}'
    | '{adapter}'
    | '{row}'
    | '{line}'
    | '{step}'
    | '{block}';
  readonly help: string;
  readonly labels: readonly string[];
  /** The upper bounds of a histogram's buckets, ascending and without infinity. */
  readonly buckets?: readonly number[];
}

/** Describes a counter. */
export const counter = instrument('counter');
/** Describes a gauge. */
export const gauge = instrument('gauge');

function instrument<K extends 'counter' | 'gauge'>(kind: K) {
  return <const L extends readonly string[]>(
    name: string,
    unit: Instrument['unit'],
    help: string,
    labels: L,
  ) => ({ kind, name, unit, help, labels });
}

/** Describes a histogram. */
export function histogram<const L extends readonly string[]>(
  name: string,
  unit: Instrument['unit'],
  help: string,
  labels: L,
  buckets: readonly number[],
) {
  return { kind: 'histogram' as const, name, unit, help, labels, buckets };
}
