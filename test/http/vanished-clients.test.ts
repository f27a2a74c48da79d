// Clients that leave without a word to the application: by any way that TCP knows, and by none.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { after, test } from 'node:test';
import type { HttpBindings } from '@hono/node-server';
import { withResolvers } from '../../src/common/waiting.ts';
import type { FetchApp } from '../../src/http/wire/server.ts';
import { idle, listen, serve, utf8 } from './served.ts';

const MAX_TOKENS = 200;

function requestOf(stream: boolean): string {
  const body = JSON.stringify({ model: 'base', prompt: 'a', max_tokens: MAX_TOKENS, stream });
  const head = `POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json`;
  return `${head}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

const WAYS: readonly [name: string, leave: (socket: Socket) => void][] = [
  ['RST', (socket) => socket.resetAndDestroy()],
  ['a process that ends', (socket) => socket.destroy()],
  [
    'FIN, and ends after it was probed',
    (socket) => {
      socket.end();
      socket.once('data', () => socket.destroy()); // the server's probe, at the latest
    },
  ],
];

for (const stream of [true, false]) {
  for (const [name, leave] of WAYS) {
    const what = stream ? 'stream' : 'whole answer';
    test(`F28: a client that leaves by ${name} during a ${what} frees its slot within a step`, async () => {
      const served = serve({ slotCount: 1, reply: () => utf8('x'.repeat(MAX_TOKENS)) });
      const { promise: closed, resolve: onClosed } = withResolvers<void>();
      const fetch: FetchApp['fetch'] = (request, env) => {
        (env as HttpBindings).incoming.socket.once('close', onClosed);
        return served.app.fetch(request, env);
      };
      const server = await listen({ fetch });
      const socket = connect(server.port, '127.0.0.1');
      socket.on('error', () => {}).resume();
      let runs = 0;
      served.engine.beforeRun = async () => {
        if (++runs !== 4) return;
        leave(socket);
        await closed;
      };
      socket.write(requestOf(stream));
      await closed;
      await idle(served);
      assert.ok(runs <= 5, `${runs} runs`);
    });
  }
}

const TABLE = '/proc/net/tcp';
const skip = existsSync(TABLE) ? false : 'needs Linux';

test('F28: the kernel probes a client that is silent for 10 s', { skip }, async () => {
  const server = await listen(serve().app);
  const socket = connect(server.port, '127.0.0.1');
  after(() => socket.destroy());
  socket.write('GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await once(socket, 'data');
  const ends = [server.port, socket.localPort!].map((port) => port.toString(16).padStart(4, '0'));
  const [, from, to, , , timer] = readFileSync(TABLE, 'latin1')
    .split('\n')
    .map((line) => line.trim().toLowerCase().split(/\s+/))
    .find((fields) => ends.every((end, i) => fields[i + 1]?.endsWith(`:${end}`)))!;
  const [kind, jiffies] = timer!.split(':');
  assert.equal(kind, '02', `${from} to ${to} has a keepalive timer`);
  assert.ok(Number.parseInt(jiffies!, 16) <= 10 * 100, `${jiffies} hundredths of a second`);
});
