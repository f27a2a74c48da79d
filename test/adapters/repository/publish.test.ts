// What a publication writes, and what it answers.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { adapterDigest } from '../../../adapters/peft/files.ts';
import { contentPublication } from '../../../adapters/repository/content.ts';
import { ServeError } from '../../../src/common/errors.ts';
import { temporaryFolder } from '../../fixtures.ts';
import { pluck } from '../../pluck.ts';
import {
  adapterFiles,
  countedStore,
  keysOf,
  ORIGIN,
  shelf,
  writeAdapter,
  writeOrigin,
  ZEN,
} from './shelf.ts';

test('T41: a version is a plain PEFT folder whose manifest says what is in it', async (t) => {
  const { repository, adapter, store } = shelf(t, { now: () => 1_700_000_000_999 });
  const metrics = { validation_loss: 1.25 };
  const directory = writeOrigin(adapter(1));
  const baseDigest = 'b'.repeat(64);
  const published = await repository.publish(ZEN, { directory }, { baseDigest, metrics, job: 'j' });
  const { config, weights } = adapterFiles(1);
  const file = (bytes: Uint8Array) => ({
    sha256: createHash('sha256').update(bytes).digest('hex'),
    byteSize: bytes.length,
  });
  assert.deepEqual(published, {
    schema: 1,
    ...ZEN,
    version: 1,
    digest: adapterDigest(config, weights),
    files: { 'adapter_config.json': file(config), 'adapter_model.safetensors': file(weights) },
    base_digest: baseDigest,
    created_at: 1_700_000_000,
    rank: 2,
    targets: ['q_proj', 'v_proj'],
    job: 'j',
    training: ORIGIN,
    metrics,
  });
  assert.deepEqual(await repository.readManifest('acme', 'zen', 1), published);
  assert.deepEqual(await keysOf(store), [
    'acme/zen/1/adapter_config.json',
    'acme/zen/1/adapter_model.safetensors',
    'acme/zen/1/manifest.json',
    'acme/zen/1/publishing.json',
    'acme/zen/alias.json',
  ]);
});

test('T41: an origin that is not one is refused by its field, before anything is written', async (t) => {
  const { repository, adapter, store } = shelf(t);
  const directory = adapter(1);
  const { program: _, ...unnamed } = ORIGIN;
  const bad: Record<string, unknown> = {
    program: unnamed,
    'data.sha256': { ...ORIGIN, data: { ...ORIGIN.data, sha256: 'D'.repeat(64) } },
    'data.byteSize': { ...ORIGIN, data: { ...ORIGIN.data, byteSize: 0 } },
    validation: { ...ORIGIN, validation: 'e'.repeat(64) },
    init_adapter: { ...ORIGIN, init_adapter: '../zen' },
  };
  for (const [field, origin] of Object.entries(bad)) {
    writeOrigin(directory, origin);
    await assert.rejects(repository.publish(ZEN, { directory }), {
      code: 'adapter_invalid',
      param: `training_origin.json: ${field}`,
    });
  }
  assert.deepEqual(await keysOf(store), []);
});

test('T41: other words about the origin of a version do not make a new one', async (t) => {
  const { repository, adapter } = shelf(t);
  const directory = writeOrigin(adapter(1));
  const options = { publicationId: 'job-7' };
  await repository.publish(ZEN, { directory }, options);
  writeOrigin(directory, { ...ORIGIN, program: 'lorikeet 0.2.0' });
  const again = await repository.publish(ZEN, { directory }, options);
  assert.deepEqual([again.version, again.training], [1, ORIGIN]);
});

test('the claim comes first, the manifest after the files, the aliases last, between two announcements', async (t) => {
  const { store, open, adapter } = shelf(t);
  const counted = countedStore(store);
  await open(counted).publish(ZEN, { directory: adapter(1) }, { aliases: ['stable'] });
  assert.deepEqual(
    counted.calls
      .filter((call) => call.startsWith('put'))
      .map((call) => call.replace(/[0-9a-f]{16}/, 'ID')),
    [
      'put acme/zen/1/publishing.json',
      'put acme/zen/1/adapter_config.json',
      'put acme/zen/1/adapter_model.safetensors',
      'put .changes/ID.begun.acme..zen',
      'put acme/zen/1/manifest.json',
      'put acme/zen/alias.json',
      'put .changes/ID.done.acme..zen',
    ],
  );
});

