// What goes and what stays: removed versions, unfinished publications, and everything that somebody may still read.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keys } from '../../../adapters/repository/manifest.ts';
import { type ObjectStore, StoreError } from '../../../adapters/store/store.ts';
import { pluck } from '../../pluck.ts';
import { adapterFiles, countedStore, keysOf, shelf, ZEN } from './shelf.ts';

const OTHER = { tenant: 'rival', name: 'bird' };
const WEIGHTS = 'adapter_model.safetensors';
const DAY_MS = 86_400_000;
const inDays = (days: number) => ({ now: Date.now() + days * DAY_MS, graceMs: DAY_MS });

/** Publishes until the call that the pattern names, as a process that ends there. */
const endingAt = (store: ObjectStore, pattern: RegExp) => {
  let isDead = false;
  return countedStore(store, (_, call) => {
    isDead ||= pattern.test(call);
    const error = new StoreError('unavailable', 'the process is gone');
    return isDead ? { isDone: false, error } : undefined;
  });
};

test('a removed version is gone for readers at once, its files after the grace, its number for ever', async (t) => {
  const { repository, open, store, adapter } = shelf(t);
  const first = await repository.publish(ZEN, { directory: adapter(1) });
  await repository.publish(ZEN, { directory: adapter(2) });
  await repository.removeVersion(ZEN, 1);
  assert.equal(await open().readManifest('acme', 'zen', 1), undefined);
  assert.deepEqual(pluck(await repository.listVersions('acme', 'zen'), 'version'), [2]);
  // Who has just read the manifest can fetch.
  assert.ok(await repository.openFile(first, 'adapter_model.safetensors'));
  assert.deepEqual(await repository.collectGarbage(inDays(0.9)), {
    unfinished: 0,
    removed: 0,
    bytes: 0,
    damaged: 0,
  });
  const { removed, bytes } = await repository.collectGarbage(inDays(1.1));
  assert.equal(removed, 1);
  assert.ok(bytes > first.files['adapter_model.safetensors'].byteSize);
  const left = (await keysOf(store)).filter((key) => key.startsWith('acme/zen/1/'));
  assert.deepEqual(left, ['acme/zen/1/manifest.json']);
  assert.equal((await repository.collectGarbage(inDays(9))).removed, 0);
  assert.equal((await repository.publish(ZEN, { directory: adapter(3) })).version, 3);
});

test('the number of the last version is not used again after its removal', async (t) => {
  const { repository, adapter } = shelf(t);
  await repository.publish(ZEN, { directory: adapter(1) });
  await repository.publish(ZEN, { directory: adapter(2) });
  await repository.rollback(ZEN, 'latest');
  await repository.removeVersion(ZEN, 2);
  await repository.collectGarbage(inDays(2));
  assert.equal((await repository.publish(ZEN, { directory: adapter(3) })).version, 3);
});

test('I19: a version that an alias leads to, alone or as a share, is not removed', async (t) => {
  const { repository, adapter } = shelf(t);
  for (const seed of [1, 2, 3]) await repository.publish(ZEN, { directory: adapter(seed) });
  const split = [
    { version: 1, percent: 95 },
    { version: 2, percent: 5 },
  ];
  await repository.moveAlias(ZEN, 'stable', { split });
  for (const version of [1, 2, 3]) {
    await assert.rejects(repository.removeVersion(ZEN, version), { code: 'invalid_request' });
  }
  await assert.rejects(repository.removeVersion(ZEN, 4), { code: 'not_found' });
  assert.equal((await repository.listVersions('acme', 'zen')).length, 3);
});

test('a removed name reads as never published, and its next version counts on', async (t) => {
  const { repository, open, adapter } = shelf(t);
  const reader = open();
  for (const seed of [1, 2]) await repository.publish(ZEN, { directory: adapter(seed) });
  await reader.readAliases('acme', 'zen');
  await repository.removeName(ZEN);
  assert.deepEqual(await reader.listNames('acme'), []);
  assert.deepEqual(await reader.listVersions('acme', 'zen'), []);
  assert.deepEqual((await reader.readAliases('acme', 'zen'))!.aliases.aliases, {});
  await assert.rejects(repository.removeName(ZEN), { code: 'not_found' });
  assert.equal((await repository.publish(ZEN, { directory: adapter(3) })).version, 3);
  assert.deepEqual((await reader.readAliases('acme', 'zen'))!.aliases.aliases, {
    latest: { version: 3 },
  });
});

test('the content of a removed version can be published again under its id', async (t) => {
  const { repository, adapter } = shelf(t);
  const options = { publicationId: 'content' };
  await repository.publish(ZEN, { directory: adapter(1) }, options);
  await repository.removeName(ZEN);
  const again = await repository.publish(ZEN, { directory: adapter(1) }, options);
  assert.equal(again.version, 2);
});

