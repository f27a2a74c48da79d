// /v1/responses/{id}: the responses that the server keeps. A tenant sees only its own. The routes exist only if the operator
// has enabled keeping responses.
import { z } from '@hono/zod-openapi';
import { ServeError } from '../../common/errors.ts';
import { pageOf } from '../../common/page.ts';
import {
  deletedResponseSchema,
  inputItemListSchema,
  responseSchema,
} from '../../contracts/responses.ts';
import type { KeptResponses } from '../../conversations/kept-responses.ts';
import { toInputItems } from '../dialects/kept-items.ts';
import { orderQuery, pageQuery } from '../schema/fields.ts';
import { type App, addRoute, json, ownId } from '../wire/route.ts';
import { toListResponse } from './api-objects.ts';

const PATH = '/v1/responses/{id}';

const itemsQuery = z.strictObject({
  ...pageQuery(20),
  order: orderQuery,
});

/** Adds the routes. */
export function addKeptResponseRoutes(app: App, responses: KeptResponses): void {
  addRoute(app, `GET ${PATH}`, {
    summary: 'Get a kept response',
    response: json(responseSchema),
    description: 'The response as it was answered',
    async handle(c) {
      const record = await responses.find(...ownId(c));
      if (!record) throw notFound();
      return c.body(record.response, 200, { 'content-type': 'application/json' });
    },
  });
  addRoute(app, `DELETE ${PATH}`, {
    summary: 'Delete a kept response; responses that continued it keep their own copy of its items',
    response: json(deletedResponseSchema),
    async handle(c) {
      const [tenant, id] = ownId(c);
      if (!(await responses.remove(tenant, id))) throw notFound();
      return { id, object: 'response', deleted: true };
    },
  });
  addRoute(app, `POST ${PATH}/cancel`, {
    summary: 'Cancel a response in the background; one that has ended stays as it is',
    response: json(responseSchema),
    async handle(c) {
      const record = await responses.cancel(...ownId(c));
      if (!record) throw notFound();
      return c.body(record.response, 200, { 'content-type': 'application/json' });
    },
  });
  addRoute(app, `GET ${PATH}/input_items`, {
    summary: 'List the items that a kept response answered, the newest first',
    query: itemsQuery,
    response: json(inputItemListSchema),
    async handle(c, { order, ...query }) {
      const [tenant, id] = ownId(c);
      const record = await responses.find(tenant, id);
      if (!record) throw notFound();
      const items = toInputItems(id, record.input);
      if (order === 'desc') items.reverse();
      const page = pageOf(items, query, (item) => item.id);
      return toListResponse(page, (item) => item);
    },
  });
}

/** Leaves out the id, because a client can send anything as one. */
function notFound(): ServeError {
  return new ServeError(
    'not_found',
    'No such response: it was not kept, has expired, was deleted, or belongs to another tenant.',
    { param: 'id' },
  );
}
