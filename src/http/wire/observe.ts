// Gives each request an id, counts every response, and opens a trace for every request except probes and scrapes. Telemetry
// sees the method, the route and the status, and never the values in a path, a query or a body.
import { randomUUID } from 'node:crypto';
import type { MiddlewareHandler } from 'hono';
import { matchedRoutes } from 'hono/route';
import { ServeError } from '../../common/errors.ts';
import type { Telemetry } from '../../telemetry/telemetry.ts';
import type { HttpEnv } from './tenant.ts';

const WELL_FORMED = /^[A-Za-z0-9._:-]{1,128}$/;

/** Monitors call these every few seconds. */
const UNTRACED = new Set(['/livez', '/readyz', '/health', '/metrics']);

/** Returns the client's own id if it is well formed, otherwise a new one. */
export function toRequestId(own: string | undefined): string {
  return own !== undefined && WELL_FORMED.test(own) ? own : `req_${randomUUID()}`;
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
