// The operator's view of what is refused because the engine crashed with it, and the way to admit it again. Needs an
// admin key; without a keys file everybody is the operator.
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import { ServeError } from '../../common/errors.ts';
import type { Deps } from '../deps.ts';
import { errorResponses } from '../json-route.ts';
import { type HttpEnv, requireAdmin } from '../middleware/tenant.ts';
import { validateQuery } from '../validation.ts';

const entrySchema = z
  .object({
    id: z.string(),
    object: z.literal('quarantine'),
    kind: z.enum(['adapter', 'request']),
    crashes: z.int(),
    remaining_seconds: z.int(),
  })
  .openapi('Quarantined');

const listSchema = z.object({ object: z.literal('list'), data: z.array(entrySchema) });
const releasedSchema = z.object({ released: z.array(z.string()) });
const json = (schema: z.ZodType) => ({ 'application/json': { schema } });

const listRoute = createRoute({
  method: 'get',
  path: '/v1/quarantine',
  summary:
    'List adapters and requests that are refused because the engine crashed with them (admin)',
  responses: {
    200: { description: 'Everything that is refused now', content: json(listSchema) },
    ...errorResponses(401, 403, 500),
  },
});

const clearRoute = createRoute({
  method: 'delete',
  path: '/v1/quarantine',
  summary: 'Admit everything again (admin)',
  responses: {
    200: { description: 'What was refused', content: json(releasedSchema) },
    ...errorResponses(401, 403, 500),
  },
});

const releaseRoute = createRoute({
  method: 'delete',
  path: '/v1/quarantine/{id}',
  summary: 'Admit one adapter or request again (admin)',
  request: { params: z.object({ id: z.string() }) },
  responses: {
    200: { description: 'It is admitted', content: json(releasedSchema) },
    ...errorResponses(401, 403, 404, 500),
  },
});

/** Adds the routes; `isOpen`: this server has no keys. */
export function addQuarantineRoutes(
  app: OpenAPIHono<HttpEnv>,
  { client }: Deps,
  { isOpen }: { isOpen: boolean },
): void {
  const { quarantine } = client;
  const admit = isOpen ? () => {} : requireAdmin;
  app.openapi(listRoute, (c) => {
    validateQuery(undefined, c.req.query());
    admit(c);
    const data = quarantine.list().map(({ remainingS, ...entry }) => {
      return { object: 'quarantine' as const, ...entry, remaining_seconds: remainingS };
    });
    return c.json({ object: 'list' as const, data }, 200);
  });
  app.openapi(clearRoute, (c) => {
    validateQuery(undefined, c.req.query());
    admit(c);
    const released = quarantine.list().map(({ id }) => id);
    quarantine.clear();
    return c.json({ released }, 200);
  });
  app.openapi(releaseRoute, (c) => {
    validateQuery(undefined, c.req.query());
    admit(c);
    const { id } = c.req.valid('param');
    if (!quarantine.release(id)) {
      throw new ServeError('not_found', `"${id}" is not quarantined.`, { param: 'id' });
    }
    return c.json({ released: [id] }, 200);
  });
}
