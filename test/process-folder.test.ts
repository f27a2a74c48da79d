// What ended servers left in their folders goes, and what others still use stays.
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { openProcessFolder } from '../src/common/process-folder.ts';
import { temporaryFolder } from './fixtures.ts';

const log = { warn: () => {} };

function leave(root: string, owner: string): string {
  const folder = path.join(root, encodeURIComponent(owner));
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, 'rows.jsonl'), 'rows of a tenant');
  return folder;
}

/** Makes a folder and what is in it two days old. */
function age(folder: string, ...names: string[]): void {
  const twoDaysAgo = new Date(Date.now() - 2 * 86_400_000);
  for (const name of [...names, '.']) utimesSync(path.join(folder, name), twoDaysAgo, twoDaysAgo);
}

test('I19: the files of an ended process go, those of others stay', async (t) => {
  const root = temporaryFolder(t);
  const own = leave(root, 'host:3');
  for (const owner of ['host:1', 'host:2', 'elsewhere:1']) leave(root, owner);
  const isGone = (owner: string) => owner === 'host:1';
  assert.equal(await openProcessFolder(root, { owner: 'host:3', isGone, log }), own);
  const left = readdirSync(root).map(decodeURIComponent);
  assert.deepEqual(left.sort(), ['elsewhere:1', 'host:2', 'host:3']);
});

test('what a process of another machine left goes after a day', async (t) => {
  const root = temporaryFolder(t);
  age(leave(root, 'elsewhere:1'), 'rows.jsonl');
  await openProcessFolder(root, { owner: 'host:3', isGone: () => false, log });
  assert.deepEqual(readdirSync(root), []);
});

test('what a process of another machine still changes stays, however old its folder is', async (t) => {
  const root = temporaryFolder(t);
  const folder = leave(root, 'elsewhere:1');
  mkdirSync(path.join(folder, 'batch-1'));
  age(folder, 'rows.jsonl');
  await openProcessFolder(root, { owner: 'host:3', isGone: () => false, log });
  assert.equal(readdirSync(root).length, 1);
});

test('what an ended process leaves for its successor moves to this process', async (t) => {
  const root = temporaryFolder(t);
  for (const owner of ['host:1', 'host:2']) {
    mkdirSync(path.join(leave(root, owner), 'kept', `of ${owner}`), { recursive: true });
  }
  const isGone = (owner: string) => owner === 'host:1';
  const own = await openProcessFolder(root, { owner: 'host:3', isGone, log, inherits: 'kept' });
  assert.deepEqual(readdirSync(path.join(own, 'kept')), ['of host:1']);
  assert.deepEqual(readdirSync(root).map(decodeURIComponent).sort(), ['host:2', 'host:3']);
});

test('what cannot be moved stays, and keeps no others from their successor', async (t) => {
  const root = temporaryFolder(t);
  for (const [owner, kept] of [
    ['a', 'same'],
    ['b', 'same'],
    ['c', 'other'],
  ] as const) {
    mkdirSync(path.join(leave(root, owner), 'kept', kept, owner), { recursive: true });
  }
  const options = { owner: 'd', isGone: () => true, log, inherits: 'kept' };
  const own = await openProcessFolder(root, options);
  assert.deepEqual(readdirSync(path.join(own, 'kept')).sort(), ['other', 'same']);
  assert.deepEqual(readdirSync(root).sort(), ['b', 'd']);
});

test('what a process of another machine left goes after a day and is not inherited', async (t) => {
  const root = temporaryFolder(t);
  const folder = leave(root, 'elsewhere:1');
  mkdirSync(path.join(folder, 'kept', 'old'), { recursive: true });
  age(folder, 'rows.jsonl', 'kept', 'kept/old');
  const options = { owner: 'host:3', isGone: () => false, log, inherits: 'kept' };
  await openProcessFolder(root, options);
  assert.deepEqual(readdirSync(root), []);
});

test('a folder that is not there yet holds nothing', async (t) => {
  const root = path.join(temporaryFolder(t), 'none');
  const opened = await openProcessFolder(root, { owner: 'host:3', isGone: () => true, log });
  assert.equal(opened, path.join(root, encodeURIComponent('host:3')));
});
