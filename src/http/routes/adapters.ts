// POST /v1/adapters/{name}/prefetch: makes an adapter ready before requests name it, and may keep it so.
import { type OpenAPIHono, z } from '@hono/zod-openapi';
import { pinnedName, type ResolvedModel } from '../../../adapters/registry/resolved.ts';
import { ServeError } from '../../common/errors.ts';
import { prefetchSchema } from '../../contracts/openai.ts';
import { requireReady } from '../answer.ts';
import type { Deps } from '../deps.ts';
import { addJsonRoute } from '../json-route.ts';
import type { HttpEnv } from '../middleware/tenant.ts';
import { prefetchAdapter } from '../prefetch.ts';

/** A day: whoever wants an adapter warm for longer asks again, and one that is forgotten goes. */
const MAX_KEEP_WARM_MS = 86_400_000;

const bodySchema = z
  .strictObject({
    keep_warm_until: z.int().nullish().openapi({
      description: 'Unix seconds, at most a day ahead: until then others are evicted first',
    }),
  })
  .openapi('PrefetchRequest');

export function addAdapterRoutes(app: OpenAPIHono<HttpEnv>, deps: Deps): void {
  addJsonRoute(app, deps, {
    path: '/v1/adapters/{name}/prefetch',
    params: z.object({ name: z.string().openapi({ description: 'Any form of its name' }) }),
    summary: 'Load an adapter before it is asked for',
    body: bodySchema,
    isBodyOptional: true,
    answers: { 'application/json': { schema: prefetchSchema } },
    admit: () => requireReady(deps),
    async handle(c, { keep_warm_until: until }) {
      const keepWarmMs = until == null ? 0 : toKeepWarmMs(until, deps.now());
      const model = await deps.registry.resolve(c.get('tenant'), c.req.param('name')!);
      const adapter = requireAdapter(model);
      const { signal } = c.req.raw;
      const { tier, loadMs } = await prefetchAdapter(deps, adapter, { keepWarmMs, signal });
      return c.json({
        id: adapter.id,
        object: 'adapter.prefetch',
        adapter: adapter.digest,
        root: pinnedName(adapter.parts),
        tier,
        load_ms: Math.round(loadMs ?? 0),
        keep_warm_until: until ?? null,
      });
    },
  });
}

function toKeepWarmMs(untilS: number, nowMs: number): number {
  const ms = untilS * 1000 - nowMs;
  if (ms > 0 && ms <= MAX_KEEP_WARM_MS) return ms;
  throw new ServeError('invalid_request', 'keep_warm_until: must be within a day from now', {
    param: 'keep_warm_until',
  });
}

function requireAdapter(model: ResolvedModel) {
  if (model.kind === 'adapter') return model;
  throw new ServeError('invalid_request', 'name: the base is always loaded', { param: 'name' });
}
