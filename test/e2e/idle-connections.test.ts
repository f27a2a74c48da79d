// Silent connections hold no descriptors for long and nobody else up: the real program under a real descriptor limit.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { postJson } from '../api.ts';
import { temporaryFolder } from '../fixtures.ts';
import { testUnless } from '../shared.ts';
import { startServing } from './program.ts';

const DESCRIPTORS = 256;
const SILENT = 1000;
const BATCH = 100;
/** Silent connections get a 408 after 10 s, checked for every 5 s, and linger for 1 s. */
const CLEARED_DEADLINE_MS = 30_000;
const POLL_MS = 100;

const hasPrlimit = (() => {
  try {
    execFileSync('prlimit', ['--version']);
    return true;
  } catch {
    return false;
  }
})();
const skip = hasPrlimit ? false : 'prlimit is not installed';
const test = testUnless(skip);

const home = temporaryFolder();

test(`F30: ${SILENT} silent connections at a limit of ${DESCRIPTORS} descriptors: others are served`, async () => {
  const launcher = ['prlimit', `--nofile=${DESCRIPTORS}:${DESCRIPTORS}`];
  const args = ['--model', path.resolve('models/toy')];
  const server = await startServing(args, home, {}, launcher);
  const pid = server.child.pid!;
  const descriptors = () => readdirSync(`/proc/${pid}/fd`).length;
  const before = descriptors();
  const silent: Socket[] = [];
  try {
    for (let i = 0; i < SILENT; i += BATCH) {
      silent.push(...Array.from({ length: BATCH }, () => openSilent(new URL(server.url))));
      await Promise.all(Array.from({ length: 4 }, () => complete(server.url)));
      assert.ok(descriptors() < DESCRIPTORS, `${descriptors()} descriptors`);
    }
    const deadlineMs = performance.now() + CLEARED_DEADLINE_MS;
    while (descriptors() > before + 4) {
      await complete(server.url);
      assert.ok(performance.now() < deadlineMs, `${descriptors()} descriptors, ${before} before`);
      await delay(POLL_MS);
    }
    assert.match(server.output.error, /--max-connections/, 'the log says what happened');
  } finally {
    for (const socket of silent) socket.destroy();
    assert.equal(await server.stop(), 0);
  }
});

/** Says nothing, and never closes its side. */
function openSilent({ hostname, port }: URL): Socket {
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
  socket.on('error', () => {}); // the server cuts it
  return socket.resume();
}

/** Another client's request, over a connection of its own. */
async function complete(url: string): Promise<void> {
  const body = { model: 'base', prompt: 'Hello', max_tokens: 2, stream: true };
  const response = await postJson(`${url}/v1/completions`, body, {
    headers: { connection: 'close' },
  });
  assert.match(await response.text(), /data: \[DONE\]\n\n$/);
}
