// The middleware that every request passes through, and the variables that it sets: gives the request an id, counts and traces
// it, refuses web pages that may not use this server, finds the tenant of its key, and applies the tenant's limits.
import { randomUUID } from 'node:crypto';
import { isIP } from 'node:net';
import type { HttpBindings } from '@hono/node-server';
import type { Context, MiddlewareHandler } from 'hono';
import { cors } from 'hono/cors';
import { matchedRoutes } from 'hono/route';
import { ServeError } from '../../common/errors.ts';
import type { Caller } from '../../common/turn-queue.ts';
import type { RequestTime } from '../../contracts/generation.ts';
import type { Tenant } from '../../contracts/tenant.ts';
import type { Exchange } from '../../telemetry/exchange.ts';
import type { Telemetry } from '../../telemetry/telemetry.ts';
import type { Authenticate, TenantGateway } from '../../tenants/access.ts';
import type { RateLimits, Reservation } from '../../tenants/rate-limits.ts';
import { isMessagesPath } from './errors.ts';
import { EVENT_STREAM } from './event-stream.ts';

/** The variables that middleware sets for routes. */
export interface HttpEnv {
  Variables: {
    tenant: Tenant;
    reservation: Reservation;
    exchange: Exchange;
    requestId: string;
    /** Its queue entry, until its sequences are submitted. */
    queueEntry: Disposable;
    time: RequestTime;
    /** Aborts when the request's time is over or its client is gone. Undefined if its time is unlimited. */
    signal: AbortSignal | undefined;
    /** Whether its generation continues in the background after its response. */
    isDetached: boolean | undefined;
  };
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
    if (isMessagesPath(c.req.path)) c.header('request-id', id); // Anthropic's clients show it
    await next();
  };
}

/**
 * Reports to telemetry when a request begins and how it was answered: the method, the route and the status, and never the values
 * in a path, a query or a body.
 */
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

// Decides which web pages can use this server from a browser: its own pages, and pages of origins that the operator listed.
// Other pages can still send requests, so requests that could change something are refused if no key protects the server. A
// page that rebinds its own DNS name to this machine has the server's own origin, so the Host header is checked as well.

const HOST = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?$/;

/**
 * Refuses requests for other host names. IP addresses are always allowed: nobody can rebind one, and a cluster's probes,
 * routers and scrapers use them. `allowedHosts` lists further names without port; `*.example.org` allows all names below that
 * one. `*` allows all names, for servers with keys: a rebound page has no key.
 */
export function hostAllowlist(allowedHosts: readonly string[] = []): MiddlewareHandler {
  const allowed = new Set(['localhost', ...allowedHosts.map((host) => host.toLowerCase())]);
  const isAllowed = (name: string) =>
    allowed.has('*') ||
    allowed.has(name) ||
    parentsOf(name).some((parent) => allowed.has(`*.${parent}`));
  return async function hostAllowlist(c, next) {
    const host = c.req.header('host') ?? new URL(c.req.url).host;
    const name = HOST.exec(host.toLowerCase())?.[1];
    if (name === undefined || !(isAddress(name) || isAllowed(name))) {
      c.header('connection', 'close'); // this client would send more such requests
      throw new ServeError(
        'invalid_request',
        'The Host header names another server. Add the name to --allowed-hosts to allow it.',
      );
    }
    await next();
  };
}

function isAddress(name: string): boolean {
  return isIP(name.replace(/^\[(.*)\]$/, '$1')) !== 0;
}

/** Returns `example.org` and `org` for `api.example.org`. */
function parentsOf(name: string): string[] {
  const labels = name.split('.');
  return labels.slice(1).map((_, i) => labels.slice(i + 1).join('.'));
}

/** Whether pages of an origin may send requests to this server and read its responses. */
type IsAllowedOrigin = (origin: string) => boolean;

/** How long browsers may cache the response to a preflight. They cap it at two hours or less. */
const PREFLIGHT_MAX_AGE_S = 7200;

/** The headers that scripts of other origins may read: the ones that SDKs use, and this server's own. */
const EXPOSED_HEADERS = [
  'retry-after',
  'x-request-id',
  'request-id',
  'x-should-retry',
  ...['adapter', 'version', 'alias', 'tier', 'load-ms'].map((fact) => `x-lorikeet-${fact}`),
  ...['limit', 'remaining', 'reset'].flatMap((fact) =>
    ['requests', 'tokens'].map((what) => `x-ratelimit-${fact}-${what}`),
  ),
];

const SAFE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS']);
/** `none` means that the user typed the address. `same-site` can be another program on another port of this host. */
const OWN_SITES = new Set(['same-origin', 'none']);

/**
 * Creates the check for a list of origins. `*` allows every origin except `null`, which all sandboxed frames and local files
 * share.
 */
export function createOriginCheck(allowedOrigins: readonly string[]): IsAllowedOrigin {
  const allowed = new Set(allowedOrigins);
  const isEvery = allowed.has('*');
  return (origin) => origin !== 'null' && (isEvery || allowed.has(origin));
}

