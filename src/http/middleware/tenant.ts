// Who is asking, and what of its limits is left: each request becomes a tenant's or is refused, and the answer shows
// the tenant's limits. Without a keys file there is one tenant.
import type { Context, MiddlewareHandler } from 'hono';
import { ServeError } from '../../common/errors.ts';
import type { Tenant } from '../../contracts/tenant.ts';
import type { Exchange } from '../../telemetry/exchange.ts';
import type { Authenticate } from '../../tenants/access.ts';
import type { RateLimits, Reservation } from '../../tenants/rate-limits.ts';
import { EVENT_STREAM } from '../sse.ts';

/** What the routes find in `c.var`. */
export interface HttpEnv {
  Variables: { tenant: Tenant; ticket: Reservation; exchange: Exchange; requestId: string };
}

export function tenant(authenticate: Authenticate): MiddlewareHandler<HttpEnv> {
  return async function tenant(c, next) {
    c.set('tenant', authenticate(c.req.header('authorization')));
    await next();
  };
}

/** Throws `ServeError` (403) where the key is no admin's. */
export function requireAdmin(c: Context<HttpEnv>): void {
  if (!c.get('tenant').isAdmin) throw new ServeError('forbidden', 'This route is for admin keys');
}

/** A request counts until its answer is made; one that is streamed until its generation has ended. */
export function limitRate(limits: RateLimits): MiddlewareHandler<HttpEnv> {
  return async function limitRate(c, next) {
    const tenant = c.get('tenant');
    try {
      c.set('ticket', limits.begin(tenant));
    } finally {
      setHeaders(c, limits.headers(tenant));
    }
    try {
      await next();
    } finally {
      if (c.res.headers.get('content-type') !== EVENT_STREAM) c.get('ticket').end();
    }
  };
}

/** Reserves what a generation may use; throws `ServeError` where that is over the limit. */
export function reserveTokens(c: Context<HttpEnv>, tokens: number): void {
  const ticket = c.get('ticket');
  try {
    ticket.reserve(tokens);
  } finally {
    setHeaders(c, ticket.headers());
  }
}

function setHeaders(c: Context, headers: Record<string, string>): void {
  for (const [name, value] of Object.entries(headers)) c.header(name, value);
}
