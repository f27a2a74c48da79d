// Bounds a server's open connections, in total and per client address, so that nobody can use up the file descriptors. Idle
// connections make room for new ones; a new one is refused only if every connection has a request in progress. A client that
// reads none of its response, or pipelines too many requests, loses its connection. Works on sockets and the start and end of
// requests; writes no responses.
import { readFileSync } from 'node:fs';
import type { IncomingMessage, Server } from 'node:http';
import { isIPv6, type Socket } from 'node:net';
import { MAX_PIPELINED, MIN_TAKEN_BYTES, STALLED_READER_MS } from './limits.ts';

/** The most open connections. */
export interface ConnectionLimits {
  readonly maxConnections: number;
  /** Connections from one IPv4 address, or from one IPv6 network of 64 bits. */
  readonly maxPerAddress: number;
}

/** How long a client may read nothing of its response, and the callbacks of the bound. */
interface ConnectionOptions {
  readonly stalledReaderMs?: number | undefined;
  /** Tells the client that the server is full, and closes the connection. */
  onRefused(socket: Socket): void;
}

/** The limits that the operator set. Undefined means the default. */
export type WantedLimits = { readonly [K in keyof ConnectionLimits]?: number | undefined };

/** Enough for the 288 requests that can run or wait by default, and for idle connections of several load balancers. */
const DEFAULT_MAX_CONNECTIONS = 1024;

/**
 * Fills in the limits that were not set. By default, connections use at most half of the process's descriptors, and one address
 * at most half of the connections. With 1024 descriptors that is more than the engine admits (32 running and 256 waiting
 * requests), so a single load balancer reaches the engine's limit first.
 */
export function toConnectionLimits(
  wanted: WantedLimits = {},
  descriptorLimit = readDescriptorLimit(),
): ConnectionLimits {
  const affordable = Math.max(1, Math.floor(descriptorLimit / 2));
  const maxConnections = wanted.maxConnections ?? Math.min(DEFAULT_MAX_CONNECTIONS, affordable);
  const maxPerAddress = wanted.maxPerAddress ?? Math.ceil(maxConnections / 2);
  return { maxConnections, maxPerAddress: Math.min(maxPerAddress, maxConnections) };
}

/** Returns how many files and sockets this process may have open, or `Infinity` if the system does not say. */
export function readDescriptorLimit(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8');
    return Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY);
  } catch {
    return Number.POSITIVE_INFINITY; // not Linux; Node raises the soft limit itself
  }
}

interface Connection {
  readonly peer: Peer;
  /** More than 1 if the client pipelines. */
  requestsInFlight: number;
  hasServed: boolean;
  /** Undefined if the kernel has taken all output. */
  output?: PendingOutput | undefined;
}

/** Output that the kernel had not taken when the client last took enough. */
interface PendingOutput {
  /** Bytes that the kernel had taken. */
  readonly taken: number;
  readonly pending: number;
  /** How many checks have passed since then. */
  readonly checks: number;
}

interface Peer {
  readonly address: string;
  count: number;
  /** The connection that has been idle for longest comes first. */
  readonly idle: Set<Socket>;
}

