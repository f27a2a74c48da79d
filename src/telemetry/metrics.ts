// Holds the values of all metrics, each as a map of series. Readers (the text of /metrics, OTLP) take snapshots.
import { assert } from '../common/assert.ts';
import type { Instrument } from './instruments.ts';
import {
  type CounterId,
  type HistogramId,
  INSTRUMENTS,
  type InstrumentId,
  type LabelsOf,
  type SettableId,
} from './instruments.ts';

/** The state of a histogram. The last bucket counts values above all bounds. */
export interface Distribution {
  readonly counts: number[];
  sum: number;
  count: number;
}

/** The value of an instrument for one combination of labels. */
export interface Series {
  /** In the order of the instrument's labels. */
  readonly labelValues: readonly string[];
  /** The value of a counter or gauge. */
  value: number;
  /** The distribution of a histogram. */
  readonly distribution: Distribution | undefined;
}

/** An instrument with its series. */
export interface MetricFamily {
  readonly instrument: Instrument;
  readonly series: readonly Series[];
}

type Labels = Readonly<Record<string, string>>;
const IDS = Object.keys(INSTRUMENTS) as InstrumentId[];

/** The values of all instruments. */
export class Metrics {
  readonly #families = new Map(IDS.map((id) => [id, new Map<string, Series>()]));
  readonly #collectors: (() => void | Promise<void>)[] = [];

  /** Adds `amount` to the counter's series with these label values. */
  add<I extends CounterId>(id: I, labels: LabelsOf<I>, amount = 1): void {
    this.#series(id, labels).value += amount;
  }

  /** Adds a value to a histogram. */
  observe<I extends HistogramId>(id: I, labels: LabelsOf<I>, value: number): void {
    const { distribution } = this.#series(id, labels);
    assert(distribution, 'a histogram has distributions');
    const { buckets } = INSTRUMENTS[id];
    const bucket = buckets.findIndex((bound) => value <= bound);
    distribution.counts[bucket < 0 ? buckets.length : bucket]!++;
    distribution.sum += value;
    distribution.count++;
  }

  /** Sets the value of a gauge, or of a counter that another process maintains. */
  set<I extends SettableId>(id: I, labels: LabelsOf<I>, value: number): void {
    this.#series(id, labels).value = value;
  }

  /** Sets a value and deletes all other series of the instrument. */
  setOnly<I extends SettableId>(id: I, labels: LabelsOf<I>, value: number): void {
    this.#families.get(id)!.clear();
    this.set(id, labels, value);
  }

  /** Deletes all series with these label values. */
  drop(labels: Labels): void {
    for (const id of IDS) {
      for (const [key] of this.#matches(id, labels)) this.#families.get(id)!.delete(key);
    }
  }

  /** Calls `collect` before metrics are read, to set values that are only read on demand. */
  onCollect(collect: () => void | Promise<void>): void {
    this.#collectors.push(collect);
  }

  /** Sets the values that are only read on demand. */
  async collect(): Promise<void> {
    await Promise.all(this.#collectors.map((collect) => collect()));
  }

  /** Returns all instruments that have a value. */
  async snapshot(): Promise<MetricFamily[]> {
    await this.collect();
    return this.families(IDS);
  }

  /** Returns the instruments that have a value, as they were set last. */
  families(ids: readonly InstrumentId[]): MetricFamily[] {
    return ids
      .map((id) => ({
        instrument: INSTRUMENTS[id],
        series: [...this.#families.get(id)!.values()],
      }))
      .filter(({ series }) => series.length > 0);
  }

  /** Returns labels and distributions of an instrument's series with these label values. */
  find<I extends InstrumentId>(id: I, labels: Partial<LabelsOf<I>> = {}) {
    return this.#matches(id, labels).map(([, { labelValues, distribution }]) => {
      const named = INSTRUMENTS[id].labels.map((name, i) => [name, labelValues[i]]);
      return { labels: Object.fromEntries(named) as LabelsOf<I>, distribution };
    });
  }

  /** Sums the values of the series with these label values; 0 if there are none. */
  sum<I extends SettableId>(id: I, labels: Partial<LabelsOf<I>> = {}): number {
    return this.#matches(id, labels).reduce((sum, [, { value }]) => sum + value, 0);
  }

  #matches(id: InstrumentId, labels: Partial<Labels>): [key: string, series: Series][] {
    const names: readonly string[] = INSTRUMENTS[id].labels;
    const positions = Object.entries(labels).map(([name, value]) => [names.indexOf(name), value]);
    return [...this.#families.get(id)!].filter(([, { labelValues }]) =>
      positions.every(([place, value]) => labelValues[place as number] === value),
    );
  }

  #series(id: InstrumentId, labels: Labels): Series {
    const instrument: Instrument = INSTRUMENTS[id];
    const labelValues = instrument.labels.map((name) => labels[name]!);
    const key = labelValues.join('\0');
    const family = this.#families.get(id)!;
    let series = family.get(key);
    if (!series) {
      const { buckets } = instrument;
      const distribution = buckets && {
        counts: new Array<number>(buckets.length + 1).fill(0),
        sum: 0,
        count: 0,
      };
      series = { labelValues, value: 0, distribution };
      family.set(key, series);
    }
    return series;
  }
}
