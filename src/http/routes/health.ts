// Whether the server can serve: /livez says that the process answers, /readyz that the engine does, /health both and
// figures. None waits for a step of the engine longer than a named moment.
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import type { EngineClient } from '../../scheduler/client.ts';
import { VERSION } from '../../version.ts';
import type { Deps } from '../deps.ts';
import { statsWithin } from '../engine-stats.ts';
import type { HttpEnv } from '../middleware/tenant.ts';

const healthSchema = z
  .object({
    status: z.enum(['starting', 'ready', 'stalled', 'restarting', 'stopped']),
    version: z.string(),
    model: z.string(),
    engine: z
      .looseObject({})
      .nullable()
      .openapi({ type: 'object', description: 'Figures; null while the engine has none to give' }),
  })
  .openapi('Health');

const json = (schema: z.ZodType) => ({ 'application/json': { schema } });
const statusSchema = z.object({ status: z.string() });

const healthRoute = createRoute({
  method: 'get',
  path: '/health',
  summary: 'State and figures of the engine',
  responses: {
    200: { description: 'Requests are served', content: json(healthSchema) },
    503: {
      description: 'The engine starts, restarts, makes no progress or has stopped',
      content: json(healthSchema),
    },
  },
});

const readyRoute = createRoute({
  method: 'get',
  path: '/readyz',
  summary: 'Whether requests are served',
  responses: {
    200: { description: 'Yes', content: json(statusSchema) },
    503: { description: 'Not now', content: json(statusSchema) },
  },
});

const liveRoute = createRoute({
  method: 'get',
  path: '/livez',
  summary: 'Whether this process answers',
  responses: { 200: { description: 'Yes', content: json(statusSchema) } },
});

export function addHealthRoutes(app: OpenAPIHono<HttpEnv>, deps: Deps): void {
  const { client, model, limits, leaving } = deps;
  app.openapi(healthRoute, async (c) => {
    const stats = await statsWithin(client, limits.statsTimeoutMs);
    const engine = stats ? { ...stats } : null;
    const status = engineStatus(client);
    const body = { status, version: VERSION, model: model.id, engine };
    return status === 'ready' ? c.json(body, 200) : c.json(body, 503, { 'retry-after': '1' });
  });
  app.openapi(readyRoute, (c) => {
    const status = leaving?.aborted ? 'leaving' : engineStatus(client);
    if (status === 'ready') return c.json({ status }, 200);
    return c.json({ status }, 503, { 'retry-after': '1' });
  });
  app.openapi(liveRoute, (c) => c.json({ status: 'live' }, 200));
}

/** `stalled`: the process is stopped, or a step takes far longer than steps do. Requests are still queued. */
function engineStatus({ state, isProgressing }: EngineClient): EngineClient['state'] | 'stalled' {
  return state === 'ready' && !isProgressing ? 'stalled' : state;
}
