// Folders are created level by level; a folder that cannot be created is an error, at once.
import assert from 'node:assert/strict';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { describeFailure, EXIT } from '../src/common/failure.ts';
import { makeFolder } from '../src/common/folders.ts';
import { runLorikeet } from './e2e/program.ts';
import { temporaryFolder } from './fixtures.ts';

const skip = existsSync('/proc/self') ? false : 'there is no /proc';

test('a folder is created with its parents, also by several at once and again', async (t) => {
  const folder = path.join(temporaryFolder(t), 'a/b/c');
  await Promise.all([makeFolder(folder), makeFolder(folder), makeFolder(path.dirname(folder))]);
  await makeFolder(folder);
  assert.ok(statSync(folder).isDirectory());
});

test('a file in the way is an error', async (t) => {
  const file = path.join(temporaryFolder(t), 'file');
  writeFileSync(file, '');
  await assert.rejects(makeFolder(file), { code: 'EEXIST' });
  await assert.rejects(makeFolder(path.join(file, 'below')), { code: 'ENOTDIR' });
});

test('a folder that the system refuses to create is an error that says so', { skip }, async () => {
  const error = await makeFolder('/proc/x/y').catch((caught: unknown) => caught);
  const { text, exitCode } = describeFailure(error);
  assert.equal(exitCode, EXIT.config);
  assert.match(
    text,
    /^lorikeet: Cannot write \/proc\/x: no folder can be created there \(ENOENT\)/,
  );
});

for (const args of [['serve'], ['import', 'models/toy', '--out', '/proc/x/base']]) {
  const name = `lorikeet ${args[0]} ends if its folder cannot be created`;
  test(name, { skip, timeout: 60_000 }, async () => {
    const { code, error } = await runLorikeet(args, '/proc/x');
    assert.equal(code, EXIT.config, error);
    assert.match(error, /^lorikeet: Cannot write \/proc\/x: no folder can be created there/m);
  });
}
