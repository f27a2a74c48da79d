// Composes the HTTP side: the middleware that every request passes through, then the routes. `server.ts` listens.
import { OpenAPIHono } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { methodNotAllowed } from 'hono/method-not-allowed';
import { secureHeaders } from 'hono/secure-headers';
import { getPath } from 'hono/utils/url';
import { ServeError } from '../common/errors.ts';
import { type FolderUse, SERVER_FOLDERS } from '../contracts/server-folders.ts';
import { statsWithin } from '../telemetry/stats-history.ts';
import { authenticateAsLocal } from '../tenants/access.ts';
import { type AppOptions, createDeps, type Deps, type LineUsers } from './deps.ts';
import { createLineApp } from './lines.ts';
import { addPublishedRoutes } from './routes/adapters.ts';
import { addBatchRoutes } from './routes/batches.ts';
import { addConversationRoutes } from './routes/conversations.ts';
import { addDocumentRoute } from './routes/document.ts';
import { addFileRoutes } from './routes/files.ts';
import { addFineTuningRoutes } from './routes/fine-tuning.ts';
import {
  addChatRoutes,
  addCompletionRoutes,
  addMessageRoutes,
  addResponseRoutes,
} from './routes/generation.ts';
import { addGraderRoutes } from './routes/graders.ts';
import { addHealthRoutes } from './routes/health.ts';
import { addKeptResponseRoutes } from './routes/kept-responses.ts';
import { addLoadRoutes, addPrefetchRoute } from './routes/load-adapters.ts';
import { addMeRoute } from './routes/me.ts';
import { addMetricsRoute, addRouterMetricsRoute } from './routes/metrics.ts';
import { addModelRoutes } from './routes/models.ts';
import { addPageRoutes } from './routes/pages.ts';
import { addClassifyRoute, addEmbeddingsRoute } from './routes/pooled.ts';
import { addQuarantineRoutes } from './routes/quarantine.ts';
import { addRequestsRoute } from './routes/requests.ts';
import { addTenantsRoute } from './routes/tenants.ts';
import { addTinkerRoutes } from './routes/tinker.ts';
import { addTokenizeRoutes } from './routes/tokenize.ts';
import {
  addUnsupportedRoutes,
  unknownRouteMessage,
  wrongMethodMessage,
} from './routes/unsupported.ts';
import { addUsageRoute } from './routes/usage.ts';
import { createErrorHandler, errorResponse } from './wire/errors.ts';
import {
  assignRequestId,
  createOriginCheck,
  type HttpEnv,
  hostAllowlist,
  limitRate,
  observeHttp,
  refuseForeignOrigins,
  shareWithOrigins,
  tenant,
} from './wire/middleware.ts';

/** Keeps browsers from guessing content types and from framing responses. Pages add their own content policy. */
const SECURE_HEADERS: Parameters<typeof secureHeaders>[0] = {
  xFrameOptions: 'DENY',
  crossOriginOpenerPolicy: false,
  originAgentCluster: false,
  strictTransportSecurity: false, // the proxy that terminates TLS decides
  xDnsPrefetchControl: false,
  xDownloadOptions: false,
  xPermittedCrossDomainPolicies: false,
  xXssProtection: false,
};

