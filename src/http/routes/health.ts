// Health checks: /livez says whether the process responds, /readyz whether requests are served, and /health adds figures. None of
// them waits long for an engine step. Exact figures reveal the activity of tenants, so they require a key on a server with
// keys.
import { z } from '@hono/zod-openapi';
import { describeProcessor } from '../../common/processor.ts';
import { VERSION } from '../../common/version.ts';
import type { EngineStats } from '../../contracts/engine.ts';
import {
  type EngineFigures,
  engineFiguresSchema,
  type Tiers,
  tiersSchema,
} from '../../contracts/management-api.ts';
import { toWire } from '../../contracts/training-fields.ts';
import type { EngineClient } from '../../engine-client/client.ts';
import { statsWithin } from '../../telemetry/stats-history.ts';
import type { Authenticate } from '../../tenants/access.ts';
import type { Deps } from '../deps.ts';
import { credentialsOf } from '../wire/middleware.ts';
import { ANY_QUERY, type App, addRoute, json } from '../wire/route.ts';

const healthSchema = z
  .object({
    status: z.enum(['starting', 'ready', 'stalled', 'restarting', 'stopped', 'leaving']),
    version: z.string(),
    model: z.string(),
    load: z
      .enum(['idle', 'busy', 'full'])
      .nullable()
      .describe('full: requests wait; null if the engine gives no figures'),
    engine: engineFiguresSchema
      .nullable()
      .describe(
        'Exact figures; null if the engine gives none, or if keys are needed and the request has no valid one',
      ),
    tiers: tiersSchema.optional().describe('The adapters in memory; only with exact figures'),
    weights: z
      .string()
      .nullable()
      .optional()
      .describe(
        'The format of the weights; null until the engine is ready; only with exact figures',
      ),
    kv: z
      .string()
      .nullable()
      .optional()
      .describe(
        'The format of the KV cache; null until the engine is ready; only with exact figures',
      ),
    processor: z
      .object({
        model: z.string(),
        cores: z.int(),
        features: z
          .array(z.string())
          .nullable()
          .describe(
            'Instruction sets, the fastest for 8-bit products first; null if the system does not tell',
          ),
      })
      .optional()
      .describe('Only with exact figures'),
    memory: z
      .object({
        limit: z.object({ bytes: z.number(), source: z.string() }),
        total_bytes: z.number(),
        parts: z.record(z.string(), z.number()),
      })
      .optional()
      .describe(
        'The memory budget: the limit, the total that may be used, and its parts; only with exact figures',
      ),
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
  addRoute(app, 'GET /health', {
    summary: 'State and figures of the engine',
    query: ANY_QUERY,
    response: json(healthSchema),
    description: 'Requests are served',
    otherResponses: notReady(healthSchema),
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
        engine: stats && isShown ? engineFigures(stats) : null,
        ...(stats && isShown && { tiers: tiersOf(stats) }),
        ...(isShown && {
          weights: client.model?.weights ?? null,
          kv: client.model?.kv ?? null,
          processor: processorBody(),
        }),
        ...(deps.memory && isShown && { memory: toWire(deps.memory) }),
      };
      return status === 'ready' ? c.json(body) : c.json(body, 503, RETRY_SOON);
    },
  });
  addRoute(app, 'GET /readyz', {
    summary: 'Whether requests are served',
    query: ANY_QUERY,
    response: json(statusSchema),
    description: 'Yes',
    otherResponses: notReady(statusSchema),
    isOpen: true,
    handle(c) {
      const status = serverStatus(deps);
      return status === 'ready' ? c.json({ status }) : c.json({ status }, 503, RETRY_SOON);
    },
  });
  addRoute(app, 'GET /livez', {
    summary: 'Whether this process answers',
    query: ANY_QUERY,
    response: json(statusSchema),
    description: 'Yes',
    isOpen: true,
    handle: () => ({ status: 'live' }),
  });
}

function notReady(schema: z.ZodType) {
  const description =
    'The engine is starting, restarting, stalled or stopped, or the server gets no more requests';
  return { 503: { description, content: json(schema) } };
}

function engineFigures(stats: EngineStats): EngineFigures {
  return {
    running: stats.running,
    waiting: stats.waiting,
    slots: stats.slotCount,
    steps: stats.steps,
    kv_usage: stats.kvUsage,
    prompt_tokens: stats.promptTokens,
    generated_tokens: stats.generatedTokens,
    memory_bytes: stats.residentMemoryBytes,
    prefix_query_tokens: stats.prefixQueryTokens,
    prefix_hit_tokens: stats.prefixHitTokens,
    prefix_bytes: stats.prefixCache.bytes,
    prefix_capacity_bytes: stats.prefixCache.capacityBytes,
  };
}

function tiersOf({ attachedAdapters, adapterCache }: EngineStats): Tiers {
  const { adapters, bytes, hits, misses, evictions, failed } = adapterCache;
  return [
    { tier: 'slot', adapters: attachedAdapters.length },
    { tier: 'ram', adapters, bytes, hits, misses, evictions, failed },
  ];
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