/** Keeps the server's connections within the limits. Must be called before the server listens. */
export function boundConnections(
  server: Server,
  { maxConnections, maxPerAddress }: ConnectionLimits,
  { stalledReaderMs = STALLED_READER_MS, onRefused }: ConnectionOptions,
): void {
  const connections = new Map<Socket, Connection>();
  const peers = new Map<string, Peer>();

  const remove = (socket: Socket) => {
    const peer = connections.get(socket)?.peer;
    if (!peer || !connections.delete(socket)) return;
    peer.idle.delete(socket);
    peer.count--;
    if (peer.count === 0) peers.delete(peer.address);
  };
  /** Closes the oldest idle connection and returns whether there was one. */
  const closeIdle = (peer: Peer | undefined): boolean => {
    const [oldest] = peer?.idle ?? [];
    if (!oldest) return false;
    const { hasServed } = connections.get(oldest)!;
    remove(oldest);
    // A client that has had a response expects its idle connection to be closed eventually. Others get a response first.
    if (hasServed) oldest.destroy();
    else onRefused(oldest);
    return true;
  };

  server.on('connection', (socket: Socket) => {
    const address = toPeerAddress(socket.remoteAddress);
    let peer = peers.get(address);
    const isFull = connections.size >= maxConnections;
    const isPeerFull = (peer?.count ?? 0) >= maxPerAddress;
    if (
      (isPeerFull && !closeIdle(peer)) ||
      (!isPeerFull && isFull && !closeIdle(mostIdle(peers)))
    ) {
      onRefused(socket);
      return;
    }
    peer ??= { address, count: 0, idle: new Set() };
    peers.set(address, peer);
    peer.count++;
    peer.idle.add(socket);
    connections.set(socket, { peer, requestsInFlight: 0, hasServed: false });
    socket.once('close', () => remove(socket));
  });

  server.prependListener('request', ({ socket }: IncomingMessage, response) => {
    const connection = connections.get(socket);
    if (!connection) return;
    if (connection.requestsInFlight === MAX_PIPELINED) socket.destroy();
    connection.requestsInFlight++;
    connection.peer.idle.delete(socket);
    response.once('close', () => {
      connection.hasServed = true;
      connection.requestsInFlight--;
      if (connection.requestsInFlight === 0 && connections.has(socket)) {
        connection.peer.idle.add(socket);
      }
    });
  });

  const checks = setInterval(() => {
    for (const [socket, connection] of connections) {
      connection.output = nextOutput(socket, connection.output);
      if (connection.output?.checks === CHECKS_PER_STALL) socket.destroy();
    }
  }, stalledReaderMs / CHECKS_PER_STALL);
  checks.unref();
  server.once('close', () => clearInterval(checks));
}

/**
 * How often connections are checked within `stalledReaderMs`. Counts checks instead of time, because clients cannot read
 * anything while this process is paused.
 */
const CHECKS_PER_STALL = 4;

/** Returns the socket's pending output: the current one if the client has taken enough since `last`, otherwise `last`. */
function nextOutput(socket: Socket, last: PendingOutput | undefined): PendingOutput | undefined {
  const pending = socket.writableLength;
  if (pending === 0) return undefined;
  const taken = takenBytes(socket);
  const isSlow = last && taken - last.taken < Math.min(last.pending, MIN_TAKEN_BYTES);
  return isSlow ? { ...last, checks: last.checks + 1 } : { taken, pending, checks: 0 };
}

/**
 * Returns how many bytes the kernel has taken. Streams count a write only once all of it is taken, which may come too late if a
 * client reads a large response slowly. The handle has the current count; Node's own socket timeout reads it there as well.
 */
function takenBytes(socket: Socket): number {
  const { _handle: handle } = socket as Socket & {
    _handle?: { readonly bytesWritten: number; readonly writeQueueSize: number } | null;
  };
  return handle ? handle.bytesWritten - handle.writeQueueSize : 0;
}

/** Returns the peer with the most idle connections, which has to make room first. */
function mostIdle(peers: ReadonlyMap<string, Peer>): Peer | undefined {
  let most: Peer | undefined;
  for (const peer of peers.values()) {
    if (peer.idle.size > (most?.idle.size ?? 0)) most = peer;
  }
  return most;
}

/** Returns the address that connections are counted by. An IPv6 client usually owns a whole /64 network. */
export function toPeerAddress(address = ''): string {
  const ipv4 = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (ipv4 !== undefined || !isIPv6(address)) return ipv4 ?? address;
  const [left = '', right] = address.replace(/%.*$/, '').split('::');
  const leading = left === '' ? [] : left.split(':');
  const trailing = right ? right.split(':') : [];
  const zeros = right === undefined ? 0 : 8 - leading.length - trailing.length;
  const groups = [...leading, ...Array<string>(zeros).fill('0'), ...trailing];
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}
