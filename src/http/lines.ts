// Answers the lines of batches, the questions of graders and the samples of training loops with the routes that answer single
// requests. A line comes from this process, so it has a tenant instead of a key, and needs none of the checks of the network.
import { OpenAPIHono } from '@hono/zod-openapi';
import type { LineRequest, RunLine } from '../batches/context.ts';
import type { Deps } from './deps.ts';
import { addChatRoutes, addCompletionRoutes, addResponseRoutes } from './routes/generation.ts';
import { addEmbeddingsRoute } from './routes/pooled.ts';
import { createErrorHandler } from './wire/errors.ts';
import { assignRequestId, type HttpEnv, limitRate, observeHttp } from './wire/middleware.ts';

/** Creates the function that answers lines. The routes are created for the first one. */
export function createLineApp(deps: Deps): RunLine {
  let app: OpenAPIHono<HttpEnv> | undefined;
  return async ({ tenant, url, body, timeoutMs, signal }) => {
    app ??= createRoutes(deps);
    const headers = {
      'content-type': 'application/json',
      'x-request-timeout-ms': String(timeoutMs),
    };
    const request = new Request(`http://batch${url}`, { method: 'POST', headers, body, signal });
    const response = await app.fetch(request, { tenant });
    const requestId = response.headers.get('x-request-id')!;
    return { status: response.status, requestId, body: await response.text() };
  };
}

function createRoutes(deps: Deps): OpenAPIHono<HttpEnv> {
  const app = new OpenAPIHono<HttpEnv>();
  app.onError(createErrorHandler(deps.log));
  app.use(observeHttp(deps.telemetry));
  app.use(assignRequestId());
  app.use(async function takeTenant(c, next) {
    c.set('tenant', (c.env as Pick<LineRequest, 'tenant'>).tenant);
    await next();
  });
  app.use(limitRate(deps.rateLimits));
  addCompletionRoutes(app, deps);
  addChatRoutes(app, deps);
  addEmbeddingsRoute(app, deps);
  addResponseRoutes(app, deps);
  return app;
}
