// Counts every answer, and opens the trace of every request but a probe's or a scraper's. Knows what HTTP shows: method,
// route, status; never a path's values, a query or a body.
import type { MiddlewareHandler } from 'hono';
import { matchedRoutes } from 'hono/route';
import { ServeError } from '../../common/errors.ts';
import type { Telemetry } from '../../telemetry/telemetry.ts';
import type { HttpEnv } from './tenant.ts';

/** Asked every few seconds by whoever watches the server. */
const UNTRACED = new Set(['/livez', '/readyz', '/health', '/metrics']);

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
      // Middleware matches all methods; what no route answers has no name.
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
