// /v1/responses/{id}: the responses that the server keeps. A tenant sees only its own. The routes exist only if the operator
// has enabled keeping responses.
import type { Context } from 'hono';
import { ServeError } from '../../common/errors.ts';
import {
  deletedResponseSchema,
  inputItemListSchema,
  responseSchema,
} from '../../contracts/responses.ts';
import type { KeptResponse, KeptResponses } from '../../conversations/kept-responses.ts';
import { toInputItems } from '../dialects/kept-items.ts';
import { itemListQuery } from '../schema/conversations.ts';
import { type App, addRoute, json, ownId } from '../wire/route.ts';
import { toItemList } from './api-objects.ts';

const PATH = '/v1/responses/{id}';

/** Adds the routes. */
export function addKeptResponseRoutes(app: App, responses: KeptResponses): void {
  addRoute(app, `GET ${PATH}`, {
    summary: 'Get a kept response',
    response: json(responseSchema),
    description: 'The response as it was answered',
    handle: async (c) => sendKept(c, await responses.find(...ownId(c))),
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
    handle: async (c) => sendKept(c, await responses.cancel(...ownId(c))),
  });
  addRoute(app, `GET ${PATH}/input_items`, {
    summary: 'List the items that a kept response answered, the newest first',
    query: itemListQuery,
    response: json(inputItemListSchema),
    async handle(c, query) {
      const [tenant, id] = ownId(c);
      const record = await responses.find(tenant, id);
      if (!record) throw notFound();
      return toItemList(toInputItems(id, record.input), query);
    },
  });
}

function sendKept(c: Context, record: KeptResponse | undefined): Response {
  if (!record) throw notFound();
  return c.body(record.response, 200, { 'content-type': 'application/json' });
}

/** Leaves out the id, because a client can send anything as one. */
function notFound(): ServeError {
  return new ServeError(
    'not_found',
    'No such response: it was not kept, has expired, was deleted, or belongs to another tenant.',
    { param: 'id' },
  );
}
