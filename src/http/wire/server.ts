// Serves an app on Node's HTTP server, with the limits that only the transport can enforce, and a shutdown that lets streams
// finish.
import {
  createServer,
  IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { getRequestListener, type HttpBindings } from '@hono/node-server';
import { ServeError } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import {
  boundConnections,
  type ConnectionLimits,
  toConnectionLimits,
  type WantedLimits,
} from './connections.ts';
import { toEnvelope } from './errors.ts';
import { serveHalfClosed } from './half-closed.ts';
import { MAX_HEADER_BYTES } from './limits.ts';
import { toRequestId } from './middleware.ts';
import { createSocketRefusal, type SocketRefusal, toParserRefusal } from './socket-refusal.ts';

/** An app in the form that the server calls. */
export interface FetchApp {
  fetch: Parameters<typeof getRequestListener>[0];
}

/** How to listen. */
export interface ServerOptions {
  host: string;
  /** With 0, the system chooses a port. */
  port: number;
  /** The longest time from the first byte of a connection or request to the end of its headers. */
  headersTimeoutMs?: number;
  connections?: WantedLimits;
  stalledReaderMs?: number;
  log?: Pick<Logger, 'warn'>;
}

/** A listening server. */
export interface RunningServer {
  url: string;
  port: number;
  /** Keeps answering, but closes the connection after each response, so that clients find another server. */
  retire(): void;
  /**
   * Closes idle connections, so that their clients find another server instead of being refused. First accepts the connections
   * and reads the requests that have already arrived; connections with a request stay open.
   */
  closeIdle(): Promise<void>;
  /** Accepts no new connections, and lets responses finish until the deadline, then cuts them. Resolves when all are closed. */
  close(deadlineMs: number): Promise<void>;
}

/** Enough for an upload of 512 MiB at 1 MiB/s. Bodies also have their own, shorter deadlines. */
const REQUEST_TIMEOUT_MS = 600_000;
/** Node closes late connections only at its checks, so one may stay open for up to a tenth longer than the timeout. */
const CHECKS_PER_HEADERS_TIMEOUT = 10;
/** Longer than the usual idle timeout of proxies, so that the proxy closes first. */
const KEEP_ALIVE_MS = 65_000;
/** TCP probes find clients that vanished silently: the first after this time of silence, then 10, one a second. */
const PROBE_AFTER_MS = 10_000;

/** Refused connections are logged at most once per interval. */
const REFUSAL_LOG_MS = 60_000;

/** Emitted once, with a `ServeError` (400), if a body arrives in too many pieces. The rest is dropped. */
const FRAGMENTED = 'fragmented';

/** How many pieces any body may have. Clients that write a JSON body token by token stay below it. */
const MAX_SMALL_PIECES = 1024;
/** The average size that pieces beyond that number must have. A TCP segment holds ten times as much. */
const MIN_AVERAGE_BYTES = 128;

/**
 * A request that limits the number of pieces of its body. Every piece costs the same, however small: parsing a million chunks
 * of one byte would block the event loop for seconds.
 */
class MeasuredMessage extends IncomingMessage {
  #pieces = 0;
  #bytes = 0;
  #isFragmented = false;

  /** The parser calls this for each piece, such as a chunk of a chunked body. */
  override push(chunk: Uint8Array | null, encoding?: BufferEncoding): boolean {
    if (this.#isFragmented) return false;
    if (chunk === null) return super.push(chunk, encoding);
    this.#pieces++;
    this.#bytes += chunk.byteLength;
    if (this.#pieces <= MAX_SMALL_PIECES + this.#bytes / MIN_AVERAGE_BYTES) {
      return super.push(chunk, encoding);
    }
    this.#isFragmented = true;
    const message = `The body came in too many small pieces. Send it whole, or in chunks of at least ${MIN_AVERAGE_BYTES} bytes.`;
    this.emit(FRAGMENTED, new ServeError('invalid_request', message));
    return false;
  }

  /** Called when the body's reader wants more. The rest of a refused body stays in the kernel. */
  override _read(byteSize: number): void {
    if (!this.#isFragmented) super._read(byteSize);
  }
}

/** Serves the app. Rejects if the server can't listen at the address. */
export async function startServer(app: FetchApp, options: ServerOptions): Promise<RunningServer> {
  const { host, port, headersTimeoutMs = 10_000, log } = options;
  const refusal = createSocketRefusal();
  const server = createServer(
    {
      IncomingMessage: MeasuredMessage,
      maxHeaderSize: MAX_HEADER_BYTES,
      requireHostHeader: false, // the app refuses a missing one, with an envelope and an id
      headersTimeout: headersTimeoutMs,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      keepAlive: true,
      keepAliveInitialDelay: PROBE_AFTER_MS,
      connectionsCheckingInterval: headersTimeoutMs / CHECKS_PER_HEADERS_TIMEOUT,
    },
    createListener(app, refusal),
  );
  refuseOnSocket(server, refusal);
  serveHalfClosed(server);
  const limits = toConnectionLimits(options.connections);
  const warnFull = createFullWarning(limits, log);
  boundConnections(server, limits, {
    stalledReaderMs: options.stalledReaderMs,
    onRefused(socket) {
      warnFull();
      const message = 'The server has no free connection. Try again later.';
      refusal.refuse(socket, new ServeError('overloaded', message));
    },
  });
  const shutdown = createShutdown(server);
  await listen(server, host, port);
  const socketAddress = server.address() as AddressInfo;
  const name =
    socketAddress.family === 'IPv6' ? `[${socketAddress.address}]` : socketAddress.address;
  return {
    url: `http://${name}:${socketAddress.port}`,
    port: socketAddress.port,
    ...shutdown,
  };
}

function createListener(app: FetchApp, { refuse, isRefused }: SocketRefusal): RequestListener {
  const respond: FetchApp['fetch'] = (request, env) =>
    hasDotSegments((env as HttpBindings).incoming.url)
      ? toRefusal(new ServeError('not_found', 'Unknown route. /docs lists all routes.'))
      : app.fetch(request, env);
  const listener = getRequestListener(respond, {
    errorHandler: () =>
      toRefusal(
        new ServeError('invalid_request', 'The request target or the Host header is invalid.'),
      ),
  });
  return (request, response) => {
    if (isRefused(request.socket) || request.socket.destroyed) return;
    if ((request.headers['transfer-encoding'] ?? 'chunked').toLowerCase() !== 'chunked') {
      const message = 'Only Transfer-Encoding: chunked is supported.';
      refuse(request.socket, new ServeError('unsupported_transfer_encoding', message));
      return;
    }
    toOriginForm(request);
    request.once(FRAGMENTED, (error: ServeError) => {
      if (response.headersSent) request.socket.destroy();
      else refuse(request.socket, error);
    });
    void listener(request, response);
  };
}

/** Answers what the parser refuses before it becomes a request of the app. */
function refuseOnSocket(server: Server, { refuse }: SocketRefusal): void {
  server.on('clientError', (error: Error & { code?: string }, socket: Socket) => {
    if (error.code === 'ECONNRESET') socket.destroy();
    else refuse(socket, toParserRefusal(error.code));
  });
  server.on('connect', (_request, socket) => {
    refuse(
      socket,
      new ServeError(
        'method_not_allowed',
        'This server is not a proxy. Send the request without CONNECT.',
      ),
    );
  });
  server.on('checkExpectation', ({ socket }: IncomingMessage, _response: ServerResponse) => {
    const message = 'Only Expect: 100-continue is supported.';
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
      'There were too many connections, so some were closed or refused. Raise --max-connections or --max-connections-per-address to allow more.',
    );
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, BACKLOG, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** The sockets are read between two turns of the loop. The current turn may end before that, so it takes two. */
const TURNS_TO_READ = 2;
/** How many connections may wait to be accepted. Each turn of the loop accepts one (libuv's `uv__server_io`). */
const BACKLOG = 511;

/** Creates the functions that stop the server. Idle connections are closed, because they would keep the server open. */
function createShutdown(server: Server): Pick<RunningServer, 'retire' | 'closeIdle' | 'close'> {
  let isRetired = false;
  let isClosing = false;
  let connections = 0;
  server.on('connection', () => connections++);
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
  const closeIdle = async () => {
    let before = connections;
    for (let [turns, quiet] = [0, 0]; turns < BACKLOG && quiet < TURNS_TO_READ; turns++) {
      await nextTurn();
      quiet = connections === before ? quiet + 1 : 0;
      before = connections;
    }
    server.closeIdleConnections();
  };
  return { retire, closeIdle, close };
}

/**
 * Converts an absolute-form target, as proxies send it, to origin form. Its host replaces the Host header (RFC 9112, 3.2.2).
 */
function toOriginForm(request: IncomingMessage): void {
  const [, host, path] = /^https?:\/\/([^/?#]*)(.*)$/i.exec(request.url ?? '') ?? [];
  if (host === undefined || path === undefined) return;
  const { headers, rawHeaders } = request;
  request.url = path.startsWith('/') ? path : `/${path}`;
  if (headers.host === undefined) return; // is refused
  headers.host = host;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (rawHeaders[i]!.toLowerCase() === 'host') rawHeaders[i + 1] = host;
  }
}

/** Whether the path has `.` or `..` segments, escaped or not. URL parsers resolve them, so a proxy may see another path. */
function hasDotSegments(target = ''): boolean {
  return /^[^?#]*\/(?:\.|%2e){1,2}(?:[/?#]|$)/i.test(target);
}

function toRefusal(error: ServeError): Response {
  return Response.json(toEnvelope(error), {
    status: error.status,
    headers: { 'x-request-id': toRequestId(undefined), connection: 'close' },
  });
}
