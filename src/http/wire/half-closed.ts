// Answers clients that close their side of a connection after a request, and detects clients that are gone. Both send the same
// packet. Only a write tells them apart: the system of a client that is gone replies with a reset.
import type { Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { PING } from './event-stream.ts';

/**
 * The reset arrives one round trip after a probe. The checks after a probe are 1, 2, 4, … ms apart; then the next probe
 * follows.
 */
const LONGEST_CHECK_MS = 500;

const STREAM_HEAD = /^content-type: text\/event-stream/im;

/** Node's internal names for the response that is being written, and its header. */
interface WritingSocket extends Socket {
  readonly _httpMessage?: (ServerResponse & { readonly _header: string | null }) | null;
}

/** Lets clients read their responses after they closed their side. Must be called before the server listens. */
export function serveHalfClosed(server: Server): void {
  Object.assign(server, { httpAllowHalfOpen: true });
  server.on('connection', (socket: WritingSocket) => socket.once('end', () => probe(socket)));
}

/** Sends bytes that clients ignore. If the response is written in one piece, its own bytes serve as the probe. */
function probe(socket: WritingSocket): void {
  const response = socket._httpMessage;
  if (!response) return;
  if (response._header === null) {
    // HTTP/1.0 has no interim responses, so such a client counts as gone.
    if (response.req.httpVersionMinor === 0) socket.destroy();
    else response.writeContinue();
  } else if (STREAM_HEAD.test(response._header) && !response.writableEnded) {
    if (!response.writableNeedDrain) response.write(PING);
  }
  checkLater(socket, 1);
}

/** Once a client has closed its side, the system reports its reset only to a write, even an empty one. */
function checkLater(socket: WritingSocket, delayMs: number): void {
  const timer = setTimeout(() => {
    if (socket.destroyed) return;
    if (socket.writableLength === 0) socket.write(''); // closes the socket after a reset
    if (delayMs > LONGEST_CHECK_MS) probe(socket);
    else checkLater(socket, 2 * delayMs);
  }, delayMs);
  timer.unref();
}
