// The deadline of a request: from its header, or the server's default.
import type { Context } from 'hono';
import { deadlineError, ServeError } from '../../common/errors.ts';
import { type Deadline, deadline } from '../../common/waiting.ts';
import type { HttpLimits } from './limits.ts';
import type { HttpEnv } from './tenant.ts';

const HEADER = 'x-request-timeout-ms';
const MAX_MS = 24 * 3_600_000;

/** Starts the request's time. Throws `ServeError` if the header is not a whole number of milliseconds of at most a day. */
export function startRequestTime(c: Context<HttpEnv>, { requestTimeoutMs }: HttpLimits): void {
  const header = c.req.header(HEADER);
  const ms = header === undefined ? requestTimeoutMs : Number(header);
  const isValid = header === undefined || /^[1-9]\d{0,8}$/.test(header);
  if (!isValid || ms > MAX_MS) {
    const message = `${HEADER}: must be a whole number of milliseconds from 1 to ${MAX_MS}`;
    throw new ServeError('invalid_request', message, { param: HEADER });
  }
  c.set('time', { ms, endsAtMs: performance.now() + ms });
}

/** Returns a signal that aborts with the given signal, or with a `ServeError` when the request's time is over. */
export function requestDeadline(c: Context<HttpEnv>, signal: AbortSignal): Deadline {
  const time = c.get('time');
  const leftMs = Math.max(0, time.endsAtMs - performance.now());
  return deadline(leftMs, deadlineError(time), { signal });
}
