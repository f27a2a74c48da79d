// GET /v1/me: whose key a request carries, so that a client can check one before it keeps it.
import type { OpenAPIHono } from '@hono/zod-openapi';
import { meSchema } from '../../contracts/openai.ts';
import { addRoute } from '../described-route.ts';
import type { HttpEnv } from '../middleware/tenant.ts';

/** `needsKey`: whether this server refuses requests without a key. */
export function addMeRoute(app: OpenAPIHono<HttpEnv>, { needsKey }: { needsKey: boolean }): void {
  addRoute(app, {
    method: 'get',
    path: '/v1/me',
    summary: 'Tell whose key this is',
    answers: { 'application/json': { schema: meSchema } },
    errors: [401],
    async handle(c) {
      const { id, isAdmin } = c.get('tenant');
      return c.json({ object: 'tenant', id, is_admin: isAdmin, needs_key: needsKey });
    },
  });
}
