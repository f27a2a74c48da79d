// Folders are created level by level, and built folders replace existing ones as a whole.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { describeFailure, EXIT } from '../src/common/failure.ts';
import { buildFolder, makeFolder } from '../src/common/folders.ts';
import { runMain } from './cli/command.ts';
import { temporaryFolder } from './fixtures.ts';

const skip = existsSync('/proc/self') ? false : 'this machine has no /proc';

test('a folder is created with its parents, even by several callers at once, and again', async (t) => {
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

/** Writes a file with this text, as the content of a folder. */
const withText = (text: string) => async (folder: string) =>
  writeFileSync(path.join(folder, 'file'), text);
const readText = (folder: string) => readFileSync(path.join(folder, 'file'), 'utf8');

test('a built folder replaces the existing one and leaves nothing else', async (t) => {
  const work = temporaryFolder(t);
  const folder = path.join(work, 'new/folder');
  await buildFolder(folder, withText('first'));
  await buildFolder(folder, withText('second'));
  assert.equal(readText(folder), 'second');
  assert.deepEqual(readdirSync(path.dirname(folder)), ['folder']);
});

test('a build that fails keeps the existing folder and leaves nothing else', async (t) => {
  const folder = path.join(temporaryFolder(t), 'folder');
  await buildFolder(folder, withText('first'));
  const failing = () => Promise.reject(new Error('no space'));
  await assert.rejects(buildFolder(folder, failing), /no space/);
  assert.equal(readText(folder), 'first');
  assert.deepEqual(readdirSync(path.dirname(folder)), ['folder']);
});

test('a rename that fails restores the existing folder, which may do instead', async (t) => {
  const folder = path.join(temporaryFolder(t), 'folder');
  await buildFolder(folder, withText('first'));
  const removed = async (temporary: string) => rmSync(temporary, { recursive: true });
  await assert.rejects(buildFolder(folder, removed), { code: 'ENOENT' });
  assert.equal(readText(folder), 'first');
  await buildFolder(folder, removed, existsSync);
  assert.equal(readText(folder), 'first');
  assert.deepEqual(readdirSync(path.dirname(folder)), ['folder']);
});

test('a link to a folder stays one when the folder is replaced', async (t) => {
  const work = temporaryFolder(t);
  const [folder, link] = [path.join(work, 'folder'), path.join(work, 'link')];
  await buildFolder(folder, withText('first'));
  symlinkSync(folder, link);
  await buildFolder(link, withText('second'));
  assert.equal(readText(folder), 'second');
  assert.ok(lstatSync(link).isSymbolicLink());
});

test('the error of a full disk names the folder', async (t) => {
  const folder = path.join(temporaryFolder(t), 'folder');
  const full = () => Promise.reject(Object.assign(new Error('ENOSPC: write'), { code: 'ENOSPC' }));
  const error = await buildFolder(folder, full).catch((caught: unknown) => caught);
  assert.ok(
    describeFailure(error).text.startsWith(`lorikeet: Cannot write ${folder}: the disk is`),
  );
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
  test(name, { skip }, () => {
    const { status, stderr } = runMain(args, { LORIKEET_HOME: '/proc/x' });
    assert.equal(status, EXIT.config, stderr);
    assert.match(stderr, /^lorikeet: Cannot write \/proc\/x: no folder can be created there/m);
  });
}

for (const name of ['cache', 'store', '.']) {
  test(`lorikeet serve ends if ${name} in its folder is a file`, (t) => {
    const home = path.join(temporaryFolder(t), 'home');
    const file = path.join(home, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, '');
    const args = ['serve', '--port', '0', '--model', 'models/toy'];
    const { status, stderr } = runMain(args, { LORIKEET_HOME: home });
    assert.equal(status, EXIT.config, stderr);
    assert.match(
      stderr,
      /^lorikeet: .*(a file is in the way \((EEXIST|ENOTDIR)\)|not a directory)/m,
    );
  });
}

test('what a killed process left of a build is removed, but not the build of one that runs', async (t) => {
  const work = temporaryFolder(t);
  const folder = path.join(work, 'folder');
  let own = '';
  await buildFolder(folder, async (temporary) => {
    own = path.basename(temporary);
  });
  const left = own.replace(/\d+$/, `${spawnSync('true').pid}`);
  const kept = [own.replace(/\d+$/, `${process.ppid}`), 'folder.tmp-00000000-1', 'folder.tmp'];
  for (const name of [left, ...kept]) mkdirSync(path.join(work, name));
  await buildFolder(folder, withText('next'));
  assert.deepEqual(readdirSync(work).sort(), ['folder', ...kept].sort());
  // Killed between two renames, a process leaves the folder under another name.
  renameSync(folder, path.join(work, `${left}-former`));
  await assert.rejects(buildFolder(folder, () => Promise.reject(new Error('no network'))));
  assert.equal(readText(folder), 'next');
});
