// Opens OpenTelemetry's exporters as configured by the OTEL_* variables. All other code loads `otel/` through this file, and
// only if something is exported, because loading it takes a tenth of a second.
import { DiagLogLevel, diag, type HrTime, ValueType } from '@opentelemetry/api';
import { getNumberFromEnv, hrTime, millisToHrTime } from '@opentelemetry/core';
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-proto';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import {
  defaultResource,
  detectResources,
  emptyResource,
  envDetector,
  type Resource,
  resourceFromAttributes,
  serviceInstanceIdDetector,
} from '@opentelemetry/resources';
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
import type { Logger } from '../../common/log.ts';
import { VERSION } from '../../common/version.ts';
import { orAfter } from '../../common/waiting.ts';
import type { MetricFamily, Metrics, Series } from '../metrics.ts';
import type { Tracing } from '../tracing.ts';
import { createTracing } from './spans.ts';

/** A collector that does not answer delays shutdown by at most this. */
const CLOSE_MS = 2_000;

/** The running exports. */
export interface Exports {
  readonly tracing: Tracing | undefined;
  /** Starts to export the metrics, if that is configured. */
  send(metrics: Metrics): void;
  /**
   * Sends everything still unsent. If that takes too long, resolves anyway; the last tries continue and keep the process alive.
   * Never rejects.
   */
  close(): Promise<void>;
}

/** The signals to export, and how long closing may take. */
interface ExportChoice {
  readonly traces: boolean;
  readonly metrics: boolean;
  readonly closeMs?: number;
}

/** Opens the exporters. */
export function openOtelExports(choice: ExportChoice, log: Logger): Exports {
  logDiagnostics(log);
  const resource = describeService();
  const tracing = choice.traces ? createTracing(new OTLPTraceExporter(), resource) : undefined;
  let metricExport: MetricExport | undefined;
  return {
    tracing,
    send(metrics) {
      if (choice.metrics) metricExport = exportMetrics(metrics, new OTLPMetricExporter(), resource);
    },
    async close() {
      const closing = Promise.allSettled([tracing?.shutdown(), metricExport?.shutdown()]);
      if (await orAfter(closing, choice.closeMs ?? CLOSE_MS, undefined)) return;
      log.warn('telemetry export: the last figures and spans were not sent');
    },
  };
}

/** OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence. Omits the command line, which may contain secrets. */
function describeService(): Resource {
  const own = { 'service.name': 'lorikeet', 'service.version': VERSION };
  const detected = detectResources({ detectors: [serviceInstanceIdDetector, envDetector] });
  return defaultResource().merge(resourceFromAttributes(own)).merge(detected);
}

/** Logs the exporters' problems to the server's log instead of standard output. */
function logDiagnostics(log: Logger): void {
  const warn = (reason: string) => log.warn({ reason }, 'telemetry export failed');
  const quiet = () => {};
  const logger = { error: warn, warn, info: quiet, debug: quiet, verbose: quiet };
  diag.setLogger(logger, { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true });
}

// Exports metrics with OpenTelemetry: converts the values to the SDK's data, which its reader collects and sends.

/** The SDK's default. Its reader ignores the environment variable. */
const EXPORT_INTERVAL_MS = 60_000;

/** A running export. */
interface MetricExport {
  /** Sends the last values. */
  shutdown(): Promise<void>;
}

/** Starts to export the metrics at an interval. */
function exportMetrics(
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
