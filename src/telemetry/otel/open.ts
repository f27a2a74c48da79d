// Opens OpenTelemetry's exporters as configured by the OTEL_* variables. All other code loads `otel/` through this file, and
// only if something is exported, because loading it takes a tenth of a second.
import { DiagLogLevel, diag } from '@opentelemetry/api';
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-proto';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import {
  defaultResource,
  detectResources,
  envDetector,
  type Resource,
  resourceFromAttributes,
  serviceInstanceIdDetector,
} from '@opentelemetry/resources';
import type { Logger } from '../../common/log.ts';
import { VERSION } from '../../common/version.ts';
import { orAfter } from '../../common/waiting.ts';
import type { Metrics } from '../metrics.ts';
import type { Tracing } from '../tracing.ts';
import { exportMetrics, type MetricExport } from './export-metrics.ts';
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
