// A server's open connections are bounded: idle ones make room, busy ones are left alone, the refused get an answer.
import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { after, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { HttpBindings } from '@hono/node-server';
import { createLog } from '../../src/common/log.ts';
import { withResolvers } from '../../src/common/waiting.ts';
import {
  type ConnectionLimits,
  readDescriptorLimit,
  toConnectionLimits,
  toPeerAddress,
} from '../../src/http/wire/connections.ts';
import { EventStream } from '../../src/http/wire/event-stream.ts';
import { MAX_PIPELINED } from '../../src/http/wire/limits.ts';
import type { FetchApp, ServerOptions } from '../../src/http/wire/server.ts';
import { idle, listen, serve } from './served.ts';

const LIVE = 'GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n';

/** A server on a free port until the tests are over. */
async function start(app: FetchApp, options: Partial<ServerOptions> = {}) {
  const server = await listen(app, options);
  /** From another address of this machine where one is named. */
  const open = async (localAddress = '127.0.0.1') => {
    const socket = connect({ port: server.port, host: '127.0.0.1', localAddress });
    socket.on('error', () => {}); // the server may cut it
    after(() => socket.destroy());
    await once(socket, 'connect');
    return socket;
  };
  return { server, open };
}

async function serveBounded(connections: Partial<ConnectionLimits>) {
  const served = serve();
  const logged: string[] = [];
  const log = createLog('warn', { write: (line: string) => logged.push(line) });
  return { ...served, ...(await start(served.app, { connections, log })), logged };
}

/** Sends a request and waits for its answer; the connection stays. */
async function sendLive(socket: Socket): Promise<string> {
  socket.write(LIVE);
  const [answer] = await once(socket, 'data');
  return String(answer);
}

/** Whatever comes until the server closes. */
function refusalOf(socket: Socket): Promise<string> {
  return text(socket).finally(() => socket.destroy());
}

/** A request whose answer waits until it is released. */
async function occupy({ engine }: ReturnType<typeof serve>, socket: Socket) {
  const { held, release } = engine.hold();
  const body = JSON.stringify({ model: 'base', prompt: 'a' });
  const head = `POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}`;
  socket.write(`${head}\r\n\r\n${body}`);
  await held;
  return release;
}

describe('a server with as many connections as it may have', () => {
  test('closes the one that has been silent for longest, with an answer', async () => {
    const { open, logged } = await serveBounded({ maxConnections: 2, maxPerAddress: 2 });
    const silent = await open();
    const second = await open();
    await sendLive(second);
    const refused = refusalOf(silent);
    assert.match(await sendLive(await open()), /^HTTP\/1\.1 200 /);
    const answer = await refused;
    assert.match(answer, /^HTTP\/1\.1 503 /);
    assert.match(answer, /\r\nretry-after: \d+\r\n/);
    assert.equal(JSON.parse(answer.slice(answer.indexOf('{'))).error.code, 'overloaded');
    assert.match(logged.join(), /--max-connections/);
  });

  test('closes an idle connection that was served before without a word', async () => {
    const { open } = await serveBounded({ maxConnections: 1, maxPerAddress: 1 });
    const first = await open();
    await sendLive(first);
    const rest = refusalOf(first);
    assert.match(await sendLive(await open()), /^HTTP\/1\.1 200 /);
    assert.equal(await rest, '');
  });

  test('never closes one with a request in progress: a new one gets 503 with retry-after', async () => {
    const served = await serveBounded({ maxConnections: 1, maxPerAddress: 1 });
    const busy = await served.open();
    const release = await occupy(served, busy);
    const refused = await served.open();
    refused.write(LIVE);
    const answer = await refusalOf(refused);
    assert.match(answer, /^HTTP\/1\.1 503 [\s\S]*\r\nretry-after: /);
    release();
    const [finished] = await once(busy, 'data');
    assert.match(String(finished), /^HTTP\/1\.1 200 /);
    assert.match(await sendLive(await served.open()), /^HTTP\/1\.1 200 /, 'it is idle again');
    await idle(served);
  });

  test('takes room from the address that holds the most', async () => {
    const { open } = await serveBounded({ maxConnections: 3, maxPerAddress: 3 });
    const modest = await open('127.0.0.2');
    const greedy = await open('127.0.0.3');
    await open('127.0.0.3');
    const refused = refusalOf(greedy);
    assert.match(await sendLive(await open('127.0.0.4')), /^HTTP\/1\.1 200 /);
    assert.match(await refused, /^HTTP\/1\.1 503 /);
    const answer = await sendLive(modest);
    assert.match(answer, /^HTTP\/1\.1 200 /, 'the older one of another address stays');
  });
});

test('an address with all its connections in use is refused, others are served', async () => {
  const served = await serveBounded({ maxConnections: 10, maxPerAddress: 1 });
  const release = await occupy(served, await served.open('127.0.0.2'));
  assert.match(await refusalOf(await served.open('127.0.0.2')), /^HTTP\/1\.1 503 /);
  assert.match(await sendLive(await served.open('127.0.0.3')), /^HTTP\/1\.1 200 /);
  release();
  await idle(served);
});

test('by default the limits follow from the number of file descriptors', () => {
  for (const [asked, descriptors, maxConnections, maxPerAddress] of [
    [{}, 20_000, 1024, 512],
    [{}, 256, 128, 64],
    [{ maxConnections: 9 }, 256, 9, 5],
    [{ maxPerAddress: 5000 }, 20_000, 1024, 1024],
  ] as const) {
    const expected = { maxConnections, maxPerAddress };
    assert.deepEqual(toConnectionLimits(asked, descriptors), expected);
  }
  assert.ok(readDescriptorLimit() > 0);
});

test('T12: many connections that send nothing are all closed when their time is over', async () => {
  const headersTimeoutMs = 1000;
  const connections = { maxConnections: 400, maxPerAddress: 400 };
  const { server } = await start(serve().app, { headersTimeoutMs, connections });
  const lifetimes = await Promise.all(
    Array.from({ length: connections.maxConnections }, async () => {
      const socket = connect(server.port, '127.0.0.1');
      const openedMs = performance.now();
      assert.match(await text(socket), /^HTTP\/1\.1 408 /);
      return performance.now() - openedMs;
    }),
  );
  // Node looks every 5 s by default. A busy machine may delay some.
  const late = lifetimes.filter((ms) => ms > 4 * headersTimeoutMs);
  assert.ok(late.length < lifetimes.length / 2, `${late.length} late ones`);
});

test('an IPv6 network counts as one address, and a mapped IPv4 address as itself', () => {
  const addresses = ['10.0.0.1', '::ffff:10.0.0.1', '2001:db8::1', '2001:db8::ffff:0:1', '::1'];
  assert.deepEqual(addresses.map(toPeerAddress), [
    '10.0.0.1',
    '10.0.0.1',
    '2001:db8:0:0::/64',
    '2001:db8:0:0::/64',
    '0:0:0:0::/64',
  ]);
});

describe('a client that pipelines', () => {
  const PAGE = '/pages/status.js';
  const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
  const memory = () => {
    globalThis.gc!();
    globalThis.gc!(); // buffers of dead answers go with the second one
    return process.memoryUsage().arrayBuffers;
  };

  test('T12: gets pages from one copy, however many it does not take', async () => {
    const { app } = serve();
    const answered = new EventEmitter();
    let count = 0;
    const fetch: FetchApp['fetch'] = async (request, env) => {
      const response = await app.fetch(request, env);
      if (++count === MAX_PIPELINED) setImmediate(() => answered.emit('all'));
      return response;
    };
    const { open } = await start({ fetch });
    await (await app.request(PAGE)).text(); // now it is in memory
    const socket = await open();
    const before = memory();
    socket.write(get(PAGE).repeat(MAX_PIPELINED));
    await once(answered, 'all');
    const growth = memory() - before;
    assert.ok(growth < 2 ** 19, `${growth} bytes`);
  });

  test('T12: too many requests in a packet lose its connection, and no more are answered than may be under way', async () => {
    const { app } = serve();
    let count = 0;
    const fetch: FetchApp['fetch'] = (request, env) => {
      count++;
      return app.fetch(request, env);
    };
    const { server, open } = await start({ fetch });
    const socket = await open();
    socket.write(get(PAGE).repeat(1000));
    await once(socket, 'close');
    assert.ok(count <= MAX_PIPELINED, `${count} requests`);
    assert.equal((await globalThis.fetch(`${server.url}/livez`)).status, 200);
  });

  test('gets the answers to as many requests as may be under way, in their order', async () => {
    const { open } = await serveBounded({});
    const socket = await open();
    const last = LIVE.replace('\r\n', '\r\nConnection: close\r\n');
    socket.write(LIVE.repeat(MAX_PIPELINED - 2) + get('/no-such') + last);
    const statuses = (await text(socket)).match(/(?<=HTTP\/1\.1 )\d+/g);
    assert.deepEqual(statuses, [...Array(MAX_PIPELINED - 2).fill('200'), '404', '200']);
  });
});

describe('a client that does not take its answer', () => {
  /** More than the kernel's buffers of both sides hold. */
  const ANSWER = Buffer.alloc(32 * 1024 * 1024, 'a');
  const STALLED_READER_MS = 200;

  /** A server with one answer to everything. `closed` resolves when it has closed the connection. */
  async function listenWith(answer: (onGone: () => void) => Buffer | ReadableStream) {
    const closed = withResolvers<void>();
    let isGone = false;
    const onGone = () => {
      isGone = true;
    };
    const fetch = (_request: Request, env: unknown) => {
      (env as HttpBindings).incoming.socket.once('close', closed.resolve);
      return new Response(answer(onGone));
    };
    const { open } = await start({ fetch }, { stalledReaderMs: STALLED_READER_MS });
    const socket = await open();
    socket.write(LIVE);
    return { socket, closed: closed.promise, isGone: () => isGone };
  }

  const stream = (isClosed: boolean) => (onGone: () => void) => {
    const limits = { maxBufferedBytes: 1000, pingMs: 1 };
    const events = new EventStream({ ...limits, onDrain() {}, onGone });
    events.send(String(ANSWER));
    if (isClosed) events.close();
    return events.body;
  };
  const ANSWERS: readonly [name: string, answer: Parameters<typeof listenWith>[0]][] = [
    ['an answer in one piece', () => ANSWER],
    ['the rest of a stream that has ended', stream(true)],
    ['a stream', stream(false)],
  ];
  for (const [name, answer] of ANSWERS) {
    test(`F29, T28: loses its connection: ${name}`, async () => {
      const { closed, isGone } = await listenWith(answer);
      await closed;
      assert.equal(isGone(), name === 'a stream', 'only a stream that goes on is told');
    });

    test(`F29, T28: and takes some of it again and again keeps it: ${name}`, async () => {
      const { socket } = await listenWith(answer);
      const startMs = performance.now();
      let size = 0;
      for await (const chunk of socket as AsyncIterable<Buffer>) {
        const before = size;
        size += chunk.length;
        if (Math.floor(before / 2 ** 20) !== Math.floor(size / 2 ** 20)) await delay(20);
        if (size > ANSWER.length) break;
      }
      assert.ok(size > ANSWER.length, `${size} bytes`);
      assert.ok(performance.now() - startMs > 2 * STALLED_READER_MS, 'it was slow enough');
    });
  }
});
