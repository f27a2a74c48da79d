// What only a socket shows: the parser's limits, slow and lying senders, and an orderly end.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, get, request } from 'node:http';
import { connect } from 'node:net';
import { after, describe, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { idle, listen, serve, utf8 } from './served.ts';

/** Writes the parts, and gives what comes back until an answer is whole or the server closes. */
function exchange(port: number, ...parts: string[]): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let received = '';
    socket.on('error', () => {}); // the server may cut us off in mid-write
    socket.on('close', () => resolve(received));
    socket.on('data', (data) => {
      received += data;
      if (received.endsWith('}}')) socket.destroy();
    });
    for (const part of parts) socket.write(part);
  });
}

const head = (start: string, ...headers: string[]) =>
  `${[`${start} HTTP/1.1`, ...headers].join('\r\n')}\r\n\r\n`;
const LOCAL = 'Host: localhost';
const CHUNKS = 'Transfer-Encoding: chunked';
const post = (...headers: string[]) =>
  head('POST /v1/completions', LOCAL, 'Content-Type: application/json', ...headers);

const bodyOf = (response: string) => JSON.parse(response.slice(response.indexOf('{')));

/** Whether /livez was answered over a connection that the agent had kept. */
function isReused(agent: Agent, url: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const request = get(`${url}/livez`, { agent }, (response) => {
      response.resume().on('end', () => resolve(request.reusedSocket));
    });
    request.on('error', reject);
  });
}

/** With time for whatever a busy machine takes over a refusal. */
const limited = await listen(serve().app);
const impatient = await listen(serve({ limits: { bodyTimeoutMs: 50 } }).app, {
  headersTimeoutMs: 100,
});

describe('a listening server', () => {
  test('reports its address', async () => {
    assert.match(limited.url, /^http:\/\/127\.0\.0\.1:\d+$/);
    assert.equal((await fetch(`${limited.url}/livez`)).status, 200);
  });

  const chunked = post(CHUNKS);
  const singleBytes = `${'1\r\nx\r\n'.repeat(20_000)}0\r\n\r\n`;
  const fiveMiB = `500000\r\n${'x'.repeat(0x500000)}\r\n0\r\n\r\n`;
  const evil = head('GET /livez', 'Host: evil.example');
  const endless = head('POST /v1/completions', LOCAL).slice(0, -2);
  const REFUSALS: readonly [name: string, status: number, code: string, ...parts: string[]][] = [
    ['headers of 64 KiB', 431, 'header_too_large', post(`X-Big: ${'x'.repeat(65_536)}`)],
    ['a Content-Length beside chunks', 400, 'invalid_request', post('Content-Length: 5', CHUNKS)],
    ['a bad chunk', 400, 'invalid_request', chunked, 'zz\r\n'],
    ['a line break in a header', 400, 'invalid_request', post('X-A: b\rc')],
    ['a NUL in a header', 400, 'invalid_request', post('X-A: b\0c')],
    ['no Host', 400, 'invalid_request', head('GET /livez', 'Connection: close')],
    ['a Host that is none', 400, 'invalid_request', head('GET /livez', 'Host: a b')],
    ['another Host', 400, 'invalid_request', evil],
    ['dot segments', 404, 'not_found', head('GET /v1/../livez', LOCAL)],
    ['escaped dot segments', 404, 'not_found', head('GET /v1/%2e%2E/livez?a', LOCAL)],
    ['an unknown expectation', 417, 'expectation_failed', head('GET /livez', LOCAL, 'Expect: foo')],
    ['CONNECT', 405, 'method_not_allowed', head('CONNECT example.org:443', 'Host: example.org')],
    ['a body in chunks of one byte', 400, 'invalid_request', chunked, singleBytes],
    ['a body announced as 5 MiB', 413, 'payload_too_large', post('Content-Length: 5242880')],
    ['a body of 5 MiB in chunks', 413, 'payload_too_large', chunked, fiveMiB],
  ];
  const LATE: typeof REFUSALS = [
    ['a body that never comes', 408, 'request_timeout', post('Content-Length: 10'), '{'],
    ['headers that never end', 408, 'request_timeout', endless],
  ];
  for (const [name, status, code, ...parts] of [...REFUSALS, ...LATE]) {
    test(`B09, T12: answers ${name} with ${status}`, async () => {
      const { port } = status === 408 ? impatient : limited;
      const response = await exchange(port, ...parts);
      assert.match(response, new RegExp(`^HTTP/1.1 ${status} `));
      assert.equal(bodyOf(response).error.code, code);
      assert.match(response, /x-request-id: req_/);
      if (status !== 413) assert.match(response, /connection: close/i);
    });
  }

  const body = JSON.stringify({ model: 'base', prompt: 'a', max_tokens: 1 });
  const CHUNKED: readonly [name: string, byteSize: number, chunkBytes: number][] = [
    ['a body of 1,000 chunks of one byte', 1000, 1],
    ['a body of 512 KiB in chunks of 256 bytes', 2 ** 19, 256],
  ];
  for (const [name, byteSize, chunkBytes] of CHUNKED) {
    test(`takes ${name}`, async () => {
      const headers = { 'content-type': 'application/json' };
      const outgoing = request(`${limited.url}/v1/completions`, { method: 'POST', headers });
      const padded = body.padEnd(byteSize);
      for (let at = 0; at < byteSize; at += chunkBytes) {
        outgoing.write(padded.slice(at, at + chunkBytes));
      }
      outgoing.end();
      const [response] = await once(outgoing, 'response');
      response.resume();
      assert.equal(response.statusCode, 200);
    });
  }

  test('takes dots in a query as they are', async () => {
    assert.equal((await fetch(`${limited.url}/livez?a=/../b`)).status, 200);
  });
});