test('versions count up, aliases follow, and what they led to before is kept', async (t) => {
  const { repository, adapter } = shelf(t);
  await repository.publish(ZEN, { directory: adapter(1) }, { aliases: ['stable'] });
  await repository.publish(ZEN, { directory: adapter(2) });
  const { aliases } = (await repository.readAliases('acme', 'zen'))!;
  assert.deepEqual(aliases.aliases, { latest: { version: 2 }, stable: { version: 1 } });
  assert.deepEqual(aliases.previous, { latest: { version: 1 } });
  const versions = await repository.listVersions('acme', 'zen');
  assert.deepEqual(pluck(versions, 'version'), [1, 2]);
});

test('progress tells the bytes of both files', async (t) => {
  const { repository, adapter } = shelf(t);
  const told: [number, number][] = [];
  const onProgress = (done: number, total: number) => void told.push([done, total]);
  await repository.publish(ZEN, { directory: adapter(1) }, { onProgress });
  const { config, weights } = adapterFiles(1);
  const total = config.length + weights.length;
  assert.deepEqual(told, [
    [0, total],
    [config.length, total],
    [total, total],
  ]);
});

test('a publication id brings one version, however often it is published under', async (t) => {
  const { open, adapter } = shelf(t);
  const options = { publicationId: 'job-7', aliases: ['stable'] };
  const first = await open().publish(ZEN, { directory: adapter(1) }, options);
  await open().publish(ZEN, { directory: adapter(2) });
  const again = await open().publish(ZEN, { directory: adapter(1) }, options);
  assert.deepEqual(again, first);
  const { aliases } = (await open().readAliases('acme', 'zen'))!;
  assert.deepEqual(aliases.aliases, { latest: { version: 2 }, stable: { version: 1 } });
  await assert.rejects(open().publish(ZEN, { directory: adapter(3) }, options), {
    code: 'invalid_request',
    param: 'publication_id',
  });
});

test('a second try of a publication takes back no rollback', async (t) => {
  const { repository, adapter } = shelf(t);
  await repository.publish(ZEN, { directory: adapter(1) });
  await repository.publish(ZEN, { directory: adapter(2) }, { publicationId: 'second' });
  await repository.rollback(ZEN, 'latest');
  await repository.publish(ZEN, { directory: adapter(2) }, { publicationId: 'second' });
  const { aliases } = (await repository.readAliases('acme', 'zen'))!;
  assert.deepEqual(aliases.aliases, { latest: { version: 1 } });
});

test('the id of a content is of its digest, base and sampling defaults', () => {
  const digest = 'd'.repeat(64);
  const baseDigest = 'a'.repeat(64);
  const ids = [
    {},
    { baseDigest },
    { baseDigest: 'b'.repeat(64) },
    { baseDigest, generationConfig: { top_p: 0.9 } },
    { baseDigest, generationConfig: { top_p: 0.8 } },
  ].map((states) => contentPublication(digest, states));
  assert.equal(new Set(ids).size, 5);
});

test('names are tenants of each other: the same name of another tenant is another adapter', async (t) => {
  const { repository, adapter } = shelf(t);
  await repository.publish(ZEN, { directory: adapter(1) });
  const other = { tenant: 'other', name: 'zen' };
  assert.equal((await repository.publish(other, { directory: adapter(2) })).version, 1);
  assert.deepEqual(await repository.listNames('acme'), ['zen']);
  assert.deepEqual(await repository.listNames('acm'), []);
  assert.deepEqual(await repository.listNames('../acme'), []);
});

