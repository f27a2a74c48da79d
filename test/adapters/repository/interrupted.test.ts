// A publication that is cut off, or whose store answers wrongly, at each of its calls: readers see the old or the new,
// and a second try ends with one version.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AdapterRepository } from '../../../adapters/repository/repository.ts';
import { StoreError } from '../../../adapters/store/store.ts';
import { pluck } from '../../pluck.ts';
import { countedStore, FAULTS, type Fault, keysOf, shelf, ZEN } from './shelf.ts';

/** What a reader may find while version 2 comes: all that any name resolves to is whole. */
async function latestOf(reader: AdapterRepository): Promise<number> {
  const { aliases } = (await reader.readAliases('acme', 'zen'))!;
  const pointer = aliases.aliases['latest']!;
  assert.ok('version' in pointer);
  for (const manifest of await reader.listVersions('acme', 'zen')) {
    for (const file of ['adapter_config.json', 'adapter_model.safetensors'] as const) {
      const { byteSize } = await reader.openFile(manifest, file);
      assert.equal(byteSize, manifest.files[file].byteSize);
    }
  }
  assert.ok(await reader.readManifest('acme', 'zen', pointer.version));
  return pointer.version;
}

const OPTIONS = { publicationId: 'second', aliases: ['stable'] };
/** Only these can be in conflict with another one. */
const CONDITIONAL = /^put .*(publishing|manifest|alias)\.json$/;
const DEAD: Fault = { isDone: false, error: new StoreError('unavailable', 'the process is gone') };

async function callsOfPublication(t: Parameters<typeof shelf>[0]): Promise<number> {
  const { store, open, adapter } = shelf(t);
  await open().publish(ZEN, { directory: adapter(1) });
  const counted = countedStore(store);
  await open(counted).publish(ZEN, { directory: adapter(2) }, OPTIONS);
  return counted.calls.length;
}

test('F16, T21, I18: a process that ends at any call leaves the old or the new, and its successor finishes', async (t) => {
  const count = await callsOfPublication(t);
  assert.ok(count >= 10);
  for (let k = 1; k <= count; k++) {
    const { store, open, adapter } = shelf(t);
    await open().publish(ZEN, { directory: adapter(1) });
    const reader = open();
    const dying = open(countedStore(store, (n) => (n >= k ? DEAD : undefined)));
    const publishing = dying.publish(ZEN, { directory: adapter(2) }, OPTIONS);
    await assert.rejects(publishing, { code: 'adapter_unavailable' });
    assert.ok([1, 2].includes(await latestOf(reader)), `call ${k}`);
    const manifest = await open().publish(ZEN, { directory: adapter(2) }, OPTIONS);
    assert.equal(manifest.version, 2, `call ${k}`);
    assert.equal(await latestOf(reader), 2);
    assert.equal((await reader.listVersions('acme', 'zen')).length, 2);
    assert.equal((await keysOf(store)).length, 9);
  }
});

for (const [what, fault] of Object.entries(FAULTS)) {
  test(`F15: a publication of which any one call ${what} ends with one version`, async (t) => {
    const count = await callsOfPublication(t);
    for (let k = 1; k <= count; k++) {
      const { store, open, adapter } = shelf(t);
      await open().publish(ZEN, { directory: adapter(1) });
      const canBe = (call: string) => fault.error.kind !== 'conflict' || CONDITIONAL.test(call);
      const faulty = open(
        countedStore(store, (n, call) => (n === k && canBe(call) ? fault : undefined)),
      );
      await faulty.publish(ZEN, { directory: adapter(2) }, OPTIONS).catch((error) => {
        assert.equal(error.code, 'adapter_unavailable', `call ${k}`);
        return open().publish(ZEN, { directory: adapter(2) }, OPTIONS);
      });
      const reader = open();
      assert.equal(await latestOf(reader), 2, `call ${k}`);
      const versions = await reader.listVersions('acme', 'zen');
      assert.deepEqual(pluck(versions, 'version'), [1, 2], `call ${k}`);
    }
  });
}

test('conditional writes that are done and not told are found by reading, without a second try', async (t) => {
  for (const fault of [
    FAULTS['is done and then fails'],
    FAULTS['is done, and tried again by the client (412)'],
  ]) {
    const { store, open, adapter } = shelf(t);
    const told = new Set<string>();
    const faulty = countedStore(store, (_, call) => {
      if (!CONDITIONAL.test(call) || told.has(call)) return undefined;
      told.add(call);
      return fault;
    });
    const manifest = await open(faulty).publish(ZEN, { directory: adapter(1) });
    assert.equal(manifest.version, 1);
    assert.equal(told.size, 3);
    const { aliases } = (await open().readAliases('acme', 'zen'))!;
    assert.equal(aliases.revision, 1);
  }
});

test('credentials that are refused are not tried again', async (t) => {
  const { store, open, adapter } = shelf(t);
  const error = new StoreError('denied', 'AccessDenied for AKIASECRET in bucket b');
  const counted = countedStore(store, () => ({ isDone: false, error }));
  const refused = await open(counted)
    .publish(ZEN, { directory: adapter(1) })
    .catch((reason) => reason);
  assert.equal(refused.code, 'adapter_unavailable');
  assert.doesNotMatch(refused.message, /AKIA|bucket/);
  assert.equal(refused.cause, error);
  assert.equal(counted.calls.length, 1);
});
