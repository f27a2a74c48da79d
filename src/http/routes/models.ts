// GET /v1/models and /v1/models/{id}: the base and the adapters that this tenant may name.
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import type { ModelEntry } from '../../../adapters/registry.ts';
import { ServeError } from '../../errors.ts';
import { type Model, modelListSchema, modelSchema } from '../../openai.ts';
import type { Deps } from '../deps.ts';
import { errorResponses } from '../json-route.ts';
import type { HttpEnv } from '../middleware/tenant.ts';

const listRoute = createRoute({
  method: 'get',
  path: '/v1/models',
  summary: 'List the base and the adapters that may be named',
  responses: {
    200: {
      description: 'The base first, then adapters by name',
      content: { 'application/json': { schema: modelListSchema } },
    },
    ...errorResponses(401, 500),
  },
});

const getRoute = createRoute({
  method: 'get',
  path: '/v1/models/{id}',
  summary: 'Get one model',
  request: { params: z.object({ id: z.string() }) },
  responses: {
    200: { description: 'The model', content: { 'application/json': { schema: modelSchema } } },
    ...errorResponses(401, 404, 422, 500),
  },
});

export function addModelRoutes(app: OpenAPIHono<HttpEnv>, { registry }: Deps): void {
  app.openapi(listRoute, async (c) => {
    const data = (await registry.list(c.get('tenant'))).map(toModel);
    const first_id = data[0]?.id ?? null;
    const last_id = data.at(-1)?.id ?? null;
    return c.json({ object: 'list' as const, data, first_id, last_id, has_more: false }, 200);
  });
  app.openapi(getRoute, async (c) => {
    const tenant = c.get('tenant');
    const { id } = await registry.resolve(tenant, c.req.valid('param').id);
    const entry = (await registry.list(tenant)).find((listed) => listed.id === id);
    if (!entry) throw new ServeError('model_not_found', 'The model was just removed');
    return c.json(toModel(entry), 200);
  });
}

function toModel({ id, created, parent, root }: ModelEntry): Model {
  return {
    id,
    object: 'model',
    created,
    owned_by: 'lorikeet',
    ...(parent !== undefined ? { parent } : {}),
    ...(root !== undefined ? { root } : {}),
  };
}
