// OpenTelemetry's exporters, set up as their OTEL_* variables say. The only door to `otel/`: loading it takes a tenth of
// a second, so that a server nobody collects from does not.
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
import type { Metrics } from '../metrics.ts';
import type { Tracing } from '../tracing.ts';
import { exportMetrics, type MetricExport } from './metric-export.ts';
import { createTracing } from './spans.ts';

/** A collector that does not answer holds up no end of a server for longer. */
const CLOSE_MS = 2_000;

export interface Exports {
  readonly tracing: Tracing | undefined;
  /** From now on the metrics are sent, where they are asked for. */
  send(metrics: Metrics): void;
  /** Sends what is not sent yet, if that is quick; else its last tries go on, and hold the process. Never rejects. */
  close(): Promise<'sent' | 'late'>;
}

export interface ExportChoice {
  readonly traces: boolean;
  readonly metrics: boolean;
  readonly closeMs?: number;
}

export function openExports(choice: ExportChoice, log: Logger): Exports {
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
      const closing = Promise.allSettled([tracing?.shutdown(), metricExport?.shutdown()]).then(
        () => 'sent' as const,
      );
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<'late'>((resolve) => {
        timer = setTimeout(resolve, choice.closeMs ?? CLOSE_MS, 'late');
      });
      const first = await Promise.race([closing, late]);
      if (first === 'late') log.warn('telemetry export: the last figures and spans were not sent');
      clearTimeout(timer);
      return first;
    },
  };
}

/** OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win. No command line, which could hold what is nobody's business. */
function describeService(): Resource {
  const own = { 'service.name': 'lorikeet', 'service.version': VERSION };
  const detected = detectResources({ detectors: [serviceInstanceIdDetector, envDetector] });
  return defaultResource().merge(resourceFromAttributes(own)).merge(detected);
}

/** A collector that is down is a line of our log, not of standard output. */
function logDiagnostics(log: Logger): void {
  const warn = (reason: string) => log.warn({ reason }, 'telemetry export failed');
  const quiet = () => {};
  const logger = { error: warn, warn, info: quiet, debug: quiet, verbose: quiet };
  diag.setLogger(logger, { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true });
}
