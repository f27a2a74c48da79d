// Who is asking: the one place that turns a request's credentials into a tenant.
// Without a keys file there is one tenant, and whatever key a client sends is accepted.
import type { HonoRequest, MiddlewareHandler } from 'hono';

const LOCAL_TENANT = 'local';

export type Authenticate = (request: HonoRequest) => string;

/** What the routes find in `c.var`. */
export interface HttpEnv {
  Variables: { tenant: string };
}

export function authenticateAsLocal(): string {
  return LOCAL_TENANT;
}

export function tenant(authenticate: Authenticate): MiddlewareHandler<HttpEnv> {
  return async function tenant(c, next) {
    c.set('tenant', authenticate(c.req));
    await next();
  };
}
