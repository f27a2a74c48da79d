// Registers a route without a body: described in the API's document, its query checked by its schema.
// (The library's own validator answers in its own words.)
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { errorResponses } from './json-route.ts';
import type { HttpEnv } from './middleware/tenant.ts';
import { validateQuery } from './validation.ts';

export interface DescribedRoute<Query> {
  readonly method: 'get' | 'post' | 'delete';
  /** A parameter is `{name}`. */
  readonly path: string;
  readonly summary: string;
  readonly query?: z.ZodType<Query>;
  /** Of status 200, by media type. */
  readonly answers: Record<string, { schema: z.ZodType }>;
  readonly errors: Parameters<typeof errorResponses>;
  handle(c: Context<HttpEnv>, query: Query): Promise<Response>;
}

export function addRoute<Query = unknown>(
  app: OpenAPIHono<HttpEnv>,
  { method, path, summary, query, answers, errors, handle }: DescribedRoute<Query>,
): void {
  const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name!);
  const params = z.object(Object.fromEntries(names.map((name) => [name, z.string()])));
  const described = createRoute({
    method,
    path,
    summary,
    request: {
      ...(names.length > 0 && { params }),
      ...(query && { query: query as unknown as z.ZodObject }),
    },
    responses: {
      200: { description: 'The answer', content: answers },
      ...errorResponses(...errors),
    },
  });
  app.openAPIRegistry.registerPath(described);
  app.on(method.toUpperCase(), described.getRoutingPath(), async (c) => {
    return handle(c, validateQuery(query, c.req.query()));
  });
}
