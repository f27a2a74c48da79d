// GET /metrics, for Prometheus and for routers: an operator's page, as it names the tenants and adapters of all.
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import { PROMETHEUS_CONTENT_TYPE } from '../../telemetry/prometheus-text.ts';
import type { Deps } from '../deps.ts';
import { errorResponses } from '../json-route.ts';
import { type HttpEnv, requireAdmin } from '../middleware/tenant.ts';

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

/** `access`: whose it is; `admin` is to be added where requests have a tenant. */
export function addMetricsRoute(
  app: OpenAPIHono<HttpEnv>,
  { telemetry }: Pick<Deps, 'telemetry'>,
  access: 'open' | 'admin',
): void {
  app.openapi(route, async (c) => {
    if (access === 'admin') requireAdmin(c);
    const headers = { 'content-type': PROMETHEUS_CONTENT_TYPE, 'cache-control': 'no-store' };
    return c.text(await telemetry.text(), 200, headers);
  });
}
