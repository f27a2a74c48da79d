// Uploads on a disk that is full, to a client that leaves, and beside a kill: the real program on a small tmpfs.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { type ClientRequest, request } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before } from 'node:test';
import type { ErrorEnvelope } from '../../src/contracts/openai.ts';
import { postJson } from '../api.ts';
import { testUnless } from '../shared.ts';
import { until } from '../until.ts';
import { type Serving, startServing } from './program.ts';

const isRoot = process.getuid?.() === 0 && process.platform === 'linux';
const skip = isRoot ? false : 'only root may mount a tmpfs, on Linux';
const test = testUnless(skip);

const DISK_BYTES = 2 ** 20;
/** The answer must not wait for anything. The machine may be busy. */
const ANSWER_DEADLINE_MS = 1000;

const home = mkdtempSync(path.join(tmpdir(), 'lorikeet-full-'));
const uploads = path.join(home, 'cache', 'uploads');
/** No file fits on its disk. */
const batches = path.join(home, 'cache', 'batches');
let server: Serving;

before(async () => {
  if (skip) return;
  for (const [folder, bound] of [
    [uploads, `size=${DISK_BYTES}`],
    [batches, 'nr_inodes=1'],
  ] as const) {
    mkdirSync(folder, { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', '-o', bound, 'tmpfs', folder]);
  }
  server = await startServer();
});
after(async () => {
  await server?.stop();
  if (!skip) for (const folder of [uploads, batches]) execFileSync('umount', [folder]);
  rmSync(home, { recursive: true, force: true });
});

function startServer(): Promise<Serving> {
  return startServing(['--model', path.resolve('models/toy')], home);
}

function upload(byteSize: number): Promise<Response> {
  const body = new FormData();
  body.set('purpose', 'fine-tune');
  const row = '{"prompt":"a","completion":"b"}\n';
  body.set('file', new Blob([row.repeat(byteSize / row.length)]), 'rows.jsonl');
  return fetch(`${server.url}/v1/files`, { method: 'POST', body });
}

const HEAD =
  '--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\nContent-Type: text/plain\r\n\r\n';

/** An upload whose end does not come. */
function begin(): ClientRequest {
  const outgoing = request(`${server.url}/v1/files`, {
    method: 'POST',
    headers: { 'content-type': 'multipart/form-data; boundary=x' },
  });
  outgoing.on('error', () => {}); // the server is killed
  outgoing.write(HEAD + 'x'.repeat(100_000));
  return outgoing;
}

function leftovers(): string[] {
  return readdirSync(uploads, { recursive: true, encoding: 'utf8' }).filter((name) =>
    path.basename(name).startsWith('upload-'),
  );
}

test('a folder without room is no reason to refuse its feature: there may be room later', async () => {
  assert.throws(() => mkdirSync(path.join(batches, 'a')), { code: 'ENOSPC' });
  assert.equal((await postJson(`${server.url}/v1/batches`, {})).status, 400);
});

test('T35: an upload on a full disk is answered with 507 at once, and leaves nothing', async () => {
  assert.equal((await upload(1000)).status, 200);
  const startMs = performance.now();
  const response = await upload(16 * DISK_BYTES);
  const tookMs = performance.now() - startMs;
  const { error } = (await response.json()) as ErrorEnvelope;
  assert.deepEqual([response.status, error.code], [507, 'insufficient_storage']);
  assert.equal(response.headers.get('x-should-retry'), 'false');
  assert.ok(tookMs < ANSWER_DEADLINE_MS, `${tookMs} ms`);
  assert.deepEqual(leftovers(), []);
  assert.equal((await upload(1000)).status, 200, 'there is room again');
  assert.match(server.output.error, /disk_full/, 'the operator is told');
});

test('the file of a client that leaves is removed', async () => {
  const outgoing = begin();
  await until('the upload', () => leftovers().length === 1);
  outgoing.destroy();
  await until('its removal', () => leftovers().length === 0);
});

test('what a killed server leaves is removed by the next one, what another writes is not', async () => {
  begin();
  await until('the upload', () => leftovers().length === 1);
  server.child.kill('SIGKILL');
  await until('the end', () => server.child.signalCode !== null);
  assert.equal(leftovers().length, 1);
  server = await startServer();
  assert.equal(leftovers().length, 0);
  const outgoing = begin();
  await until('the upload', () => leftovers().length === 1);
  const other = await startServer();
  assert.equal(leftovers().length, 1);
  assert.equal(await other.stop(), 0);
  outgoing.destroy();
  await until('its removal', () => leftovers().length === 0);
});
