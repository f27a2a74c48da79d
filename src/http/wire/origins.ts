// Decides which web pages can use this server from a browser: its own pages, and pages of origins that the operator listed.
// Other pages can still send requests, so requests that could change something are refused if no key protects the server. A
// page that rebinds its own DNS name to this machine has the server's own origin, so the Host header is checked as well.
import { isIP } from 'node:net';
import type { Context, MiddlewareHandler } from 'hono';
import { cors } from 'hono/cors';
import { ServeError } from '../../common/errors.ts';

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
 * scripts send keys in `Authorization`.
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
