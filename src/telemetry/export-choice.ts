// Decides what to export to a collector: nothing, unless OpenTelemetry's variables ask for it. Does not load OpenTelemetry.
import type { Config } from '../settings/config.ts';

/** The settings that decide. */
export type ExportSettings = Pick<
  Config,
  | 'otelDisabled'
  | 'otlpEndpoint'
  | 'otlpTracesEndpoint'
  | 'otlpMetricsEndpoint'
  | 'tracesExporter'
  | 'metricsExporter'
>;

/** Returns undefined if nothing is exported. (OpenTelemetry would default to a collector on this machine.) */
export function chooseExports(
  settings: ExportSettings,
): { traces: boolean; metrics: boolean } | undefined {
  if (settings.otelDisabled) return undefined;
  const isWanted = (exporter: 'otlp' | 'none' | undefined, endpoint: string | undefined) =>
    exporter === 'otlp' ||
    (exporter === undefined && (endpoint ?? settings.otlpEndpoint) !== undefined);
  const traces = isWanted(settings.tracesExporter, settings.otlpTracesEndpoint);
  const metrics = isWanted(settings.metricsExporter, settings.otlpMetricsEndpoint);
  return traces || metrics ? { traces, metrics } : undefined;
}
