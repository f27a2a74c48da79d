// Turns any error into the response that a client sees. No other file writes the error envelope. Unknown errors are logged and
// answered without details.
import type { Context } from 'hono';
import { HTTPException } from 'hono/http-exception';
import { ServeError } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import type { MessageError } from '../../contracts/messages.ts';
import type { ErrorEnvelope } from '../../contracts/openai.ts';

/** The `error.type` that SDKs show. Other statuses map to `invalid_request_error` or `server_error`. */
const TYPE_OF_STATUS: Record<number, string> = {
  401: 'authentication_error',
  403: 'permission_error',
  429: 'rate_limit_error',
};

/** Writes the error as OpenAI's envelope. */
export function toEnvelope(error: ServeError): ErrorEnvelope {
  const { message, param, code, status, lines } = error;
  const fallback = status >= 500 ? 'server_error' : 'invalid_request_error';
  const type = TYPE_OF_STATUS[status] ?? fallback;
  return { error: { message, type, param, code, ...(lines && { lines: [...lines] }) } };
}

/** The `error.type` in Anthropic's envelope, if it differs from OpenAI's. */
const MESSAGE_TYPE_OF_STATUS: Record<number, string> = {
  404: 'not_found_error',
  413: 'request_too_large',
  503: 'overloaded_error',
  504: 'timeout_error',
};

/** Writes the error as Anthropic's envelope. It also has the members of OpenAI's. */
export function toMessageError(serveError: ServeError): MessageError {
  const { status } = serveError;
  const { error } = toEnvelope(serveError);
  const fallback = status >= 500 ? 'api_error' : error.type;
  return { type: 'error', error: { ...error, type: MESSAGE_TYPE_OF_STATUS[status] ?? fallback } };
}

/** Whether a path belongs to Anthropic's API. */
export function isMessagesPath(path: string): boolean {
  return path === '/v1/messages' || path.startsWith('/v1/messages/');
}

/** Writes the response for an error, in the envelope of the API that the request's path belongs to. */
export function errorResponse(c: Context, error: ServeError): Response {
  const envelope = isMessagesPath(c.req.path)
    ? { ...toMessageError(error), request_id: c.get('requestId') }
    : toEnvelope(error);
  return c.json(envelope, error.status as 400, errorHeaders(error));
}

/** Returns the error that the client sees. Logs the details that it does not see. */
export function toServeError(error: unknown, log: Logger): ServeError {
  if (error instanceof ServeError) {
    if (error.code === 'insufficient_storage') {
      log.error({ err: error.cause, alert: 'disk_full' }, 'the disk is full');
    }
    return error;
  }
  if (error instanceof HTTPException && error.status < 500) {
    return new ServeError('invalid_request', error.message || 'Bad request');
  }
  log.error({ err: error }, 'request failed');
  return new ServeError(
    'internal_error',
    'The server had an error while processing the request. Its log gives the reason, under the id in the header x-request-id.',
  );
}

/** Server errors that SDKs must not retry, because only a person can fix them or the client's time is over. */
const NEVER_RETRIED: ReadonlySet<string> = new Set([
  'deadline_exceeded',
  'adapter_checksum_mismatch',
  'insufficient_storage',
  'object_damaged',
  'unsupported_transfer_encoding',
]);

/** Returns headers that tell SDKs whether and when to retry, and proxies whether to keep the connection. */
export function errorHeaders(error: ServeError): Record<string, string> {
  const headers: Record<string, string> = {};
  if (NEVER_RETRIED.has(error.code)) headers['x-should-retry'] = 'false';
  else if (error.retryAfterS !== undefined) headers['retry-after'] = String(error.retryAfterS);
  if (error.status === 401) headers['www-authenticate'] = 'Bearer';
  // The rest of a slow body may never come. (The rest of a body that is too large is read and dropped: a client that is still
  // writing would see a reset instead of the response.)
  if (error.status === 408) headers['connection'] = 'close';
  return headers;
}

/** The client has closed the connection, so nobody reads the response. */
const CLIENT_GONE = 499;

/** Creates the handler for `app.onError`. */
export function createErrorHandler(log: Logger) {
  return (error: Error, c: Context): Response => {
    if (c.req.raw.signal.aborted) return c.body(null, CLIENT_GONE as 400);
    return errorResponse(c, toServeError(error, log));
  };
}
