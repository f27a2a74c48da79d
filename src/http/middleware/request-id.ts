// `x-request-id` on every response, and the headers that keep browsers from guessing or framing.
// A client's own id is echoed where it is well formed.
import { randomUUID } from 'node:crypto';
import type { MiddlewareHandler } from 'hono';
import type { HttpEnv } from './tenant.ts';

const WELL_FORMED = /^[A-Za-z0-9._:-]{1,128}$/;

const SECURE_HEADERS = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
};

export function toRequestId(own: string | undefined): string {
  return own !== undefined && WELL_FORMED.test(own) ? own : `req_${randomUUID()}`;
}

export function responseHeaders(): MiddlewareHandler<HttpEnv> {
  return async function responseHeaders(c, next) {
    const requestId = toRequestId(c.req.header('x-request-id'));
    c.set('requestId', requestId);
    c.header('x-request-id', requestId);
    for (const [name, value] of Object.entries(SECURE_HEADERS)) c.header(name, value);
    await next();
  };
}
