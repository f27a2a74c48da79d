// F34: a running server takes an edit over, however little it is told of it, and survives a faulty one.
import assert from 'node:assert/strict';
import { rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { createLog } from '../../src/common/log.ts';
import { createKeyDigest } from '../../src/tenants/api-key.ts';
import { WatchedKeys } from '../../src/tenants/key-ring.ts';
import type { KeysFile } from '../../src/tenants/keys-file.ts';
import { updateKeysFile } from '../../src/tenants/keys-file.ts';
import { keysFileOf, makeKey, scratchFolder } from './keys.ts';

const key = makeKey('acme');
const other = makeKey('acme');

async function watch(content: KeysFile, now?: () => number) {
  const file = path.join(scratchFolder(), 'keys.json');
  writeFileSync(file, JSON.stringify(content));
  const logged: { msg: string; reason?: string }[] = [];
  const log = createLog('info', { write: (line: string) => logged.push(JSON.parse(line)) });
  const digest = createKeyDigest(undefined);
  const keys = await WatchedKeys.open(file, { digest, log, ...(now && { now }) });
  assert.ok(keys);
  after(() => keys.close());
  return { file, keys, logged };
}

test('a key that is revoked is nobody’s, and one that is made is somebody’s, at the next look', async () => {
  const { file, keys } = await watch(keysFileOf([key]));
  assert.equal(keys.find(key.text)?.id, 'acme');
  await updateKeysFile(file, (before) => ({ ...before, keys: [other.entry] }));
  await keys.refresh();
  assert.equal(keys.find(key.text), undefined);
  assert.equal(keys.find(other.text)?.id, 'acme');
});

test('an edit that keeps size and times, within a tick of the clock, is seen too', async () => {
  const admin = { ...key, entry: { ...key.entry, admin: true } };
  const [one, two] = [JSON.stringify(keysFileOf([admin])), JSON.stringify(keysFileOf([key]))];
  const { file, keys } = await watch(keysFileOf([admin]));
  const { atime, mtime } = statSync(file);
  await keys.refresh();
  writeFileSync(file, two.padEnd(one.length));
  utimesSync(file, atime, mtime);
  await keys.refresh();
  assert.equal(keys.find(key.text)?.isAdmin, false);
});

test('a file that has settled is read once, not at every look', async () => {
  let reads = 0;
  const later = () => {
    reads++; // the clock is asked after each reading
    return Date.now() + 10_000;
  };
  const { file, keys } = await watch(keysFileOf([key]), later);
  for (let look = 0; look < 3; look++) await keys.refresh();
  assert.equal(reads, 1);
  await updateKeysFile(file, () => keysFileOf([other]));
  await keys.refresh();
  assert.equal(reads, 2);
});

test('a faulty edit is logged once and the last good file holds until it is mended', async () => {
  const { file, keys, logged } = await watch(keysFileOf([key]));
  for (const text of ['{"version":1', JSON.stringify({ ...keysFileOf([key]), tenants: {} })]) {
    writeFileSync(file, text);
    await keys.refresh();
    await keys.refresh();
    assert.equal(keys.find(key.text)?.id, 'acme');
  }
  rmSync(file);
  await keys.refresh();
  await keys.refresh();
  assert.equal(keys.find(key.text)?.id, 'acme');
  assert.deepEqual(
    logged.map(({ msg }) => msg),
    Array(3).fill('the keys file is faulty; its last good state stays in force'),
  );
  await updateKeysFile(file, () => keysFileOf([other]));
  await keys.refresh();
  assert.equal(keys.find(key.text), undefined);
});

test('without a file there is nothing to watch', async () => {
  const file = path.join(scratchFolder(), 'keys.json');
  const options = { digest: createKeyDigest(undefined), log: createLog('silent') };
  assert.equal(await WatchedKeys.open(file, options), undefined);
});
