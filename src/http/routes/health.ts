// Whether the server can serve: /livez says that the process answers, /readyz that the engine does, /health both and
// figures. None waits for a step of the engine longer than a named moment. Exact figures tell what tenants do, so with a
// keys file they need a key; without one whoever asks is the operator, or the operator opened the server to everybody.
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import { VERSION } from '../../common/version.ts';
import type { EngineClient } from '../../scheduler/client.ts';
import type { EngineStats } from '../../scheduler/protocol.ts';
import type { Authenticate } from '../../tenants/access.ts';
import type { Deps } from '../deps.ts';
import { statsWithin } from '../engine-stats.ts';
import type { HttpEnv } from '../middleware/tenant.ts';

const healthSchema = z
  .object({
    status: z.enum(['starting', 'ready', 'stalled', 'restarting', 'stopped']),
    version: z.string(),
    model: z.string(),
    load: z
      .enum(['idle', 'busy', 'full'])
      .nullable()
      .openapi({ description: 'full: requests wait; null if the engine does not say' }),
    engine: z.looseObject({}).nullable().openapi({
      type: 'object',
      description:
        'Exact figures; null while the engine has none to give, and for requests without a valid key if keys are needed',
    }),
    memory: z.looseObject({}).optional().openapi({
      type: 'object',
      description:
        'The memory budget in bytes: the limit, the total that may be taken, and its parts; absent if exact figures are',
    }),
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

/** @param authenticate absent: no keys are needed */
export function addHealthRoutes(
  app: OpenAPIHono<HttpEnv>,
  deps: Deps,
  authenticate: Authenticate | undefined,
): void {
  const { client, model, limits, leaving } = deps;
  app.openapi(healthRoute, async (c) => {
    const stats = await statsWithin(client, limits.statsTimeoutMs);
    const isShown = !authenticate || hasKey(authenticate, c.req.header('authorization'));
    const engine = stats && isShown ? { ...stats } : null;
    const load = stats ? loadOf(stats) : null;
    const status = engineStatus(client);
    const memory = deps.memory && isShown && { memory: { ...deps.memory } };
    const body = { status, version: VERSION, model: model.id, load, engine, ...memory };
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

function loadOf({ running, waiting }: EngineStats): 'idle' | 'busy' | 'full' {
  if (waiting > 0) return 'full';
  return running > 0 ? 'busy' : 'idle';
}

function hasKey(authenticate: Authenticate, authorization: string | undefined): boolean {
  try {
    authenticate(authorization);
    return true;
  } catch {
    return false; // whoever watches the server without a key still learns whether it is ready
  }
}
