// Finds the tenant of a request by its key, and applies the tenant's limits. Response headers show what is left of the limits.
// Without a keys file there is one tenant.
import type { Context, MiddlewareHandler } from 'hono';
import { ServeError } from '../../common/errors.ts';
import type { Caller } from '../../common/turn-queue.ts';
import type { RequestTime } from '../../contracts/generation.ts';
import type { Tenant } from '../../contracts/tenant.ts';
import type { Exchange } from '../../telemetry/tracing.ts';
import type { Authenticate } from '../../tenants/access.ts';
import type { RateLimits, Reservation } from '../../tenants/rate-limits.ts';
import { EVENT_STREAM } from './event-stream.ts';

/** The variables that middleware sets for routes. */
export interface HttpEnv {
  Variables: {
    tenant: Tenant;
    reservation: Reservation;
    exchange: Exchange;
    requestId: string;
    /** Its queue entry, until its sequences are submitted. */
    place: Disposable;
    time: RequestTime;
    /** Aborts when the request's time is over or its client is gone. Undefined if its time is unlimited. */
    signal: AbortSignal | undefined;
  };
}

/** Sets the tenant. Throws `ServeError` (401) if the key is missing or unknown. */
export function tenant(authenticate: Authenticate): MiddlewareHandler<HttpEnv> {
  return async function tenant(c, next) {
    c.set('tenant', authenticate(c.req.header('authorization')));
    await next();
  };
}

/** Returns the caller on whose behalf another process works. */
export function callerOf(c: Context<HttpEnv>): Caller {
  return { tenant: c.get('tenant').id, signal: c.get('signal') };
}

/** Throws `ServeError` (403) if the key is not an admin key. */
export function requireAdmin(c: Context<HttpEnv>): void {
  if (!c.get('tenant').isAdmin) throw new ServeError('forbidden', 'This route needs an admin key.');
}

/** Counts a request as running until its response is ready or, if it is streamed, until its generation ends. */
export function limitRate(limits: RateLimits): MiddlewareHandler<HttpEnv> {
  return async function limitRate(c, next) {
    const tenant = c.get('tenant');
    try {
      c.set('reservation', limits.begin(tenant));
    } finally {
      setHeaders(c, limits.headers(tenant));
    }
    try {
      await next();
    } finally {
      if (c.res.headers.get('content-type') !== EVENT_STREAM) c.get('reservation').end();
    }
  };
}

/** Reserves the most tokens that a generation can use. Throws `ServeError` if they exceed the limit. */
export function reserveTokens(c: Context<HttpEnv>, tokens: number, limitField: string): void {
  const reservation = c.get('reservation');
  try {
    reservation.reserve(tokens, limitField);
  } finally {
    setHeaders(c, reservation.headers());
  }
}

function setHeaders(c: Context, headers: Record<string, string>): void {
  for (const [name, value] of Object.entries(headers)) c.header(name, value);
}