/** Sends chunks of 64 KiB until the server closes or has all. Returns by how much the memory grew that this process holds. */
async function growthBy(head: string, chunkCount: number): Promise<number> {
  const socket = connect(limited.port, '127.0.0.1');
  let received = '';
  socket.on('error', () => {}); // the server may cut us off in mid-write
  socket.on('data', (data) => {
    received += data;
  });
  const closed = once(socket, 'close').catch(() => {});
  const chunk = Buffer.from(`10000\r\n${'x'.repeat(0x10000)}\r\n`);
  const held = () => {
    globalThis.gc!(); // frees buffers in another thread,
    globalThis.gc!(); // which has ended before the next begins
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return heapUsed + arrayBuffers;
  };
  const before = held();
  let peak = before;
  socket.write(head);
  for (let sent = 1; sent <= chunkCount && !socket.destroyed; sent++) {
    const isTaken = socket.write(chunk) || once(socket, 'drain').catch(() => {});
    await Promise.race([isTaken, closed]);
    if (sent % 64 === 0) peak = Math.max(peak, held());
  }
  socket.destroy();
  assert.match(received, /^HTTP\/1\.1 413 /);
  return peak - before;
}

for (const header of ['Content-Length: 67108864', 'Transfer-Encoding: chunked']) {
  test(`T12: of a body of 64 MiB with ${header}, less than 8 MiB are held`, async () => {
    const growth = await growthBy(post(header), 1024);
    assert.ok(growth < 8 * 2 ** 20, `${growth} bytes`);
  });
}

describe('a client that never closes its side', () => {
  for (const text of ['', 'GET', 'no HTTP\r\n\r\n', 'CONNECT a:1 HTTP/1.1\r\n\r\n']) {
    test(`loses its connection soon after it was refused: ${JSON.stringify(text)}`, async () => {
      const { port } = await listen(serve().app, { headersTimeoutMs: 100 });
      const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
      let answer = '';
      socket.setEncoding('utf8').on('data', (part) => {
        answer += part;
      });
      const cut = once(socket, 'error', { signal: AbortSignal.timeout(60_000) });
      socket.write(text);
      await once(socket, 'end');
      assert.match(answer, /^HTTP\/1\.1 4\d\d /);
      // Only a socket that is gone on the other side answers a byte with a reset.
      const knock = setInterval(() => socket.write('x'), 20);
      const [error] = await cut.finally(() => {
        clearInterval(knock);
        socket.destroy();
      });
      assert.match(error.code, /^(EPIPE|ECONNRESET)$/);
    });
  }
});

