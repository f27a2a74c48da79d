// /v1/models and /v1/models/{id}: the base and the adapters that a tenant may name. A tenant can delete its own.

import { z } from '@hono/zod-openapi';
import type { ModelEntry } from '../../../adapters/registry/registry.ts';
import {
  deletedModelSchema,
  type Model,
  modelListSchema,
  modelSchema,
} from '../../contracts/openai.ts';
import type { Deps } from '../deps.ts';
import { generationConfigOf, labelsOf, requestDefaultsOf } from '../request/request-model.ts';
import { pageQuery } from '../schema/fields.ts';
import { type App, addRoute, json, pathParam } from '../wire/route.ts';
import { toListResponse } from './api-objects.ts';

const PATH = '/v1/models/{id}';
/** Clients expect all models in one answer. This many take 2 MB. */
const MAX_MODELS = 10_000;
const modelListQuery = z.strictObject(pageQuery(MAX_MODELS, MAX_MODELS));

/** Adds the routes. */
export function addModelRoutes(app: App, deps: Deps): void {
  const { registry, model } = deps;
  const toModel = (entry: ModelEntry) => toWireModel(entry, model.maxSeqLength);
  addRoute(app, 'GET /v1/models', {
    summary: 'List the base and the adapters that may be named',
    query: modelListQuery,
    response: json(modelListSchema),
    description: 'The base, then adapters by name; further ones while has_more is true',
    handle: async (c, query) =>
      toListResponse(await registry.list(c.get('tenant'), query), toModel),
  });
  addRoute(app, `GET ${PATH}`, {
    summary: 'Get one model, in any form of its name',
    response: json(modelSchema),
    description: 'The model',
    errors: [422],
    async handle(c) {
      const id = pathParam(c, 'id');
      const tenant = c.get('tenant');
      const entry = await registry.describe(tenant, id);
      const resolved = await registry.resolve(tenant, id);
      const generation_config = await generationConfigOf(deps, resolved);
      const request_defaults = await requestDefaultsOf(resolved);
      const hasDefaults = Object.keys(request_defaults).length > 0;
      const labels = await labelsOf(resolved);
      return {
        ...toModel(entry),
        ...(entry.about && { kind: entry.about.kind, examples: entry.about.examples }),
        generation_config,
        ...(hasDefaults && { request_defaults }),
        ...(labels && { labels }),
      };
    },
  });
  addRoute(app, `DELETE ${PATH}`, {
    summary: 'Delete one of your adapters with all its versions, one version, or one alias',
    response: json(deletedModelSchema),
    description: 'It is deleted; requests that use it finish as usual',
    async handle(c) {
      const id = pathParam(c, 'id');
      await registry.remove(c.get('tenant'), id);
      return { id, object: 'model', deleted: true };
    },
  });
}

function toWireModel(
  { id, created, parent, root, owner = 'lorikeet', about }: ModelEntry,
  maxSeqLength: number,
): Model {
  return {
    id,
    object: 'model',
    created,
    owned_by: owner,
    ...(parent !== undefined ? { parent } : {}),
    ...(root !== undefined ? { root } : {}),
    ...(about && { description: about.description, tags: about.tags }),
    max_model_len: maxSeqLength,
  };
}
