// Who is asking: the one place that turns a request's credentials into a tenant.
// Without a keys file there is one tenant, and whatever key a client sends is accepted.
import type { HonoRequest, MiddlewareHandler } from 'hono';
import { LOCAL_TENANT, type Tenant } from '../../tenant.ts';

/** Throws `ServeError` (401) where the credentials are nobody's. */
export type Authenticate = (request: HonoRequest) => Tenant;

/** What the routes find in `c.var`. */
export interface HttpEnv {
  Variables: { tenant: Tenant };
}

export function authenticateAsLocal(): Tenant {
  return LOCAL_TENANT;
}

export function tenant(authenticate: Authenticate): MiddlewareHandler<HttpEnv> {
  return async function tenant(c, next) {
    c.set('tenant', authenticate(c.req));
    await next();
  };
}
