// GET /metrics for Prometheus, its part for routers on the metrics port, and figures as JSON for the status page:
// GET /metrics/status for this moment, GET /metrics/history for the last hour. All but the routers' part cover all tenants, so
// they are for operators.
import os from 'node:os';
import { z } from '@hono/zod-openapi';
import { describeProcessor, machineCpuSeconds } from '../../common/processor.ts';
import { VERSION } from '../../common/version.ts';
import {
  type MetricsHistory,
  type MetricsStatus,
  metricsHistorySchema,
  metricsStatusSchema,
} from '../../contracts/management-api.ts';
import { PROMETHEUS_CONTENT_TYPE } from '../../telemetry/prometheus-text.ts';
import type { LoadSample } from '../../telemetry/stats-history.ts';
import { readStatus } from '../../telemetry/status.ts';
import type { Deps } from '../deps.ts';
import { requireAdmin } from '../wire/middleware.ts';
import { ANY_QUERY, type App, addRoute, json } from '../wire/route.ts';

const NO_STORE = { 'cache-control': 'no-store' };
const TEXT_HEADERS = { 'content-type': PROMETHEUS_CONTENT_TYPE, ...NO_STORE };

/** Adds the routes. With access `admin`, they must be added after the middleware that finds the tenant. */
export function addMetricsRoute(
  app: App,
  { telemetry, client, model, history, threads, jobs }: Deps,
  access: 'open' | 'admin',
): void {
  const needs =
    access === 'admin' ? { admit: requireAdmin, errors: [403] as const } : { isOpen: true };
  addRoute(app, 'GET /metrics', {
    summary: "Metrics in Prometheus's text format",
    query: ANY_QUERY,
    response: { 'text/plain': { schema: z.string() } },
    description: 'The metrics',
    ...needs,
    handle: async (c) => c.text(await telemetry.text(), 200, TEXT_HEADERS),
  });
  addRoute(app, 'GET /metrics/status', {
    summary: "The metrics' main figures as JSON",
    response: json(metricsStatusSchema),
    description: 'The figures',
    ...needs,
    async handle(c) {
      const trainerMs = jobs?.trainerCpuMs();
      const figures: MetricsStatus = {
        ...(await readStatus(telemetry.metrics)),
        trainer_cpu_s: trainerMs === undefined ? null : trainerMs / 1000,
        machine_cpu_s: machineCpuSeconds() ?? null,
      };
      return c.json(figures, 200, NO_STORE);
    },
  });
  addRoute(app, 'GET /metrics/history', {
    summary: 'Load of the last hour, and what the server runs on',
    response: json(metricsHistorySchema),
    description: 'The history',
    ...needs,
    handle(c) {
      const figures: MetricsHistory = {
        object: 'metrics.history',
        interval_s: (history?.intervalMs ?? 0) / 1000,
        samples: history?.samples.map(toSample) ?? [],
        hours: history?.totals.map(({ atMs, ...totals }) => ({ at: atMs / 1000, ...totals })) ?? [],
        server: {
          version: VERSION,
          model: model.id,
          provider: client.model?.provider ?? null,
          weights: client.model?.weights ?? null,
          kv: client.model?.kv ?? null,
          threads: threads ?? null,
          ...describeHost(),
        },
      };
      return c.json(figures, 200, NO_STORE);
    },
  });
}

/** Adds the route of the metrics port. It needs no key, so it shows no tenants. */
export function addRouterMetricsRoute(app: App, { telemetry }: Pick<Deps, 'telemetry'>): void {
  addRoute(app, 'GET /metrics', {
    summary: 'The metrics that routers read',
    query: ANY_QUERY,
    response: { 'text/plain': { schema: z.string() } },
    handle: async (c) => c.text(await telemetry.routerText(), 200, TEXT_HEADERS),
  });
}

function toSample({ atMs, isReady, load }: LoadSample): MetricsHistory['samples'][number] {
  return {
    at: atMs / 1000,
    is_ready: isReady,
    running: load?.running ?? null,
    waiting: load?.waiting ?? null,
    prompt_tokens: load?.promptTokens ?? null,
    generated_tokens: load?.generatedTokens ?? null,
  };
}

function describeHost() {
  const { model, cores, features } = describeProcessor();
  return {
    processor: model,
    cores,
    processor_features: features ? [...features] : null,
    memory_bytes: os.totalmem(),
    platform: `${os.platform()} ${os.arch()}`,
    node: process.version,
  };
}
