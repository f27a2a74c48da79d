// What a failed command says about a folder that it cannot write: what happened, where, and what to do.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { describeFailure, EXIT, type Failure } from '../src/common/failure.ts';
import { toFault } from '../trainer/run/faults.ts';
import { temporaryFolder } from './fixtures.ts';

function failureOf(work: () => void): Failure {
  try {
    work();
  } catch (error) {
    return describeFailure(error);
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
    const { text, exitCode } = failureOf(() =>
      mkdirSync(path.join(folder, 'home/store'), { recursive: true }),
    );
    assert.equal(exitCode, EXIT.config);
    assert.match(
      text,
      /^lorikeet: Cannot write \/.*disk\/home\S*: the file system is read-only \(EROFS\)\. Set /,
    );
  } finally {
    unmount(folder);
  }
});

test("a file beyond the process's size limit is a failure, with what to do, also in a run", (t) => {
  const file = path.join(temporaryFolder(t), 'file');
  const code = `try { require('fs').writeFileSync(${JSON.stringify(file)}, Buffer.alloc(1 << 20)) } catch (e) {
    console.log(JSON.stringify({ ...e, message: e.message })) }`;
  const limited = ['-c', 'ulimit -f 8 && exec "$0" -e "$1"', process.execPath, code];
  const { stdout } = spawnSync('bash', limited, { encoding: 'utf8' });
  const error = Object.assign(new Error(), JSON.parse(stdout));
  const { text, exitCode } = describeFailure(error);
  assert.equal(exitCode, EXIT.failed);
  assert.match(
    text,
    /^lorikeet: Cannot write .*larger than this process may write \(EFBIG\)\. Raise/,
  );
  const { message } = toFault(error);
  assert.match(message, /^The run's folder cannot be written: the file would be larger .* Raise/);
});

test('a full disk is a failure, with what to do', (t) => {
  const folder = mountedDisk(t, 'size=64k');
  if (folder === undefined) return;
  try {
    const file = path.join(folder, 'file');
    const { text, exitCode } = failureOf(() => writeFileSync(file, Buffer.alloc(2 ** 20)));
    assert.equal(exitCode, EXIT.failed);
    assert.match(text, /the disk is full \(ENOSPC\)\. Free some space/);
  } finally {
    unmount(folder);
  }
});

test('a file that is missing is named in plain words', () => {
  const missing = Object.assign(new Error('ENOENT: no such file or directory, open x'), {
    code: 'ENOENT',
    syscall: 'open',
    path: 'x',
  });
  const { text, exitCode } = failureOf(() => {
    throw missing;
  });
  assert.equal(exitCode, EXIT.failed);
  assert.equal(text, 'lorikeet: x does not exist\n');
});