for (const [what, to] of Object.entries({
  'a name that leads out': { tenant: 'acme', name: '../zen' },
  'a name with a separator': { tenant: 'acme', name: 'zen@3' },
  'a name that is no key': { tenant: 'acme', name: '__proto__' },
  'a tenant with a separator': { tenant: 'acme/other', name: 'zen' },
})) {
  test(`${what} is refused and reads as absent`, async (t) => {
    const { repository, adapter, store } = shelf(t);
    await assert.rejects(repository.publish(to, { directory: adapter(1) }), {
      code: 'invalid_request',
    });
    assert.deepEqual(await keysOf(store), []);
    assert.equal(await repository.readAliases(to.tenant, to.name), undefined);
    assert.equal(await repository.readManifest(to.tenant, to.name, 1), undefined);
    assert.deepEqual(await repository.listVersions(to.tenant, to.name), []);
  });
}

for (const name of ['base', 'default', 'ft']) {
  test(`nothing is published under the name ${name}`, async (t) => {
    const { repository, adapter } = shelf(t);
    await assert.rejects(repository.publish({ ...ZEN, name }, { directory: adapter(1) }), {
      param: 'name',
    });
  });
}

test('what is no adapter is refused before anything is written', async (t) => {
  const { repository, store } = shelf(t);
  const directory = path.join(temporaryFolder(t), 'page');
  mkdirSync(directory);
  writeFileSync(path.join(directory, 'adapter_config.json'), '<html>');
  writeFileSync(path.join(directory, 'adapter_model.safetensors'), '<html>');
  const refusal = (error: unknown) => error instanceof ServeError && error.status === 422;
  await assert.rejects(repository.publish(ZEN, { directory }), refusal);
  assert.deepEqual(await keysOf(store), []);
});

test('a folder that changes while it is published is no version', async (t) => {
  const { store, open, adapter } = shelf(t);
  const directory = adapter(1);
  const counted = countedStore(store, (_, call) => {
    const { weights } = adapterFiles(2);
    const isNext = call.endsWith('adapter_model.safetensors');
    if (isNext) writeFileSync(path.join(directory, 'adapter_model.safetensors'), weights);
    return undefined;
  });
  await assert.rejects(open(counted).publish(ZEN, { directory }), { code: 'adapter_invalid' });
  assert.deepEqual(await open().listNames('acme'), []);
});

test('an abandoned publication ends with its reason', async (t) => {
  const { store, open, adapter } = shelf(t);
  const controller = new AbortController();
  const counted = countedStore(store, (_, call) => {
    if (call.endsWith('adapter_model.safetensors')) controller.abort(new Error('enough'));
    return undefined;
  });
  const { signal } = controller;
  const publishing = open(counted).publish(ZEN, { directory: adapter(1) }, { signal });
  await assert.rejects(publishing, /enough/);
  assert.deepEqual(await open().listNames('acme'), []);
});

test('files that were put there by hand become a version when they are adopted', async (t) => {
  const { store, repository, open, adapter } = shelf(t);
  await repository.publish(ZEN, { directory: adapter(1) });
  const { config, weights } = adapterFiles(2);
  await store.put('acme/zen/7/adapter_config.json', config);
  const seven = { ...ZEN, version: 7 };
  await assert.rejects(repository.adopt(seven), { param: 'adapter_model.safetensors' });
  await store.put('acme/zen/7/adapter_model.safetensors', weights);
  assert.equal(await repository.readManifest('acme', 'zen', 7), undefined);
  const adopted = await repository.adopt(seven);
  assert.equal(adopted.digest, adapterDigest(config, weights));
  assert.deepEqual(await open().readManifest('acme', 'zen', 7), adopted);
  assert.deepEqual(await repository.adopt(seven), adopted);
  const { aliases } = (await open().readAliases('acme', 'zen'))!;
  assert.deepEqual(aliases.aliases['latest'], { version: 7 });
  const root = temporaryFolder(t);
  const next = await repository.publish(ZEN, { directory: writeAdapter(root, 3) });
  assert.equal(next.version, 8);
});
