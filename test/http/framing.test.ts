// Transfer codings and request targets that a server must not guess about: an intermediary could read them in another way.
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { listen, serve } from './served.ts';

const server = await listen(serve().app);

async function exchange(...lines: string[]): Promise<{ status: number; code: string | undefined }> {
  const socket = connect(server.port, '127.0.0.1');
  socket.write([...lines, 'Connection: close', '', ''].join('\r\n'));
  const answer = await text(socket);
  const json = /\{.*\}/s.exec(answer)?.[0] ?? '{}';
  return { status: Number(answer.slice(9, 12)), code: JSON.parse(json).error?.code };
}

for (const coding of ['gzip, chunked', 'identity, chunked']) {
  test(`B09, T12: the transfer coding ${coding} is refused with 501`, async () => {
    const answer = await exchange(
      'POST /v1/completions HTTP/1.1',
      'Host: localhost',
      'Content-Type: application/json',
      `Transfer-Encoding: ${coding}`,
    );
    assert.deepEqual(answer, { status: 501, code: 'unsupported_transfer_encoding' });
  });
}

const REFUSED: readonly [target: string, status: number, ...headers: string[]][] = [
  ['http://evil.example/livez', 400, 'Host: localhost'],
  ['HTTP://localhost@evil.example/livez', 400, 'Host: localhost'],
  ['http://?a', 400, 'Host: localhost'],
  ['ftp://localhost/livez', 400, 'Host: localhost'],
  ['http://localhost/livez', 400],
  ['http://localhost/livez', 400, 'Host: a', 'Host: b'],
  ['/livez', 400, 'Host: localhost', 'Host: localhost'],
  ['http://localhost/v1/../livez', 404, 'Host: localhost'],
];
for (const [target, status, ...headers] of REFUSED) {
  test(`B09, T43: the target ${target} with ${headers} is refused with ${status}`, async () => {
    assert.equal((await exchange(`GET ${target} HTTP/1.1`, ...headers)).status, status);
  });
}

for (const [target, host] of [
  ['http://localhost/livez', 'evil.example'],
  ['HTTPS://LOCALHOST:1/livez?a', 'localhost'],
]) {
  test(`the host of the target ${target} replaces ${host}`, async () => {
    const answer = await exchange(`GET ${target} HTTP/1.1`, `Host: ${host}`);
    assert.equal(answer.status, 200);
  });
}
