// Clients that end their side of a connection behind a request still get its answer, and then the connection is closed.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { after, describe, test } from 'node:test';
import type { HttpBindings } from '@hono/node-server';
import { withResolvers } from '../../src/common/waiting.ts';
import type { FetchApp } from '../../src/http/wire/server.ts';
import { idle, listen, serve, utf8 } from './served.ts';

const LIVE = 'GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n';

function requestOf(stream: boolean, version = '1.1'): string {
  const body = JSON.stringify({ model: 'base', prompt: 'a', max_tokens: 5, stream });
  const head = `POST /v1/completions HTTP/${version}\r\nHost: localhost\r\nContent-Type: application/json`;
  return `${head}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

/** A server whose engine waits in its second step until the server has seen the end of the client's side. */
async function serveHalfClosed() {
  const served = serve({ reply: () => utf8('Hello') });
  const { promise: ended, resolve: onEnded } = withResolvers<void>();
  const fetch: FetchApp['fetch'] = (request, env) => {
    const { socket } = (env as HttpBindings).incoming;
    if (!socket.listeners('end').includes(onEnded)) socket.once('end', onEnded);
    return served.app.fetch(request, env);
  };
  let runs = 0;
  served.engine.beforeRun = async () => {
    if (++runs === 2) await ended;
  };
  const server = await listen({ fetch });
  /** Sends the text and ends its side. Returns what comes until the server ends its own. */
  const exchange = async (sent: string) => {
    const socket = connect({ port: server.port, host: '127.0.0.1', allowHalfOpen: true });
    after(() => socket.destroy());
    socket.end(sent);
    return text(socket);
  };
  return { served, exchange, server };
}

describe('a client that ends its side behind its request', () => {
  test('gets the answer to a quick request', async () => {
    const { exchange } = await serveHalfClosed();
    assert.match(await exchange(LIVE), /^HTTP\/1\.1 200 /);
  });

  test('gets a whole answer, after interim ones', async () => {
    const { exchange } = await serveHalfClosed();
    const answer = await exchange(requestOf(false));
    assert.match(answer, /^(HTTP\/1\.1 100 Continue\r\n\r\n)+HTTP\/1\.1 200 OK\r\n/);
    assert.match(answer, /"text":"Hello"/);
  });

  test('gets all of a stream', async () => {
    const { exchange } = await serveHalfClosed();
    const answer = await exchange(requestOf(true));
    const texts = [...answer.matchAll(/"text":"([^"]*)"/g)].map(([, part]) => part);
    assert.equal(texts.join(''), 'Hello');
    assert.match(answer, /\n: ping\n\n/);
    assert.match(answer, /data: \[DONE\]/);
  });

  test('gets the answers to all requests that it pipelined', async () => {
    const { exchange } = await serveHalfClosed();
    const answer = await exchange(requestOf(false) + LIVE + requestOf(true));
    assert.deepEqual(answer.match(/(?<=HTTP\/1\.1 )[2-5]\d\d/g), ['200', '200', '200']);
    assert.match(answer, /data: \[DONE\]/);
  });

  test('counts as gone with HTTP/1.0, which has no interim answers', async () => {
    const { served, exchange } = await serveHalfClosed();
    assert.equal(await exchange(requestOf(false, '1.0')), '');
    await idle(served);
  });

  test('gets 400 for half a request', async () => {
    const { exchange } = await serveHalfClosed();
    assert.match(await exchange(requestOf(false).slice(0, -1)), /^HTTP\/1\.1 400 /);
  });

  test('loses a connection without a request', async () => {
    const { exchange, server } = await serveHalfClosed();
    assert.equal(await exchange(''), '');
    const socket = connect({ port: server.port, host: '127.0.0.1', allowHalfOpen: true });
    socket.write(LIVE);
    await once(socket, 'data');
    socket.end();
    await once(socket, 'end');
    socket.destroy();
  });
});
