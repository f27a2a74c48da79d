// Copies of checkpoints: each is a run of its own with the same files.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { WEIGHTS_FILE } from '../../adapters/peft/files.ts';
import { createRepository } from '../../adapters/repository/repository.ts';
import { fetchVersion } from '../../adapters/repository/versions.ts';
import { adapterOfRun, parseTinkerPath } from '../../src/contracts/tinker-path.ts';
import { sampleFolder } from '../adapters/published.ts';
import { temporaryFolder } from '../fixtures.ts';
import { startMachine, TENANT } from './machine.ts';

const ID = 'tinker-0123456789abcdef01234567:train:0';
const SOURCE = `tinker://${ID}/weights/first`;
const STAYS = { path: SOURCE, ttlS: null };

async function start(t: TestContext) {
  const machine = startMachine(t);
  const { service } = await machine.serve();
  const facts = { baseModel: 'toy', baseDigest: 'b'.repeat(64), rank: 4 };
  await service.runs.create({ id: ID, tenant: TENANT, ...facts, metadata: { name: 'mine' } });
  const directory = sampleFolder();
  const momentsFile = path.join(temporaryFolder(t), 'moments.safetensors');
  writeFileSync(momentsFile, 'moments');
  await service.runs.save(
    await service.runs.find(TENANT, ID),
    { folder: 'weights', name: 'first', expiresMs: null, metadata: { note: 'a' } },
    { directory, momentsFile, publicationId: 'one' },
  );
  const weights = readFileSync(path.join(directory, WEIGHTS_FILE));
  return { service, weights, repository: createRepository(machine.store) };
}

test('a copy is a new run with the same weights, moments and metadata', async (t) => {
  const { service, weights, repository } = await start(t);
  const copied = parseTinkerPath(await service.copy(TENANT, 'key', { path: SOURCE, ttlS: 3600 }))!;
  assert.deepEqual({ ...copied, run: '' }, { run: '', folder: 'weights', name: 'first' });
  assert.notEqual(copied.run, ID);
  const { run, checkpoint } = await service.runs.checkpoint(TENANT, copied);
  assert.deepEqual([run.rank, run.metadata], [4, { name: 'mine' }]);
  assert.deepEqual(checkpoint.metadata, { note: 'a' });
  assert.ok(Math.abs(checkpoint.expiresMs! - Date.now() - 3_600_000) < 60_000);
  const name = adapterOfRun(copied.run)!;
  const manifest = await repository.readManifest(TENANT, name, checkpoint.version);
  const { weightsBytes } = await fetchVersion(repository, manifest!);
  assert.ok(weights.equals(weightsBytes));
  const moments = await service.runs.openMoments(run, checkpoint);
  assert.equal(await text(moments!), 'moments');
});

test('a request that is repeated makes no second copy, and a refused one can be repeated', async (t) => {
  const { service } = await start(t);
  const [first, again] = await Promise.all([1, 2].map(() => service.copy(TENANT, 'one', STAYS)));
  assert.equal(first, again);
  assert.equal(await service.copy(TENANT, 'one', STAYS), first);
  assert.notEqual(await service.copy(TENANT, 'two', STAYS), first);
  const missing = { path: SOURCE.replace('first', 'second'), ttlS: null };
  await assert.rejects(service.copy(TENANT, 'three', missing), { code: 'not_found' });
  assert.ok(await service.copy(TENANT, 'three', STAYS));
});

test('a copy of what is no checkpoint of the tenant is refused', async (t) => {
  const { service } = await start(t);
  await assert.rejects(service.copy('other', 'key', STAYS), { code: 'not_found' });
  const odd = { path: 'mine', ttlS: null };
  await assert.rejects(service.copy(TENANT, 'key', odd), { param: 'source_path' });
});
