// Refuses requests that were addressed to another name: a web page that rebinds its own DNS name to this
// machine can then not reach the API from a browser. Addresses are no names: nobody can rebind one, and probes, routers
// and scrapers of a cluster ask by them.
import { isIP } from 'node:net';
import type { MiddlewareHandler } from 'hono';
import { ServeError } from '../../errors.ts';

const HOST = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?$/;

/** `allowedHosts`: further host names, without port. */
export function hostAllowlist(allowedHosts: readonly string[] = []): MiddlewareHandler {
  const allowed = new Set(['localhost', ...allowedHosts.map((host) => host.toLowerCase())]);
  return async function hostAllowlist(c, next) {
    const host = c.req.header('host') ?? new URL(c.req.url).host;
    const name = HOST.exec(host.toLowerCase())?.[1];
    if (name === undefined || !(isAddress(name) || allowed.has(name))) {
      c.header('connection', 'close'); // whoever sent this sends more of it
      throw new ServeError('invalid_request', 'The Host header names another server');
    }
    await next();
  };
}

function isAddress(name: string): boolean {
  return isIP(name.replace(/^\[(.*)\]$/, '$1')) !== 0;
}
