// GET /v1/me: returns the tenant of the request's key. Clients use it to check a key before they store it.
import { meSchema } from '../../contracts/management-api.ts';
import { type App, addRoute, json } from '../wire/route.ts';

/** Adds the route. `hasKeys` says whether this server refuses requests without a key. */
export function addMeRoute(app: App, { hasKeys }: { hasKeys: boolean }): void {
  addRoute(app, 'GET /v1/me', {
    summary: 'Get the tenant of this key',
    response: json(meSchema),
    handle(c) {
      const { id, isAdmin, isReadOnly = false } = c.get('tenant');
      return {
        object: 'tenant',
        id,
        is_admin: isAdmin,
        is_read_only: isReadOnly,
        needs_key: hasKeys,
      };
    },
  });
}
