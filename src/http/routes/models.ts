// /v1/models and /v1/models/{id}: the base and the adapters that this tenant may name, and the end of its own.
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import type { ModelEntry } from '../../../adapters/registry/registry.ts';
import {
  deletedModelSchema,
  type Model,
  modelListSchema,
  modelSchema,
} from '../../contracts/openai.ts';
import type { Deps } from '../deps.ts';
import { errorResponses } from '../json-route.ts';
import type { HttpEnv } from '../middleware/tenant.ts';
import { generationConfigOf } from '../sampling-defaults.ts';
import { validateQuery } from '../validation.ts';

const listRoute = createRoute({
  method: 'get',
  path: '/v1/models',
  summary: 'List the base and the adapters that may be named',
  responses: {
    200: {
      description: 'The base first, then adapters by name',
      content: { 'application/json': { schema: modelListSchema } },
    },
    ...errorResponses(401, 500, 503),
  },
});

const request = { params: z.object({ id: z.string() }) };

const getRoute = createRoute({
  method: 'get',
  path: '/v1/models/{id}',
  summary: 'Get one model, in any form of its name',
  request,
  responses: {
    200: { description: 'The model', content: { 'application/json': { schema: modelSchema } } },
    ...errorResponses(401, 404, 422, 500, 503),
  },
});

const deleteRoute = createRoute({
  method: 'delete',
  path: '/v1/models/{id}',
  summary: 'Remove an adapter of your own: a name with all its versions, one version, or one alias',
  request,
  responses: {
    200: {
      description: 'It is removed; requests that use it end as usual',
      content: { 'application/json': { schema: deletedModelSchema } },
    },
    ...errorResponses(400, 401, 404, 500, 503),
  },
});

export function addModelRoutes(app: OpenAPIHono<HttpEnv>, deps: Deps): void {
  const { registry, model } = deps;
  const toModel = (entry: ModelEntry) => toWireModel(entry, model.maxSeqLength);
  app.openapi(listRoute, async (c) => {
    validateQuery(undefined, c.req.query());
    const data = (await registry.list(c.get('tenant'))).map(toModel);
    const first_id = data[0]?.id ?? null;
    const last_id = data.at(-1)?.id ?? null;
    return c.json({ object: 'list' as const, data, first_id, last_id, has_more: false }, 200);
  });
  app.openapi(getRoute, async (c) => {
    validateQuery(undefined, c.req.query());
    const { id } = c.req.valid('param');
    const tenant = c.get('tenant');
    const entry = await registry.describe(tenant, id);
    const resolved = await registry.resolve(tenant, id);
    const generation_config = await generationConfigOf(deps, resolved);
    return c.json({ ...toModel(entry), generation_config }, 200);
  });
  app.openapi(deleteRoute, async (c) => {
    validateQuery(undefined, c.req.query());
    const { id } = c.req.valid('param');
    await registry.remove(c.get('tenant'), id);
    return c.json({ id, object: 'model' as const, deleted: true as const }, 200);
  });
}

function toWireModel(
  { id, created, parent, root, owner = 'lorikeet' }: ModelEntry,
  maxSeqLength: number,
): Model {
  return {
    id,
    object: 'model',
    created,
    owned_by: owner,
    ...(parent !== undefined ? { parent } : {}),
    ...(root !== undefined ? { root } : {}),
    max_model_len: maxSeqLength,
  };
}