test('F16, I19: an unfinished publication goes after the grace; what was begun meanwhile stays', async (t) => {
  const { store, open, repository, adapter } = shelf(t);
  await repository.publish(ZEN, { directory: adapter(1) });
  const dying = open(endingAt(store, /put .*2\/manifest/));
  await assert.rejects(dying.publish(ZEN, { directory: adapter(2) }));
  assert.equal((await repository.collectGarbage(inDays(0.9))).unfinished, 0);
  const found = await repository.collectGarbage(inDays(1.1));
  const { config, weights } = adapterFiles(2);
  assert.equal(found.unfinished, 1);
  assert.ok(found.bytes > config.length + weights.length);
  assert.deepEqual(pluck(await repository.listVersions('acme', 'zen'), 'version'), [1]);
  assert.equal((await repository.publish(ZEN, { directory: adapter(3) })).version, 3);
});

test('a publisher that sleeps until it is collected cannot finish', async (t) => {
  const { store, open, repository, adapter } = shelf(t);
  const counted = countedStore(store);
  const sleeper = open({
    ...counted,
    async put(key, source, options) {
      if (key.endsWith('manifest.json')) await repository.collectGarbage(inDays(2));
      return counted.put(key, source, options);
    },
  });
  await assert.rejects(sleeper.publish(ZEN, { directory: adapter(1) }), /Publish again/);
  assert.deepEqual(await repository.listNames('acme'), []);
  assert.equal((await repository.publish(ZEN, { directory: adapter(1) })).version, 2);
});

test('I19: a publisher that finishes while it is collected keeps its version', async (t) => {
  const { store, open, repository, adapter } = shelf(t);
  const dying = open(endingAt(store, /put .*1\/manifest/));
  const options = { publicationId: 'job' };
  await assert.rejects(dying.publish(ZEN, { directory: adapter(1) }, options));
  const counted = countedStore(store);
  const collector = open({
    ...counted,
    async put(key, source, call) {
      await repository.publish(ZEN, { directory: adapter(1) }, options);
      return counted.put(key, source, call);
    },
  });
  assert.equal((await collector.collectGarbage(inDays(2))).unfinished, 0);
  const [manifest] = await repository.listVersions('acme', 'zen');
  assert.ok(await repository.openFile(manifest!, 'adapter_model.safetensors'));
});

test('files that were put there by hand, and what is no version, are left alone', async (t) => {
  const { store, repository, adapter } = shelf(t);
  await repository.publish(ZEN, { directory: adapter(1) });
  const { config } = adapterFiles(2);
  for (const key of [
    'acme/zen/5/adapter_config.json',
    'acme/zen/notes/readme.md',
    'acme/zen/1/extra/deep.json',
    'elsewhere.txt',
  ]) {
    await store.put(key, config);
  }
  const before = await keysOf(store);
  await repository.collectGarbage(inDays(100));
  assert.deepEqual(await keysOf(store), before);
});

test('a removal that is cut off at any call is finished by a second one', async (t) => {
  for (let k = 1; ; k++) {
    const { store, open, repository, adapter } = shelf(t);
    await repository.publish(ZEN, { directory: adapter(1) });
    await repository.publish(ZEN, { directory: adapter(2) });
    const error = new StoreError('unavailable', 'the process is gone');
    const counted = countedStore(store, (n) => (n >= k ? { isDone: false, error } : undefined));
    const isWhole = await open(counted)
      .removeVersion(ZEN, 1)
      .then(
        () => true,
        () => false,
      );
    if (!isWhole) {
      await repository.removeVersion(ZEN, 1).catch((reason) => {
        assert.equal(reason.code, 'not_found', `call ${k}`);
      });
    }
    assert.equal(await open().readManifest('acme', 'zen', 1), undefined, `call ${k}`);
    assert.equal((await repository.publish(ZEN, { directory: adapter(3) })).version, 3);
    if (isWhole) break;
    assert.ok(k < 30);
  }
});

test('a damaged alias file keeps the versions of its own name only', async (t) => {
  const { repository, store, adapter } = shelf(t);
  for (const name of [ZEN, OTHER]) {
    for (const n of [1, 2]) await repository.publish(name, { directory: adapter(n) });
    await repository.removeVersion(name, 1);
  }
  const weights = (of: typeof ZEN) => store.head(keys.versionFile({ ...of, version: 1 }, WEIGHTS));
  await store.put(keys.alias(OTHER.tenant, OTHER.name), Buffer.from('{'));
  const { removed, damaged } = await repository.collectGarbage(inDays(2));
  assert.deepEqual({ removed, damaged }, { removed: 1, damaged: 1 });
  assert.equal(await weights(ZEN), undefined);
  assert.ok(await weights(OTHER));
});
