// Exports metrics with OpenTelemetry: converts the values to the SDK's data, which its reader collects and sends.
import { type HrTime, ValueType } from '@opentelemetry/api';
import { getNumberFromEnv, hrTime, millisToHrTime } from '@opentelemetry/core';
import { emptyResource, type Resource } from '@opentelemetry/resources';
import {
  AggregationTemporality,
  type DataPoint,
  DataPointType,
  type Histogram,
  MeterProvider,
  type MetricData,
  type MetricProducer,
  PeriodicExportingMetricReader,
  type PushMetricExporter,
} from '@opentelemetry/sdk-metrics';
import { VERSION } from '../../common/version.ts';
import type { MetricFamily, Metrics, Series } from '../metrics.ts';

/** The SDK's default. Its reader ignores the environment variable. */
const EXPORT_INTERVAL_MS = 60_000;

/** A running export. */
export interface MetricExport {
  /** Sends the last values. */
  shutdown(): Promise<void>;
}

/** Starts to export the metrics at an interval. */
export function exportMetrics(
  metrics: Metrics,
  exporter: PushMetricExporter,
  resource: Resource,
): MetricExport {
  const reader = new PeriodicExportingMetricReader({
    exporter,
    exportIntervalMillis: getNumberFromEnv('OTEL_METRIC_EXPORT_INTERVAL') ?? EXPORT_INTERVAL_MS,
    metricProducers: [createProducer(metrics)],
  });
  return new MeterProvider({ resource, readers: [reader] });
}

/** Leaves the resource empty, because the provider adds its own. */
function createProducer(metrics: Metrics): MetricProducer {
  const startTime = millisToHrTime(performance.timeOrigin);
  const scope = { name: 'lorikeet', version: VERSION };
  return {
    async collect() {
      const families = await metrics.snapshot();
      const times = { startTime, endTime: hrTime() };
      const data = families.map((family) => toMetricData(family, times));
      const scopeMetrics = [{ scope, metrics: data }];
      return { resourceMetrics: { resource: emptyResource(), scopeMetrics }, errors: [] };
    },
  };
}

interface ExportTimes {
  readonly startTime: HrTime;
  readonly endTime: HrTime;
}

function toMetricData({ instrument, series }: MetricFamily, times: ExportTimes): MetricData {
  const { kind, name, unit, help, labels, buckets } = instrument;
  const common = {
    descriptor: { name, unit, description: help, valueType: ValueType.DOUBLE },
    aggregationTemporality: AggregationTemporality.CUMULATIVE,
  };
  const points = <T>(toValue: (one: Series) => T): DataPoint<T>[] =>
    series.map((one) => ({
      ...times,
      attributes: toAttributes(labels, one.labelValues),
      value: toValue(one),
    }));
  switch (kind) {
    case 'gauge':
      return { ...common, dataPointType: DataPointType.GAUGE, dataPoints: points(toNumber) };
    case 'counter':
      return {
        ...common,
        dataPointType: DataPointType.SUM,
        isMonotonic: true,
        dataPoints: points(toNumber),
      };
    case 'histogram': {
      const dataPoints = points((one) => toHistogram(buckets!, one));
      return { ...common, dataPointType: DataPointType.HISTOGRAM, dataPoints };
    }
  }
}

function toNumber({ value }: Series): number {
  return value;
}

function toHistogram(bounds: readonly number[], { distribution }: Series): Histogram {
  const { counts, sum, count } = distribution!;
  return { buckets: { boundaries: [...bounds], counts: [...counts] }, sum, count };
}

/** Drops empty labels, as Prometheus does. */
function toAttributes(names: readonly string[], values: readonly string[]): Record<string, string> {
  const pairs = names.map((name, i) => [name, values[i]!] as const);
  return Object.fromEntries(pairs.filter(([, value]) => value !== ''));
}
