// The description of a metric, and functions that describe many briefly.

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

/** Metrics of one group by id: the name, a space and the help text. */
type Rows<Id extends string> = Readonly<Record<Id, string>>;

/** Describes counters with the same unit and labels. */
export const counters = group('counter');
/** Describes gauges with the same unit and labels. */
export const gauges = group('gauge');

function group<Kind extends 'counter' | 'gauge'>(kind: Kind) {
  return <const Labels extends readonly string[], Id extends string>(
    unit: Instrument['unit'],
    labels: Labels,
    rows: Rows<Id>,
  ) => describe(rows, { kind, unit, labels });
}

/** Describes histograms with the same unit, labels and buckets. */
export function histograms<const Labels extends readonly string[], Id extends string>(
  unit: Instrument['unit'],
  labels: Labels,
  buckets: readonly number[],
  rows: Rows<Id>,
) {
  return describe(rows, { kind: 'histogram' as const, unit, labels, buckets });
}

function describe<Id extends string, Shared>(rows: Rows<Id>, shared: Shared) {
  const described = Object.entries<string>(rows).map(([id, row]) => {
    const end = row.indexOf(' ');
    return [id, { ...shared, name: row.slice(0, end), help: row.slice(end + 1) }];
  });
  return Object.fromEntries(described) as Record<Id, Shared & { name: string; help: string }>;
}
