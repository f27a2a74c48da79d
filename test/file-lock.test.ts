// Locks between processes: who holds one, when a holder counts as dead, and what others are told.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, lutimesSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { acquireLock, LockHeld } from '../src/common/file-lock.ts';
import { createOwner } from '../src/common/process-id.ts';
import { temporaryFolder } from './fixtures.ts';

const NO_WAIT = { waitMs: 0, pollMs: 1 };
const ended = spawnSync(process.execPath, ['-e', '']).pid;
const [machine] = createOwner('x').split('#');

test('a lock that this process holds is not taken twice', async (t) => {
  const file = path.join(temporaryFolder(t), 'deep', 'lock');
  await acquireLock(file, NO_WAIT);
  await assert.rejects(acquireLock(file, NO_WAIT), (error) => {
    return error instanceof LockHeld && error.message === `process ${process.pid}`;
  });
});

const HOLDERS = [
  { who: 'an ended process of this machine', holder: `${machine}#${ended}#x`, isDead: true },
  { who: 'a namesake of this process', holder: `${machine}#${process.pid}#x`, isDead: true },
  { who: 'a live process', holder: `${machine}#${process.ppid}#x`, isDead: false },
  { who: 'an ended process elsewhere', holder: `elsewhere#${ended}#x`, isDead: false },
  { who: 'an ended process elsewhere', holder: `elsewhere#${ended}#x`, isPidEnough: true },
  { who: 'an old process elsewhere', holder: `elsewhere#${ended}#x`, staleMs: 1000 },
];

for (const { who, holder, isDead, ...limits } of HOLDERS) {
  const takes = isDead ?? true;
  const how = Object.keys(limits).join();
  test(`a lock of ${who} is ${takes ? 'taken' : 'left alone'} ${how}`, async (t) => {
    const file = path.join(temporaryFolder(t), 'lock');
    symlinkSync(holder, file);
    lutimesSync(file, 0, 0);
    const taken = acquireLock(file, { ...NO_WAIT, ...limits });
    if (takes) await taken;
    else await assert.rejects(taken, LockHeld);
    assert.equal(readlinkSync(file) !== holder, takes);
    assert.ok(!existsSync(`${file}.dead`));
  });
}

test('a plain file, as older versions wrote it, holds nothing if process ids are enough', async (t) => {
  const file = path.join(temporaryFolder(t), 'lock');
  writeFileSync(file, '1');
  await assert.rejects(acquireLock(file, NO_WAIT), LockHeld);
  await acquireLock(file, { ...NO_WAIT, isPidEnough: true });
});
