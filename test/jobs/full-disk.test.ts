// A full disk delays a job and does not end it, whether it is the run folder's, the store's or the trainer's. The job waits,
// reports it once, and continues when there is room. The disks are small tmpfs mounts, so ENOSPC comes from the kernel.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { createFsStore } from '../../adapters/store/fs.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { createLog } from '../../src/common/log.ts';
import { toFault } from '../../trainer/run/faults.ts';
import { temporaryFolder } from '../fixtures.ts';
import { until } from '../until.ts';
import { startServer } from './simulated.ts';

/** A disk of one mebibyte; undefined if this machine does not let us mount one. */
function smallDisk(t: TestContext): string | undefined {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'lorikeet-small-disk-'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder]);
  t.after(() => {
    if (mounted.status === 0) execFileSync('umount', ['-l', folder]);
    rmSync(folder, { recursive: true });
  });
  if (mounted.status === 0) return folder;
  t.skip('mounting a tmpfs needs root');
  return undefined;
}

/** Leaves no byte free. Call the answer to make room again. */
function fill(folder: string): () => void {
  const file = path.join(folder, 'filler');
  const handle = openSync(file, 'w');
  try {
    for (;;) writeSync(handle, Buffer.alloc(4096));
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
  } finally {
    closeSync(handle);
  }
  return () => rmSync(file);
}

const WAITING = 'The disk is full. The job waits and continues when there is room.';
const isWaiting = (text: string) => text === WAITING;

function countingLog() {
  const lines: string[] = [];
  const destination = { write: (line: string) => void lines.push(line) };
  return { lines, log: createLog('warn', destination) };
}

test('T35: a job without room for its folder waits, and continues when there is room', async (t) => {
  const root = smallDisk(t);
  if (root === undefined) return;
  const makeRoom = fill(root);
  const server = startServer(createMemoryStore(), { root });
  const job = await server.create();
  await until('the job to wait', async () => (await server.messages(job)).some(isWaiting));
  // Some more tries, which are neither counted nor told.
  await until('five more tries', async () => (await server.get(job)).token > 5);
  assert.equal((await server.get(job)).retries, 0);
  makeRoom();
  await server.until(job, 'succeeded');
  assert.equal((await server.messages(job)).filter(isWaiting).length, 1);
});

test('a trainer with a full disk only interrupts its job', async () => {
  const file = path.join(temporaryFolder(), 'room');
  const server = startServer(createMemoryStore());
  const job = await server.create({ steps: 4, perEpoch: 2, needsRoom: file });
  await until('the job to wait', async () => {
    const now = await server.get(job);
    return now.status === 'queued' && now.token > 5;
  });
  writeFileSync(file, '');
  await server.until(job, 'succeeded');
  const messages = await server.messages(job);
  assert.equal(messages.filter(isWaiting).length, 1);
  assert.ok(messages.includes('Resumed after step 2'), 'from its checkpoint');
});

test('the real trainer reports a full disk with the same fault', () => {
  const full = Object.assign(new Error('ENOSPC: no space left on device, write'), {
    code: 'ENOSPC',
  });
  for (const error of [full, new Error('the checkpoint failed', { cause: full })]) {
    assert.equal(toFault(error).code, 'disk_full');
  }
});

test('a job with a full store logs a few lines, and continues', async (t) => {
  const folder = smallDisk(t);
  if (folder === undefined) return;
  const { lines, log } = countingLog();
  const server = startServer(createFsStore(folder), { log });
  const gate = path.join(temporaryFolder(), 'gates');
  const job = await server.create({ steps: 4, perEpoch: 4, gates: gate });
  await server.until(job, 'running');
  const makeRoom = fill(folder);
  const before = performance.now();
  // A hundred renewals of the lease, all of which fail.
  await until('two seconds to pass', async () => performance.now() - before > 2000);
  assert.ok(lines.length < 20, `${lines.length} lines: ${lines.slice(0, 3).join('')}`);
  assert.doesNotMatch(lines.join(''), /are changing the same object/);
  makeRoom();
  execFileSync('mkdir', ['-p', gate]);
  for (const step of [1, 2, 3, 4]) writeFileSync(path.join(gate, String(step)), '');
  await server.until(job, 'succeeded');
});