/**
 * Adds CORS headers for allowed origins and answers their preflights, which never carry a key. Credentials are not allowed:
 * scripts send keys in `Authorization` or `x-api-key`.
 */
export function shareWithOrigins(isAllowed: IsAllowedOrigin): MiddlewareHandler {
  const share = cors({
    origin: (origin) => origin,
    allowMethods: ['GET', 'POST', 'DELETE'],
    exposeHeaders: EXPOSED_HEADERS,
    maxAge: PREFLIGHT_MAX_AGE_S,
  });
  return async function shareWithOrigins(c, next) {
    const origin = c.req.header('origin');
    if (origin !== undefined && isAllowed(origin)) return share(c, next);
    c.header('vary', 'Origin', { append: true }); // caches must not give this response to an allowed origin
    await next();
  };
}

/** Refuses requests from other origins' pages that could change something (403). For servers without keys. */
export function refuseForeignOrigins(isAllowed: IsAllowedOrigin): MiddlewareHandler {
  return async function refuseForeignOrigins(c, next) {
    const origin = c.req.header('origin');
    const isListed = origin !== undefined && isAllowed(origin);
    if (!SAFE_METHODS.has(c.req.method) && !isListed && !isOwn(c)) {
      throw new ServeError(
        'origin_not_allowed',
        'This server refuses requests from web pages of other origins. List the origin with --allowed-origins to allow it.',
      );
    }
    await next();
  };
}

/**
 * Whether the request comes from this server's own page or from no page. Browsers send `Sec-Fetch-Site` to HTTPS and loopback
 * addresses, and `Origin` with every POST and DELETE. Other clients send neither.
 */
function isOwn({ req }: Context): boolean {
  const site = req.header('sec-fetch-site');
  if (site !== undefined) return OWN_SITES.has(site);
  const origin = req.header('origin');
  if (origin === undefined) return true;
  const host = req.header('host') ?? new URL(req.url).host;
  // The scheme is not compared, because a proxy may terminate TLS.
  return URL.canParse(origin) && new URL(origin).host === host.toLowerCase();
}

/** Returns the credentials of a request as an `authorization` header, which wins if there is also an `x-api-key`. */
export function credentialsOf({ req }: Context): string | undefined {
  const key = req.header('x-api-key');
  return req.header('authorization') ?? (key === undefined ? undefined : `Bearer ${key}`);
}

/**
 * Sets the tenant: the one that a trusted gateway names, or else the key's. Throws `ServeError` (401) if the key is unknown, and
 * (403) if it may only read and the request could change something.
 */
export function tenant(
  authenticate: Authenticate,
  gateway: TenantGateway | undefined,
): MiddlewareHandler<HttpEnv> {
  return async function tenant(c, next) {
    const named = gateway?.tenantOf(c.req.header(gateway.header), addressOf(c));
    const tenant = named ?? authenticate(credentialsOf(c));
    if (tenant.isReadOnly && !SAFE_METHODS.has(c.req.method)) {
      throw new ServeError(
        'forbidden',
        'This key may only read. Use another one to generate text or to change something.',
      );
    }
    c.set('tenant', tenant);
    await next();
  };
}

/** Returns the address of the connection's other end; undefined if the request did not come through a socket. */
function addressOf(c: Context): string | undefined {
  return (c.env as Partial<HttpBindings> | undefined)?.incoming?.socket.remoteAddress;
}

/** Returns the caller on whose behalf another process works. */
export function callerOf(c: Context<HttpEnv>): Caller {
  return { tenant: c.get('tenant').id, signal: c.get('signal') };
}

/** Throws `ServeError` (403) if the key is not an admin key. */
export function requireAdmin(c: Context<HttpEnv>): void {
  if (!c.get('tenant').isAdmin)
    throw new ServeError(
      'forbidden',
      'This route needs an admin key. An operator can create one: lorikeet keys create --tenant NAME --admin',
    );
}

/**
 * Counts a request as running until its response is ready or, if it is streamed or in the background, until its generation ends.
 */
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
      const isRunning = c.get('isDetached') || c.res.headers.get('content-type') === EVENT_STREAM;
      if (!isRunning) c.get('reservation').end();
    }
  };
}

/**
 * Lets a request have an effect, and reserves the most tokens that it can use. Rejects with `ServeError` if that exceeds a limit
 * of its tenant.
 */
export async function admitRequest(
  c: Context<HttpEnv>,
  { tokens, limitField }: { tokens: number; limitField?: string },
): Promise<void> {
  const reservation = c.get('reservation');
  try {
    if (tokens > 0) reservation.reserve(tokens, limitField);
    await reservation.admit();
  } finally {
    setHeaders(c, reservation.headers());
  }
}

function setHeaders(c: Context, headers: Record<string, string>): void {
  for (const [name, value] of Object.entries(headers)) c.header(name, value);
}
