// The settings of metrics and traces.
import { z } from 'zod';
import type { SettingRow } from './setting.ts';
import { otlpOrNone, otlpUrl, yes } from './setting-values.ts';

/** The rows of the table. */
export const TELEMETRY_SETTINGS = {
  metricsOpen: {
    group: 'Metrics and traces:',
    help: '1 serves /metrics without an admin key; it contains names of tenants and adapters',
    isVariableOnly: true,
    schema: yes.default(false),
  },
  // These decide whether OpenTelemetry is loaded. It reads them and all other OTEL_* variables itself.
  otlpEndpoint: {
    env: 'OTEL_EXPORTER_OTLP_ENDPOINT',
    help: 'URL of the collector for traces and metrics; OpenTelemetry also reads all other OTEL_* variables (default: none)',
    schema: otlpUrl,
    isSecret: true,
  },
  otlpTracesEndpoint: {
    env: 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT',
    help: 'URL of the collector for traces only (default: OTEL_EXPORTER_OTLP_ENDPOINT)',
    schema: otlpUrl,
    isSecret: true,
  },
  otlpMetricsEndpoint: {
    env: 'OTEL_EXPORTER_OTLP_METRICS_ENDPOINT',
    help: 'URL of the collector for metrics only (default: OTEL_EXPORTER_OTLP_ENDPOINT)',
    schema: otlpUrl,
    isSecret: true,
  },
  otlpProtocol: {
    env: 'OTEL_EXPORTER_OTLP_PROTOCOL',
    help: 'protocol of the collector; only http/protobuf is supported',
    schema: z.literal('http/protobuf', 'must be http/protobuf').optional(),
  },
  tracesExporter: {
    env: 'OTEL_TRACES_EXPORTER',
    help: 'otlp sends traces to the collector, none disables this (default: otlp if an endpoint is set)',
    schema: otlpOrNone,
  },
  metricsExporter: {
    env: 'OTEL_METRICS_EXPORTER',
    help: 'otlp sends metrics to the collector, none disables this; /metrics is served either way (default: otlp if an endpoint is set)',
    schema: otlpOrNone,
  },
  otelDisabled: {
    env: 'OTEL_SDK_DISABLED',
    help: 'true sends neither traces nor metrics to a collector',
    schema: yes.default(false),
  },
} as const satisfies Record<string, SettingRow>;
