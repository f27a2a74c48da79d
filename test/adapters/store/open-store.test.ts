// From settings to a store, and which settings are faults.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { openStore } from '../../../adapters/store/open-store.ts';
import { loadConfig } from '../../../src/settings/config.ts';
import { temporaryFolder } from '../../fixtures.ts';
import { bytesOf, ofKind, readText } from './conformance.ts';
import { listKeys } from './wrapped-store.ts';

function configOf(home: string, store: string) {
  return loadConfig({}, { HOME: home, LORIKEET_HOME: home, LORIKEET_STORE: store });
}

test('without a setting the store is a folder in the data folder, made at once', async (t) => {
  const home = path.join(temporaryFolder(t), 'home');
  const store = await openStore(configOf(home, ''));
  assert.equal(store.label, path.join(home, 'store'));
  await store.put('a/b', bytesOf('x'));
  assert.equal(fs.readFileSync(path.join(home, 'store/a/b'), 'utf8'), 'x');
});

test('a named folder is not made: it may be a disk that is not mounted', async (t) => {
  const folder = temporaryFolder(t);
  const store = await openStore(configOf(folder, path.join(folder, 'mine')));
  await assert.rejects(listKeys(store, ''), ofKind('invalid'));
  fs.mkdirSync(path.join(folder, 'mine'));
  assert.deepEqual(await listKeys(store, ''), []);
});

test('memory: is a store of this process', async (t) => {
  const store = await openStore(configOf(temporaryFolder(t), 'memory:'));
  await store.put('a', bytesOf('x'));
  assert.equal(await readText(store, 'a'), 'x');
});

test('a bucket is named with and without a prefix, and its client warns of nothing', async (t) => {
  const home = temporaryFolder(t);
  const warnings: Error[] = [];
  const collect = (warning: Error) => warnings.push(warning);
  process.on('warning', collect);
  t.after(() => process.off('warning', collect));
  for (const [setting, label] of [
    ['s3://my-bucket', 's3://my-bucket'],
    ['s3://my-bucket/', 's3://my-bucket'],
    ['s3://my.bucket/team/adapters/', 's3://my.bucket/team/adapters'],
  ] as const) {
    assert.equal((await openStore(configOf(home, setting))).label, label);
  }
  await nextTurn(); // warnings are events
  assert.deepEqual(warnings, []);
});

test('what is neither a folder nor a bucket is a fault', () => {
  for (const setting of [
    's3://',
    's3:/bucket',
    'S3://bucket',
    's3://Bucket',
    's3://b',
    's3://bucket//a',
    's3://bucket/a/../b',
    's3://bucket/a b',
    's3://key:secret@bucket',
    'gs://bucket',
    'https://host/bucket',
    'memory:x',
  ]) {
    const read = (): unknown => configOf('/home/someone', setting);
    assert.throws(read, { name: 'ConfigError', message: /^LORIKEET_STORE: must be a folder, s3:/ });
  }
  assert.equal(configOf('/home/someone', 'here').store, path.resolve('here'));
});