test('F29: a client that reads nothing holds up nobody, and gets all of its stream when it reads', async () => {
  const served = serve({ slotCount: 8, reply: () => utf8('0123456789'.repeat(20)) });
  const { port } = await listen(served.app);
  const asking = { model: 'base', prompt: 'a', max_tokens: 200, ignore_eos: true };
  const body = JSON.stringify({ ...asking, n: 100, stream: true }); // 5 MB, far beyond the buffers of a socket
  const slow = connect(port, '127.0.0.1');
  after(() => slow.destroy());
  slow.pause();
  slow.write(`${post(`Content-Length: ${body.length}`, 'Connection: close')}${body}`);
  while ((await served.client.stats()).running === 0) await nextTurn();
  const other = await served.post('/v1/completions', asking);
  assert.equal(other.status, 200);
  await idle(served, 100_000);
  let received = '';
  for await (const chunk of slow) received += chunk;
  assert.match(received, /data: \[DONE\]/);
  const texts = [...received.matchAll(/"text":"([0-9]*)"/g)].map(([, text]) => text);
  assert.equal(texts.join('').length, 100 * 200);
});

describe('a server that is retired', () => {
  test('still answers, and ends each connection with its answer', async () => {
    const server = await listen(serve().app);
    const ask = async () => (await fetch(`${server.url}/livez`)).headers.get('connection');
    assert.equal(await ask(), 'keep-alive');
    server.retire();
    assert.equal(await ask(), 'close');
  });

  test('answers a connection that was idle when another ended', async () => {
    const server = await listen(serve().app);
    const agent = new Agent({ keepAlive: true });
    after(() => agent.destroy());
    assert.equal(await isReused(agent, server.url), false);
    server.retire();
    assert.equal((await fetch(`${server.url}/livez`)).status, 200);
    for (let turn = 0; turn < 5; turn++) await nextTurn(); // were it closed, the agent would know
    assert.equal(await isReused(agent, server.url), true);
  });
});

/** A stream whose first step waits for `release`. */
async function openStuckStream() {
  const served = serve({ reply: () => utf8('Hello') });
  const { release } = served.engine.hold();
  const server = await listen(served.app);
  const body = JSON.stringify({ model: 'base', prompt: 'a', stream: true });
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${server.url}/v1/completions`, { method: 'POST', headers, body });
  return { served, server, response, release };
}

describe('a server that drains', () => {
  test('closes idle connections, so a client connects anew, and no connection with a request', async () => {
    const { server, response, release } = await openStuckStream();
    const agent = new Agent({ keepAlive: true });
    after(() => agent.destroy());
    assert.equal(await isReused(agent, server.url), false);
    assert.equal(await isReused(agent, server.url), true);
    const [socket] = Object.values(agent.freeSockets).flatMap((sockets) => sockets ?? []);
    const closed = once(socket!, 'close');
    await server.closeIdle();
    await closed;
    assert.equal(await isReused(agent, server.url), false);
    release();
    assert.match(await response.text(), /\[DONE\]\n\n$/);
  });
});

test('F24, T33: a request that has arrived but was not read yet is answered before idle connections close', async () => {
  const server = await listen(serve().app);
  const socket = connect(server.port, '127.0.0.1');
  after(() => socket.destroy());
  const ask = () => socket.write(head('GET /livez', LOCAL));
  ask();
  await once(socket, 'data');
  ask(); // is in the kernel when `write` returns, and the server reads it in a later turn
  await server.closeIdle();
  const [answer] = await once(socket, 'data');
  assert.match(String(answer), /^HTTP\/1.1 200 /);
});

test('F24, T33: connections that wait to be accepted are answered before a server closes', async () => {
  const server = await listen(serve().app);
  const answers = Array.from({ length: 40 }, () =>
    exchange(server.port, head('GET /livez', LOCAL, 'Connection: close')),
  );
  await server.closeIdle(); // each turn of the loop accepts one
  await server.close(60_000);
  for (const answer of await Promise.all(answers)) assert.match(answer, /^HTTP\/1\.1 200 /);
});

describe('a server that is closed', () => {
  test('lets a stream finish and refuses new connections', async () => {
    const { server, response, release } = await openStuckStream();
    const closed = server.close(60_000);
    await assert.rejects(fetch(`${server.url}/livez`));
    release();
    assert.match(await response.text(), /\[DONE\]\n\n$/);
    await closed;
  });

  test('cuts the remaining connections at the deadline', async () => {
    const { served, server, response, release } = await openStuckStream();
    await server.close(1);
    await assert.rejects(response.text());
    release();
    await idle(served);
  });
});
