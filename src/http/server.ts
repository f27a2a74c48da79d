// Listens: an app on Node's HTTP server, with the limits that only the parser can enforce, and an end that lets
// streams finish. Knows no route.
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { ServeError } from '../errors.ts';
import { MAX_HEADER_BYTES } from './limits.ts';
import { toEnvelope } from './middleware/errors.ts';
import { toRequestId } from './middleware/request-id.ts';

/** What an app is to a server. */
export interface FetchApp {
  fetch: Parameters<typeof getRequestListener>[0];
}

export interface ServerOptions {
  host: string;
  /** 0: the system chooses. */
  port: number;
  /** From a connection's (or a request's) first byte to the end of its headers. */
  headersTimeoutMs?: number;
}

export interface RunningServer {
  url: string;
  port: number;
  /** Accepts nothing new, lets answers finish until the deadline, then cuts them. Resolves when all are closed. */
  close(deadlineMs: number): Promise<void>;
}

/** A request with its body: bodies have their own shorter deadline, this is the parser's last word. */
const REQUEST_TIMEOUT_MS = 60_000;
/** Longer than the usual proxy's idle timeout, so that the proxy closes first. */
const KEEP_ALIVE_MS = 65_000;

/** Rejects where the address cannot be had. */
export async function startServer(
  app: FetchApp,
  { host, port, headersTimeoutMs = 10_000 }: ServerOptions,
): Promise<RunningServer> {
  const listener = getRequestListener(app.fetch, {
    errorHandler: () => refusal(new ServeError('invalid_request', 'Bad request target or Host')),
  });
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: headersTimeoutMs,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: Math.min(headersTimeoutMs, 5_000),
    },
    listener,
  );
  server.on('clientError', refuseConnection);
  const close = createCloser(server);
  await listen(server, host, port);
  const bound = server.address() as AddressInfo;
  const name = bound.family === 'IPv6' ? `[${bound.address}]` : bound.address;
  return {
    url: `http://${name}:${bound.port}`,
    port: bound.port,
    close,
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** The function that closes the server. Idle connections would hold it open until their clients leave. */
function createCloser(server: Server): (deadlineMs: number) => Promise<void> {
  let isClosing = false;
  server.prependListener('request', (_request: IncomingMessage, response) => {
    if (isClosing) response.setHeader('connection', 'close');
    response.once('close', () => {
      if (isClosing) setImmediate(() => server.closeIdleConnections());
    });
  });
  return (deadlineMs) => {
    isClosing = true;
    return new Promise((resolve) => {
      const deadline = setTimeout(() => server.closeAllConnections(), deadlineMs);
      server.close(() => {
        clearTimeout(deadline);
        resolve();
      });
      server.closeIdleConnections();
    });
  };
}

function refusal(error: ServeError): Response {
  return Response.json(toEnvelope(error), {
    status: error.status,
    headers: { 'x-request-id': toRequestId(undefined), connection: 'close' },
  });
}

/** What the parser refuses has no request to answer by: the answer is written to the socket. */
function refuseConnection(error: Error & { code?: string }, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const { status, body } = toRefusal(error.code);
  const head = [
    `HTTP/1.1 ${status}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    `x-request-id: ${toRequestId(undefined)}`,
    'Connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}

function toRefusal(code: string | undefined): { status: string; body: string } {
  const [error, reason] =
    code === 'HPE_HEADER_OVERFLOW'
      ? [
          new ServeError('header_too_large', `Headers are over ${MAX_HEADER_BYTES} bytes`),
          'Request Header Fields Too Large',
        ]
      : code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? [new ServeError('request_timeout', 'The request came too slowly'), 'Request Timeout']
        : [new ServeError('invalid_request', 'The request is not valid HTTP'), 'Bad Request'];
  return { status: `${error.status} ${reason}`, body: JSON.stringify(toEnvelope(error)) };
}
