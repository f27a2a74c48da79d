// Several processes change one name at the same time: each has a repository of its own over one store.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keysOf, meetingStore, shelf, ZEN } from './shelf.ts';

test('T22: ten publishers at once give ten versions, none lost, and latest leads to the last', async (t) => {
  const { open, adapter } = shelf(t);
  const numbers = Array.from({ length: 10 }, (_, i) => i + 1);
  const published = await Promise.all(
    numbers.map((seed) => open().publish(ZEN, { directory: adapter(seed) })),
  );
  assert.deepEqual(
    published.map(({ version }) => version).sort((a, b) => a - b),
    numbers,
  );
  const versions = await open().listVersions('acme', 'zen');
  assert.deepEqual(
    versions.map(({ version, digest }) => [version, digest]),
    published
      .map(({ version, digest }) => [version, digest])
      .sort(([a], [b]) => Number(a) - Number(b)),
  );
  assert.equal(new Set(versions.map(({ digest }) => digest)).size, 10);
  const { aliases } = (await open().readAliases('acme', 'zen'))!;
  assert.deepEqual(aliases.aliases, { latest: { version: 10 } });
});

test('one publication in ten processes at once is one version', async (t) => {
  const { store, open, adapter } = shelf(t);
  const directory = adapter(1);
  const published = await Promise.all(
    Array.from({ length: 10 }, () => open().publish(ZEN, { directory }, { publicationId: 'job' })),
  );
  assert.equal(new Set(published.map(({ version }) => version)).size, 1);
  assert.equal((await open().listVersions('acme', 'zen')).length, 1);
  const { unfinished } = await open().collectGarbage({ now: Date.now() + 10, graceMs: 0 });
  assert.equal(unfinished, 0);
  const files = (await keysOf(store)).filter((key) => key.endsWith('.safetensors'));
  assert.equal(files.length, 1);
});

test('a publication that another process finishes between two of its calls is the same version', async (t) => {
  for (let k = 1; ; k++) {
    const { store, open, adapter } = shelf(t);
    const directory = adapter(1);
    await open().publish(ZEN, { directory: adapter(2) });
    let isMet = false;
    const meeting = meetingStore(store, k, async () => {
      isMet = true;
      await open().publish(ZEN, { directory }, { publicationId: 'job' });
      await open().publish(ZEN, { directory: adapter(3) });
    });
    const { version } = await open(meeting).publish(ZEN, { directory }, { publicationId: 'job' });
    assert.equal(version, 2, `call ${k}`);
    const versions = await open().listVersions('acme', 'zen');
    assert.equal(versions.length, isMet ? 3 : 2, `call ${k}`);
    const { aliases } = (await open().readAliases('acme', 'zen'))!;
    assert.deepEqual(aliases.aliases, { latest: { version: isMet ? 3 : 2 } }, `call ${k}`);
    if (!isMet) break;
    assert.ok(k < 30);
  }
});

test('every one of many moves of aliases at once is kept', async (t) => {
  const { repository, open, adapter } = shelf(t);
  await repository.publish(ZEN, { directory: adapter(1) });
  const names = Array.from({ length: 10 }, (_, i) => `alias-${i}`);
  await Promise.all(names.map((alias) => open().moveAlias(ZEN, alias, { version: 1 })));
  const { aliases } = (await open().readAliases('acme', 'zen'))!;
  assert.deepEqual(Object.keys(aliases.aliases).sort(), [...names, 'latest'].sort());
  assert.equal(aliases.revision, 11);
});

test('a version and the alias that is being led to it do not miss each other', async (t) => {
  // At each call of the move, the version is removed by somebody else: one of the two is refused.
  for (let k = 1; ; k++) {
    const { store, open, adapter } = shelf(t);
    await open().publish(ZEN, { directory: adapter(1) });
    await open().publish(ZEN, { directory: adapter(2) });
    let isMet = false;
    const meeting = meetingStore(store, k, async () => {
      isMet = true;
      await open()
        .removeVersion(ZEN, 1)
        .catch(() => {});
    });
    const mover = open(meeting);
    await mover.moveAlias(ZEN, 'stable', { version: 1 }).catch(() => {});
    const { aliases } = (await open().readAliases('acme', 'zen'))!;
    const isLed = 'stable' in aliases.aliases;
    const isThere = (await open().readManifest('acme', 'zen', 1)) !== undefined;
    assert.ok(!isLed || isThere, `call ${k}`);
    if (!isMet) break;
    assert.ok(k < 20);
  }
});
