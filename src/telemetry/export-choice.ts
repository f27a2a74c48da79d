// What is sent to a collector: nothing, unless OpenTelemetry's variables ask for it. Loads nothing of OpenTelemetry.
import type { Config } from '../settings/config.ts';

export type ExportSettings = Pick<
  Config,
  | 'otelDisabled'
  | 'otlpEndpoint'
  | 'otlpTracesEndpoint'
  | 'otlpMetricsEndpoint'
  | 'tracesExporter'
  | 'metricsExporter'
>;

/** Undefined where nothing is to be sent. (OpenTelemetry's own default would be a collector on this machine.) */
export function chooseExports(
  settings: ExportSettings,
): { traces: boolean; metrics: boolean } | undefined {
  if (settings.otelDisabled) return undefined;
  const isAsked = (exporter: 'otlp' | 'none' | undefined, endpoint: string | undefined) =>
    exporter === 'otlp' ||
    (exporter === undefined && (endpoint ?? settings.otlpEndpoint) !== undefined);
  const traces = isAsked(settings.tracesExporter, settings.otlpTracesEndpoint);
  const metrics = isAsked(settings.metricsExporter, settings.otlpMetricsEndpoint);
  return traces || metrics ? { traces, metrics } : undefined;
}
