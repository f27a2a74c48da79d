// What a failed command says of a folder that it cannot write: what happened, where, and what to do.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { EXIT, reportError } from '../../src/cli/report-error.ts';
import { temporaryFolder } from '../fixtures.ts';

function said(work: () => void): { text: string; exit: number } {
  const lines: string[] = [];
  const terminal = { out() {}, error: (line: string) => void lines.push(line) };
  try {
    work();
  } catch (error) {
    return { exit: reportError(error, terminal), text: lines.join('') };
  }
  return assert.fail('it worked');
}

function mountedDisk(t: TestContext, options: string): string | undefined {
  const folder = path.join(temporaryFolder(t), 'disk');
  mkdirSync(folder);
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', folder]).status !== 0) {
    t.skip('mounting a tmpfs needs root');
    return undefined;
  }
  return folder;
}

const unmount = (folder: string) => spawnSync('umount', ['-l', folder]);

test('a read-only folder is a wrong setting, and is named', (t) => {
  const folder = mountedDisk(t, 'ro');
  if (folder === undefined) return;
  try {
    const { text, exit } = said(() =>
      mkdirSync(path.join(folder, 'home/store'), { recursive: true }),
    );
    assert.equal(exit, EXIT.config);
    assert.match(
      text,
      /^lorikeet: Cannot write \/.*disk\/home\S*: the file system is read-only \(EROFS\)\. Set /,
    );
  } finally {
    unmount(folder);
  }
});

test('a full disk is a failure, with what to do', (t) => {
  const folder = mountedDisk(t, 'size=64k');
  if (folder === undefined) return;
  try {
    const file = path.join(folder, 'file');
    const { text, exit } = said(() => writeFileSync(file, Buffer.alloc(2 ** 20)));
    assert.equal(exit, EXIT.failed);
    assert.match(text, /the disk is full \(ENOSPC\)\. Free some space/);
  } finally {
    unmount(folder);
  }
});

test('a file that is missing is told as before', () => {
  const missing = Object.assign(new Error('ENOENT: no such file or directory, open x'), {
    code: 'ENOENT',
    syscall: 'open',
    path: 'x',
  });
  const { text, exit } = said(() => {
    throw missing;
  });
  assert.equal(exit, EXIT.failed);
  assert.equal(text, `lorikeet: ${missing.message}\n`);
});
