// Listens: an app on Node's HTTP server, with the limits that only the parser can enforce, and an end that lets
// streams finish. Knows no route.
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { getRequestListener, type HttpBindings } from '@hono/node-server';
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
  /** Goes on answering, but each answer ends its connection: clients that keep theirs look for another server. */
  retire(): void;
  /** Accepts nothing new, lets answers finish until the deadline, then cuts them. Resolves when all are closed. */
  close(deadlineMs: number): Promise<void>;
}

/** A request with its body, an upload of 512 MiB at 1 MiB/s: bodies have their own deadlines, this is the last word. */
const REQUEST_TIMEOUT_MS = 600_000;
/** Longer than the usual proxy's idle timeout, so that the proxy closes first. */
const KEEP_ALIVE_MS = 65_000;

/** Rejects where the address cannot be had. */
export async function startServer(
  app: FetchApp,
  { host, port, headersTimeoutMs = 10_000 }: ServerOptions,
): Promise<RunningServer> {
  const answer: FetchApp['fetch'] = (request, env) =>
    hasDotSegments((env as HttpBindings).incoming.url)
      ? refusal(new ServeError('not_found', 'There is no such route'))
      : app.fetch(request, env);
  const listener = getRequestListener(answer, {
    errorHandler: () => refusal(new ServeError('invalid_request', 'Bad request target or Host')),
  });
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      requireHostHeader: false, // the listener refuses it, with an envelope and an id
      headersTimeout: headersTimeoutMs,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: Math.min(headersTimeoutMs, 5_000),
    },
    listener,
  );
  server.on('clientError', refuseConnection);
  const end = createEnd(server);
  await listen(server, host, port);
  const bound = server.address() as AddressInfo;
  const name = bound.family === 'IPv6' ? `[${bound.address}]` : bound.address;
  return {
    url: `http://${name}:${bound.port}`,
    port: bound.port,
    ...end,
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

/** How the server ends. Idle connections would hold it open until their clients leave. */
function createEnd(server: Server): Pick<RunningServer, 'retire' | 'close'> {
  let isRetired = false;
  let isClosing = false;
  server.prependListener('request', (_request: IncomingMessage, response) => {
    if (isRetired) response.setHeader('connection', 'close');
    response.once('close', () => {
      if (isClosing) setImmediate(() => server.closeIdleConnections());
    });
  });
  const retire = () => {
    isRetired = true;
  };
  const close = (deadlineMs: number) => {
    retire();
    isClosing = true;
    return new Promise<void>((resolve) => {
      const deadline = setTimeout(() => server.closeAllConnections(), deadlineMs);
      server.close(() => {
        clearTimeout(deadline);
        resolve();
      });
      server.closeIdleConnections();
    });
  };
  return { retire, close };
}

/** `.` and `..`, escaped or not, in a target's path: URL parsers resolve them, so that a proxy may see another path. */
function hasDotSegments(target = ''): boolean {
  return /^[^?#]*\/(?:\.|%2e){1,2}(?:[/?#]|$)/i.test(target);
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
