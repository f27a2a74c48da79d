// Health checks: /livez says whether the process responds, /readyz whether requests are served, and /health adds figures. None of
// them waits long for an engine step. Exact figures reveal the activity of tenants, so they require a key on a server with
// keys.
import { z } from '@hono/zod-openapi';
import { describeProcessor } from '../../common/processor.ts';
import { VERSION } from '../../common/version.ts';
import type { EngineStats } from '../../contracts/engine.ts';
import type { EngineClient } from '../../scheduler/client.ts';
import type { Authenticate } from '../../tenants/access.ts';
import type { Deps } from '../deps.ts';
import { credentialsOf } from '../wire/middleware.ts';
import { ANY_QUERY, type App, addRoute, json } from '../wire/route.ts';
import { statsWithin } from './stats-history.ts';

const healthSchema = z
  .object({
    status: z.enum(['starting', 'ready', 'stalled', 'restarting', 'stopped', 'leaving']),
    version: z.string(),
    model: z.string(),
    load: z
      .enum(['idle', 'busy', 'full'])
      .nullable()
      .openapi({ description: 'full: requests wait; null if the engine gives no figures' }),
    engine: z.looseObject({}).nullable().openapi({
      type: 'object',
      description:
        'Exact figures; null if the engine gives none, or if keys are needed and the request has no valid one',
    }),
    weights: z.string().nullable().optional().openapi({
      description:
        'The format of the weights; null until the engine is ready; only with exact figures',
    }),
    kv: z.string().nullable().optional().openapi({
      description:
        'The format of the KV cache; null until the engine is ready; only with exact figures',
    }),
    int8_scales: z.string().nullable().optional().openapi({
      description:
        'The scales of activations for int8 weights: blocks, rows, or mixed, which is rows for prompts only; null for other weights; only with exact figures',
    }),
    processor: z
      .object({
        model: z.string(),
        cores: z.int(),
        features: z.array(z.string()).nullable().openapi({
          description:
            'Instruction sets, the fastest for 8-bit products first; null if the system does not tell',
        }),
      })
      .optional()
      .openapi({ description: 'Only with exact figures' }),
    memory: z.looseObject({}).optional().openapi({
      type: 'object',
      description:
        'The memory budget in bytes: the limit, the total that may be used, and its parts; only with exact figures',
    }),
  })
  .openapi('Health');

const statusSchema = z.object({ status: z.string() });
const RETRY_SOON = { 'retry-after': '1' };

/** Adds the routes. `authenticate` is absent if the server has no keys. */
export function addHealthRoutes(
  app: App,
  deps: Deps,
  authenticate: Authenticate | undefined,
): void {
  const { client, model, limits } = deps;
  addRoute(app, {
    method: 'get',
    path: '/health',
    summary: 'State and figures of the engine',
    query: ANY_QUERY,
    answers: json(healthSchema),
    description: 'Requests are served',
    otherAnswers: notReady(healthSchema),
    isOpen: true,
    async handle(c) {
      const stats = (await statsWithin(client, limits.statsTimeoutMs)) ?? client.lastStats;
      const isShown = !authenticate || hasKey(authenticate, credentialsOf(c));
      const status = serverStatus(deps);
      const body = {
        status,
        version: VERSION,
        model: model.id,
        load: stats ? loadOf(stats) : null,
        engine: stats && isShown ? { ...stats } : null,
        ...(isShown && {
          weights: client.model?.weights ?? null,
          kv: client.model?.kv ?? null,
          int8_scales: client.model?.int8Scales ?? null,
          processor: processorBody(),
        }),
        ...(deps.memory && isShown && { memory: { ...deps.memory } }),
      };
      return status === 'ready' ? c.json(body) : c.json(body, 503, RETRY_SOON);
    },
  });
  addRoute(app, {
    method: 'get',
    path: '/readyz',
    summary: 'Whether requests are served',
    query: ANY_QUERY,
    answers: json(statusSchema),
    description: 'Yes',
    otherAnswers: notReady(statusSchema),
    isOpen: true,
    handle(c) {
      const status = serverStatus(deps);
      return status === 'ready' ? c.json({ status }) : c.json({ status }, 503, RETRY_SOON);
    },
  });
  addRoute(app, {
    method: 'get',
    path: '/livez',
    summary: 'Whether this process answers',
    query: ANY_QUERY,
    answers: json(statusSchema),
    description: 'Yes',
    isOpen: true,
    handle: (c) => c.json({ status: 'live' }),
  });
}

function notReady(schema: z.ZodType) {
  const description =
    'The engine is starting, restarting, stalled or stopped, or the server gets no more requests';
  return { 503: { description, content: json(schema) } };
}

function processorBody() {
  const { model, cores, features } = describeProcessor();
  return { model, cores, features: features ? [...features] : null };
}

/**
 * `leaving`: balancers should send requests elsewhere. `stalled`: the engine process is stopped, or a run takes far longer than
 * usual. Requests are still accepted.
 */
function serverStatus({ leaving, client }: Pick<Deps, 'leaving' | 'client'>) {
  const { state, isProgressing }: EngineClient = client;
  if (leaving?.aborted) return 'leaving';
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
    return false; // a monitor without a key still learns whether the server is ready
  }
}
