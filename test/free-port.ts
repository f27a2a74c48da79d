// Finds a free port for programs that cannot choose one themselves.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';

/** Returns a port that nothing listens on. */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  const server = createServer().listen(0, host);
  await once(server, 'listening');
  const address = server.address();
  assert(address !== null && typeof address === 'object');
  server.close();
  await once(server, 'close');
  return address.port;
}
