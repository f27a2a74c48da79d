// Answers a client on its socket and closes the connection, for refusals that come before there is a request to answer.
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { ServeError } from '../../common/errors.ts';
import { errorHeaders, toEnvelope } from './errors.ts';
import { MAX_HEADER_BYTES } from './limits.ts';
import { toRequestId } from './middleware.ts';

/** Refuses connections. */
export interface SocketRefusal {
  /** Writes the error as a response and closes the connection. Does nothing if the socket was already refused. */
  refuse(socket: Duplex, error: ServeError): void;
  isRefused(socket: Duplex): boolean;
}

/**
 * How long a refused socket stays open. If it were destroyed immediately, a client that is still writing would see a reset
 * instead of the response. A client that never closes its side must not hold a descriptor for longer.
 */
const LINGER_MS = 1000;
/** The most refused sockets that may be open. Each holds a descriptor, so one more destroys the oldest. */
const MAX_LINGERING = 32;

/** Creates a server's refusal of connections. */
export function createSocketRefusal(): SocketRefusal {
  const refused = new WeakSet<Duplex>();
  const lingering = new Set<Duplex>();
  const refuse = (socket: Duplex, error: ServeError) => {
    if (refused.has(socket)) return;
    refused.add(socket);
    if (!socket.writable) {
      socket.destroy();
      return;
    }
    const [oldest] = lingering.size >= MAX_LINGERING ? lingering : [];
    oldest?.destroy();
    lingering.add(socket);
    const timer = setTimeout(() => socket.destroy(), LINGER_MS);
    socket.once('close', () => {
      clearTimeout(timer);
      lingering.delete(socket);
    });
    socket.on('error', () => {}); // the client may be gone
    socket.end(toRawResponse(error));
  };
  return { refuse, isRefused: (socket) => refused.has(socket) };
}

/** Returns the error for a client whose request the HTTP parser rejected with this code. */
export function toParserRefusal(code: string | undefined): ServeError {
  if (code === 'HPE_HEADER_OVERFLOW') {
    return new ServeError(
      'header_too_large',
      `The headers are larger than ${MAX_HEADER_BYTES / 1024} KiB. Send fewer or shorter ones.`,
    );
  }
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return new ServeError('request_timeout', 'The request arrived too slowly. Send it again.');
  }
  return new ServeError(
    'invalid_request',
    'The request is not valid HTTP. This server speaks plain HTTP, not HTTPS.',
  );
}

function toRawResponse(error: ServeError): string {
  const body = JSON.stringify(toEnvelope(error));
  const headers = {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    'x-request-id': toRequestId(undefined),
    ...errorHeaders(error),
    ...(error.status === 405 && { allow: 'GET, POST, DELETE' }),
    connection: 'close',
  };
  const head = [
    `HTTP/1.1 ${error.status} ${STATUS_CODES[error.status]}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
  ];
  return `${head.join('\r\n')}\r\n\r\n${body}`;
}
