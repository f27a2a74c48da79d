// Refuses requests that were addressed to another name: a web page that rebinds its own DNS name to this
// machine can then not reach the API from a browser. Addresses are no names: nobody can rebind one, and probes, routers
// and scrapers of a cluster ask by them.
import { isIP } from 'node:net';
import type { MiddlewareHandler } from 'hono';
import { ServeError } from '../../common/errors.ts';

const HOST = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?$/;

/**
 * `allowedHosts`: further host names, without port. `*.example.org` are all names below that one, `*` all names: for who
 * needs keys from everybody, which a page on a name of its own does not have.
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
      c.header('connection', 'close'); // whoever sent this sends more of it
      throw new ServeError('invalid_request', 'The Host header names another server');
    }
    await next();
  };
}

function isAddress(name: string): boolean {
  return isIP(name.replace(/^\[(.*)\]$/, '$1')) !== 0;
}

/** `example.org` and `org` of `api.example.org`. */
function parentsOf(name: string): string[] {
  const labels = name.split('.');
  return labels.slice(1).map((_, i) => labels.slice(i + 1).join('.'));
}
