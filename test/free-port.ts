// A port for programs that cannot choose one of their own.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';

/** Nobody listens at it when this resolves. */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  const server = createServer().listen(0, host);
  await once(server, 'listening');
  const address = server.address();
  assert(address !== null && typeof address === 'object');
  server.close();
  await once(server, 'close');
  return address.port;
}
