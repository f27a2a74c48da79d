// Listens: an app on Node's HTTP server, with the limits that only the transport can enforce, and an end that lets
// streams finish. Knows no route.
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { getRequestListener, type HttpBindings } from '@hono/node-server';
import { ServeError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import {
  boundConnections,
  type ConnectionLimits,
  toConnectionLimits,
  type WantedLimits,
} from './connections.ts';
import { FRAGMENTED, MeasuredMessage } from './fragments.ts';
import { MAX_HEADER_BYTES } from './limits.ts';
import { toEnvelope } from './middleware/errors.ts';
import { toRequestId } from './middleware/request-id.ts';
import { createSocketRefusal, type SocketRefusal, toParserRefusal } from './socket-refusal.ts';

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
  connections?: WantedLimits;
  log?: Pick<Logger, 'warn'>;
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

/** A refused connection is logged once in this time, whatever comes. */
const REFUSAL_LOG_MS = 60_000;

/** Serves the app. Rejects if the address cannot be had. */
export async function startServer(app: FetchApp, options: ServerOptions): Promise<RunningServer> {
  const { host, port, headersTimeoutMs = 10_000, log } = options;
  const refusal = createSocketRefusal();
  const server = createServer(
    {
      IncomingMessage: MeasuredMessage,
      maxHeaderSize: MAX_HEADER_BYTES,
      requireHostHeader: false, // the listener refuses it, with an envelope and an id
      headersTimeout: headersTimeoutMs,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: Math.min(headersTimeoutMs, 5_000),
    },
    createListener(app, refusal),
  );
  refuseOnSocket(server, refusal);
  const limits = toConnectionLimits(options.connections);
  const warnFull = createFullWarning(limits, log);
  boundConnections(server, limits, {
    onRefused(socket) {
      warnFull();
      const message = 'The server has no free connection. Try again later.';
      refusal.refuse(socket, new ServeError('overloaded', message));
    },
  });
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

function createListener(app: FetchApp, { refuse, isRefused }: SocketRefusal): RequestListener {
  const answer: FetchApp['fetch'] = (request, env) =>
    hasDotSegments((env as HttpBindings).incoming.url)
      ? toRefusal(new ServeError('not_found', 'There is no such route'))
      : app.fetch(request, env);
  const listener = getRequestListener(answer, {
    errorHandler: () => toRefusal(new ServeError('invalid_request', 'Bad request target or Host')),
  });
  return (request, response) => {
    if (isRefused(request.socket)) return;
    request.once(FRAGMENTED, (error: ServeError) => {
      if (response.headersSent) request.socket.destroy();
      else refuse(request.socket, error);
    });
    void listener(request, response);
  };
}

/** Answers what never becomes a request for the app. */
function refuseOnSocket(server: Server, { refuse }: SocketRefusal): void {
  server.on('clientError', (error: Error & { code?: string }, socket: Socket) => {
    if (error.code === 'ECONNRESET') socket.destroy();
    else refuse(socket, toParserRefusal(error.code));
  });
  server.on('connect', (_request, socket) => {
    refuse(socket, new ServeError('method_not_allowed', 'This server is no proxy'));
  });
  server.on('checkExpectation', ({ socket }: IncomingMessage, _response: ServerResponse) => {
    const message = 'Expect: only 100-continue is supported';
    refuse(socket, new ServeError('expectation_failed', message));
  });
}

function createFullWarning(limits: ConnectionLimits, log: ServerOptions['log']): () => void {
  let quietUntilMs = Number.NEGATIVE_INFINITY;
  return () => {
    const nowMs = performance.now();
    if (nowMs < quietUntilMs) return;
    quietUntilMs = nowMs + REFUSAL_LOG_MS;
    log?.warn(
      limits,
      'Connections were closed or refused for being too many. See --max-connections and --max-connections-per-address.',
    );
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

function toRefusal(error: ServeError): Response {
  return Response.json(toEnvelope(error), {
    status: error.status,
    headers: { 'x-request-id': toRequestId(undefined), connection: 'close' },
  });
}
