// Decides which web pages may use this server from a browser: its own, and those of the origins that the operator
// listed. Anybody else's page can still send requests, so where no key protects them, those that could change something
// are refused. A page that rebinds its own name to this machine looks like this server's own here; `host.ts` refuses it.
import type { Context, MiddlewareHandler } from 'hono';
import { cors } from 'hono/cors';
import { ServeError } from '../../common/errors.ts';

/** Whether pages of an origin may read this server's answers and send it requests. */
export type IsAllowedOrigin = (origin: string) => boolean;

/** How long a browser may remember a preflight's answer. Browsers cap it at two hours or less. */
const PREFLIGHT_MAX_AGE_S = 7200;

/** Headers that scripts of other origins may read: those that SDKs use, and this server's own. */
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
/** `none`: typed into the address bar. `same-site` may be another port of this host, which is another program. */
const OWN_SITES = new Set(['same-origin', 'none']);

/**
 * Creates the check of a list of origins. `*` allows every origin but `null`, which sandboxed frames and local files of
 * anybody share.
 */
export function createOriginCheck(allowedOrigins: readonly string[]): IsAllowedOrigin {
  const allowed = new Set(allowedOrigins);
  const isEvery = allowed.has('*');
  return (origin) => origin !== 'null' && (isEvery || allowed.has(origin));
}

/**
 * Adds CORS headers for allowed origins and answers their preflights, which never carry a key. Credentials are not
 * allowed: keys travel in `Authorization`, which scripts set themselves.
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
    c.header('vary', 'Origin', { append: true }); // a cache must not give this answer to an allowed origin
    await next();
  };
}

/**
 * For servers without keys: throws `ServeError` (403) for a request of another origin's page that may change something.
 */
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
 * Whether this server's own page asks, or no page. Browsers send `Sec-Fetch-Site` to HTTPS and loopback addresses, and
 * `Origin` with every POST and DELETE; other clients send neither.
 */
function isOwn({ req }: Context): boolean {
  const site = req.header('sec-fetch-site');
  if (site !== undefined) return OWN_SITES.has(site);
  const origin = req.header('origin');
  if (origin === undefined) return true;
  const host = req.header('host') ?? new URL(req.url).host;
  // The scheme is not compared: a proxy may have ended TLS.
  return URL.canParse(origin) && new URL(origin).host === host.toLowerCase();
}
