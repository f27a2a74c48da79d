// A proxy in front of a real S3 server that breaks requests as a script says, one by one. What the script lets through
// reaches the server unchanged: signatures hold, for they name the proxy's host on both sides.
//
//   const proxy = await startFaultProxy(t, server.endpoint);
//   const store = createS3Store(…, { …, connection: { ...server, endpoint: proxy.endpoint } });
//   proxy.script = ({ method, path }) =>
//     method === 'GET' && path.endsWith('/adapter_model.safetensors') ? { kind: 'cut', at: 1000 } : undefined;
//   proxy.script = firstOnes(2, { kind: 'status', status: 503 });   // the first two requests from now on
//   proxy.requests                                                  // all that came, in order
//
// The S3 client tries a failed request up to three times by itself: a fault that shall be seen outlasts these.
import { once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export type Fault =
  /** The request is passed on after this time. */
  | { readonly kind: 'latency'; readonly ms: number }
  /** The proxy answers, with S3's error `code` if the status has several. The server sees nothing. */
  | { readonly kind: 'status'; readonly status: FaultStatus; readonly code?: string }
  /** The connection is reset before anything is answered. The server sees nothing. */
  | { readonly kind: 'reset' }
  /** Nothing is ever answered, the connection stays open. The server sees nothing. */
  | { readonly kind: 'silent' }
  /** The server has done it, then the connection is reset: a timeout after success. */
  | { readonly kind: 'lost' }
  /** The connection is closed after that many bytes of the body; the headers promise all of it. */
  | { readonly kind: 'cut'; readonly at: number }
  /** Nothing comes after that many bytes of the body, the connection stays open. */
  | { readonly kind: 'stall'; readonly at: number }
  /** The body is longer by that many bytes, and content-length says so: another object than expected. */
  | { readonly kind: 'extra'; readonly bytes: number }
  /** content-length is greater (or, negative, less) than the body by this. */
  | { readonly kind: 'length'; readonly by: number }
  /** One bit of the body is wrong. */
  | { readonly kind: 'flip'; readonly at: number };

type FaultStatus = 400 | 403 | 404 | 409 | 412 | 429 | 500 | 503;

export interface SeenRequest {
  readonly method: string;
  /** `/bucket/key`, without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
}

export type FaultScript = (request: SeenRequest) => Fault | undefined;

export interface FaultProxy {
  readonly endpoint: string;
  readonly requests: readonly SeenRequest[];
  /** Connections that are open at this moment. */
  openSockets(): Promise<number>;
  script: FaultScript;
}

const CODES: Readonly<Record<FaultStatus, string>> = {
  400: 'InvalidRequest',
  403: 'AccessDenied',
  404: 'NoSuchKey',
  409: 'ConditionalRequestConflict',
  412: 'PreconditionFailed',
  429: 'SlowDown',
  500: 'InternalError',
  503: 'SlowDown',
};

/** A script: one fault for the first `count` requests that match, from the first it sees. */
export function firstOnes(
  count: number,
  fault: Fault,
  matches: (request: SeenRequest) => boolean = () => true,
): FaultScript {
  let left = count;
  return (request) => {
    if (left === 0 || !matches(request)) return;
    left -= 1;
    return fault;
  };
}

/** @param target the real server: `http://127.0.0.1:port` */
export async function startFaultProxy(
  t: { after(fn: () => unknown): void },
  target: string,
): Promise<FaultProxy> {
  const requests: SeenRequest[] = [];
  const server = http.createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', target);
    const path = decodeURIComponent(pathname);
    const seen = { method: request.method ?? '', path, query: searchParams };
    requests.push(seen);
    answer({ request, response, target }, proxy.script(seen)).catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const proxy: FaultProxy = {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    openSockets: () =>
      new Promise((resolve, reject) => {
        server.getConnections((error, count) => (error ? reject(error) : resolve(count)));
      }),
    script: () => undefined,
  };
  return proxy;
}

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly target: string;
}

async function answer(exchange: Exchange, fault: Fault | undefined): Promise<void> {
  const { request, response } = exchange;
  switch (fault?.kind) {
    case 'status':
      return answerStatus(exchange, fault);
    case 'reset':
      request.socket.resetAndDestroy();
      return;
    case 'silent':
      request.resume();
      return;
    case 'lost':
      (await passOn(exchange)).resume();
      request.socket.resetAndDestroy();
      return;
    case 'latency':
      await delay(fault.ms);
      break;
  }
  const real = await passOn(exchange);
  if (fault && fault.kind !== 'latency') return answerBroken(response, real, fault);
  response.writeHead(real.statusCode ?? 502, real.rawHeaders);
  real.pipe(response);
}

/** Sends the request to the server; its answer, the body still to come. */
async function passOn({ request, target }: Exchange): Promise<IncomingMessage> {
  // A proxy answers `expect` itself; `host` goes on as it came, because it is signed.
  const { expect: _, ...headers } = request.headers;
  const { method } = request;
  const upstream = http.request(new URL(request.url ?? '/', target), { method, headers });
  request.pipe(upstream);
  const [real] = (await once(upstream, 'response')) as [IncomingMessage];
  return real;
}

type BodyFault = Extract<Fault, { kind: 'cut' | 'stall' | 'extra' | 'length' | 'flip' }>;

/** Replays an answer whose body is held whole, broken. */
async function answerBroken(
  response: ServerResponse,
  real: IncomingMessage,
  fault: BodyFault,
): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of real) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  const grown = fault.kind === 'extra' ? fault.bytes : fault.kind === 'length' ? fault.by : 0;
  const { 'transfer-encoding': _, ...headers } = real.headers;
  response.writeHead(real.statusCode ?? 502, { ...headers, 'content-length': body.length + grown });
  response.flushHeaders();
  const write = (bytes: Uint8Array): Promise<void> =>
    new Promise((resolve) => void response.write(bytes, () => resolve()));
  switch (fault.kind) {
    case 'cut':
      await write(body.subarray(0, fault.at));
      response.destroy();
      return;
    case 'stall':
      await write(body.subarray(0, fault.at));
      return;
    case 'flip':
      if (fault.at < body.length) body[fault.at]! ^= 1;
      response.end(body);
      return;
    case 'extra':
      response.end(Buffer.concat([body, Buffer.alloc(fault.bytes)]));
      return;
    case 'length':
      await write(body);
      response.destroy();
  }
}

/** An answer as S3 gives it, in XML. */
async function answerStatus(
  { request, response }: Exchange,
  { status, code = CODES[status] }: Extract<Fault, { kind: 'status' }>,
): Promise<void> {
  // Read to its end, else a client that is still sending sees a reset.
  for await (const _ of request);
  const body = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>a fault</Message></Error>`;
  response.writeHead(status, { 'content-type': 'application/xml' });
  response.end(request.method === 'HEAD' ? undefined : body);
}
