// GET /v1/me: tells whose key a request carries. A client can check a key with it before it stores it.
import type { OpenAPIHono } from '@hono/zod-openapi';
import { meSchema } from '../../contracts/management-api.ts';
import type { HttpEnv } from '../middleware/tenant.ts';
import { addRoute, json } from '../route.ts';

/** Adds the route. `hasKeys` says whether this server refuses requests without a key. */
export function addMeRoute(app: OpenAPIHono<HttpEnv>, { hasKeys }: { hasKeys: boolean }): void {
  addRoute(app, {
    method: 'get',
    path: '/v1/me',
    summary: 'Tell whose key this is',
    answers: json(meSchema),
    errors: [401],
    handle(c) {
      const { id, isAdmin } = c.get('tenant');
      return c.json({ object: 'tenant', id, is_admin: isAdmin, needs_key: hasKeys });
    },
  });
}
