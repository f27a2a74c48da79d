// GET /metrics, for Prometheus and for routers, and GET /metrics/history, for the status page: operators' pages, as they
// tell of all tenants.
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import { VERSION } from '../../common/version.ts';
import { type MetricsHistory, metricsHistorySchema } from '../../contracts/management-api.ts';
import { PROMETHEUS_CONTENT_TYPE } from '../../telemetry/prometheus-text.ts';
import type { Deps } from '../deps.ts';
import { errorResponses } from '../json-route.ts';
import { type HttpEnv, requireAdmin } from '../middleware/tenant.ts';
import { describeHost, type LoadSample } from '../stats-history.ts';
import { validateQuery } from '../validation.ts';

const route = createRoute({
  method: 'get',
  path: '/metrics',
  summary: "Figures in Prometheus's text format",
  responses: {
    200: {
      description: 'The figures',
      content: { 'text/plain': { schema: z.string() } },
    },
    ...errorResponses(401, 403, 500),
  },
});

const historyRoute = createRoute({
  method: 'get',
  path: '/metrics/history',
  summary: 'Load of the last hour, and what the server runs on',
  responses: {
    200: {
      description: 'The history',
      content: { 'application/json': { schema: metricsHistorySchema } },
    },
    ...errorResponses(400, 401, 403, 500),
  },
});

/** `access`: whose they are; `admin` is to be added after the middleware that finds the tenant. */
export function addMetricsRoute(
  app: OpenAPIHono<HttpEnv>,
  { telemetry, client, model, history, threads }: Deps,
  access: 'open' | 'admin',
): void {
  app.openapi(route, async (c) => {
    if (access === 'admin') requireAdmin(c);
    const headers = { 'content-type': PROMETHEUS_CONTENT_TYPE, 'cache-control': 'no-store' };
    return c.text(await telemetry.text(), 200, headers);
  });
  app.openapi(historyRoute, (c) => {
    if (access === 'admin') requireAdmin(c);
    validateQuery(undefined, c.req.query());
    const answer: MetricsHistory = {
      object: 'metrics.history',
      interval_s: (history?.intervalMs ?? 0) / 1000,
      samples: history?.samples.map(toSample) ?? [],
      server: {
        version: VERSION,
        model: model.id,
        provider: client.model?.provider ?? null,
        weights: client.model?.weights ?? null,
        threads: threads ?? null,
        ...describeHost(),
      },
    };
    return c.json(answer, 200, { 'cache-control': 'no-store' });
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