/** Creates the app. Requests can be sent to it in-process, or by `server.ts`. */
export function createApp(
  options: AppOptions & LineUsers,
  deps = createDeps(options),
): OpenAPIHono<HttpEnv> {
  const { allowedHosts, allowedOrigins, authenticate = authenticateAsLocal } = options;
  const hasKeys = options.authenticate !== undefined;
  const { hasOpenMetrics = !hasKeys } = options;
  const { telemetry, rateLimits } = deps;
  telemetry.watchEngine(() => readEngine(deps));
  telemetry.watchDisk(() => deps.localAdapters.stats());
  const app = new OpenAPIHono<HttpEnv>({ getPath: pathBelow(options.basePath ?? '') });
  app.onError(createErrorHandler(deps.log));
  app.notFound((c) =>
    errorResponse(c, new ServeError('not_found', unknownRouteMessage(c.req.path))),
  );
  app.use(observeHttp(telemetry));
  app.use(assignRequestId());
  app.use(secureHeaders(SECURE_HEADERS));
  app.use(hostAllowlist(allowedHosts));
  const isAllowedOrigin = createOriginCheck(allowedOrigins ?? []);
  if (allowedOrigins?.length) app.use(shareWithOrigins(isAllowedOrigin));
  if (!hasKeys) app.use(refuseForeignOrigins(isAllowedOrigin));
  addHealthRoutes(app, deps, options.authenticate);
  addPageRoutes(app); // everything below needs a key, even unknown paths and methods
  if (hasOpenMetrics) addMetricsRoute(app, deps, 'open');
  app.use(tenant(authenticate, options.gateway));
  if (!hasOpenMetrics) addMetricsRoute(app, deps, 'admin');
  addMeRoute(app, { hasKeys }); // these two before the limits, so that a tenant at its limit can still ask
  addRequestsRoute(app, deps);
  app.use(limitRate(rateLimits));
  app.use(methodNotAllowed({ app, onMethodNotAllowed: refuseMethod(app) }));
  for (const name of options.unwritable ?? []) refuseFeature(app, SERVER_FOLDERS[name]);
  addModelRoutes(app, deps);
  addCompletionRoutes(app, deps);
  addChatRoutes(app, deps);
  addEmbeddingsRoute(app, deps);
  addClassifyRoute(app, deps);
  addResponseRoutes(app, deps);
  addMessageRoutes(app, deps);
  if (options.keptResponses) addKeptResponseRoutes(app, options.keptResponses);
  if (options.conversations) addConversationRoutes(app, options.conversations, deps.limits);
  addTokenizeRoutes(app, deps);
  addGraderRoutes(app, deps, createLineApp(deps));
  addPrefetchRoute(app, deps);
  addQuarantineRoutes(app, deps, { hasKeys });
  if (options.listTenants) addTenantsRoute(app, deps, options.listTenants);
  if (options.published) addPublishedRoutes(app, deps, options.published);
  if (options.loaded) addLoadRoutes(app, deps, options.loaded);
  if (options.jobs) {
    addFileRoutes(app, options.jobs);
    addFineTuningRoutes(app, deps, options.jobs);
  }
  if (options.batches) addBatchRoutes(app, deps, options.batches);
  if (options.usage) addUsageRoute(app, options.usage, { hasKeys });
  if (options.tinker) addTinkerRoutes(app, deps, options.tinker);
  addUnsupportedRoutes(app);
  addDocumentRoute(app, { hasKeys });
  return app;
}

/** Creates the app of the metrics port, for routers and scrapers without a key. */
export function createMetricsApp(
  options: Required<Pick<AppOptions, 'telemetry' | 'log' | 'allowedHosts'>>,
): OpenAPIHono<HttpEnv> {
  const app = new OpenAPIHono<HttpEnv>();
  app.onError(createErrorHandler(options.log));
  app.notFound((c) =>
    errorResponse(c, new ServeError('not_found', 'This port only serves /metrics.')),
  );
  app.use(secureHeaders(SECURE_HEADERS));
  app.use(hostAllowlist(options.allowedHosts));
  addRouterMetricsRoute(app, options);
  return app;
}

/** Returns the path that Hono routes by: decoded once, and without the base path if the request has one. */
function pathBelow(basePath: string): (request: Request) => string {
  return (request) => {
    const path = getPath(request);
    return path.startsWith(`${basePath}/`) ? path.slice(basePath.length) : path;
  };
}

async function readEngine({ client, limits }: Deps) {
  const figures = await statsWithin(client, limits.statsTimeoutMs);
  return { isReady: client.state === 'ready' && client.isProgressing, figures };
}

function refuseFeature(app: OpenAPIHono<HttpEnv>, { feature, routes }: FolderUse): void {
  const message = `This server takes no ${feature}, because it cannot write the folder for them. Ask its operator: the log names the folder.`;
  app.on('POST', [...routes], (c) =>
    errorResponse(c, new ServeError('insufficient_storage', message)),
  );
}

/** Hono gathers the methods of all patterns that match a path. A literal path of a route has only its own. */
function refuseMethod(app: OpenAPIHono<HttpEnv>) {
  return (c: Context, methods: string[]): Response => {
    const own = app.routes.filter(({ path }) => path === c.req.path).map(({ method }) => method);
    const named = methods.filter((name) => own.includes(name === 'HEAD' ? 'GET' : name));
    const allow = (named.length > 0 ? named : methods).join(', ');
    c.header('allow', allow);
    const message = wrongMethodMessage(c.req.path, allow);
    return errorResponse(c, new ServeError('method_not_allowed', message));
  };
}
