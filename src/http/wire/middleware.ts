// The middleware that every request passes through, and the variables that it sets: gives the request an id, counts and traces
// it, finds its tenant by its key, and applies the tenant's limits. Telemetry sees the method, the route and the status, and
// never the values in a path, a query or a body.
import { randomUUID } from 'node:crypto';
import type { Context, MiddlewareHandler } from 'hono';
import { matchedRoutes } from 'hono/route';
import { ServeError } from '../../common/errors.ts';
import type { Caller } from '../../common/turn-queue.ts';
import type { RequestTime } from '../../contracts/generation.ts';
import type { Tenant } from '../../contracts/tenant.ts';
import type { Exchange, Telemetry } from '../../telemetry/telemetry.ts';
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

const WELL_FORMED = /^[A-Za-z0-9._:-]{1,128}$/;

/** Monitors call these every few seconds. */
const UNTRACED = new Set(['/livez', '/readyz', '/health', '/metrics']);

/** Returns the client's own id if it is well formed, otherwise a new one. */
export function toRequestId(clientId: string | undefined): string {
  return clientId !== undefined && WELL_FORMED.test(clientId) ? clientId : `req_${randomUUID()}`;
}

/**
 * Sends `x-request-id` with every response. (Hono's own middleware would replace ids with dots or colons, which other
 * systems use, and accepts longer ones.)
 */
export function assignRequestId(): MiddlewareHandler<HttpEnv> {
  return async function assignRequestId(c, next) {
    const id = toRequestId(c.req.header('x-request-id'));
    c.set('requestId', id);
    c.header('x-request-id', id);
    await next();
  };
}

/** Reports to telemetry when a request begins and how it was answered. */
export function observeHttp(telemetry: Telemetry): MiddlewareHandler<HttpEnv> {
  return async function observeHttp(c, next) {
    const { method } = c.req;
    const exchange = telemetry.begin(
      UNTRACED.has(c.req.path)
        ? undefined
        : {
            name: method,
            attributes: { 'http.request.method': method },
            header: (name) => c.req.header(name),
          },
    );
    c.set('exchange', exchange);
    exchange.hold();
    try {
      await telemetry.within(exchange, next);
    } finally {
      // Middleware matches all methods, so the last match for a single method is the route that answered.
      const route =
        matchedRoutes(c).findLast((matched) => matched.method !== 'ALL')?.path ?? 'none';
      const code = c.error instanceof ServeError ? c.error.code : '';
      const { status } = c.res;
      telemetry.countResponse({ method, route, status: String(status), code });
      exchange.nameSpan(`${method} ${route}`);
      exchange.span?.setAttributes({ 'http.route': route, 'http.response.status_code': status });
      if (status >= 500) exchange.span?.setFailed(code || String(status));
      exchange.release();
    }
  };
}
