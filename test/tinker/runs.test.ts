// Training runs in a store: their checkpoints are versions with an alias, belong to one tenant, and go when they expire.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { createRepository } from '../../adapters/repository/repository.ts';
import { guardStore } from '../../adapters/store/guarded-store.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { NO_STEPS } from '../../src/tinker/loss-curve.ts';
import { Runs } from '../../src/tinker/runs.ts';
import { sampleFolder } from '../adapters/published.ts';
import { temporaryFolder } from '../fixtures.ts';
import { until } from '../until.ts';

const ID = 'tinker-0123456789abcdef01234567:train:0';
const ALL = { offset: 0, limit: Infinity };
const NAME = 'tinker-0123456789abcdef01234567-0';
const NEW = {
  id: ID,
  tenant: 'acme',
  baseModel: 'toy',
  baseDigest: 'a'.repeat(64),
  rank: 4,
  metadata: null,
};

async function start() {
  const store = createMemoryStore();
  const repository = createRepository(store);
  const time = { ms: 1_000_000 };
  const published: string[] = [];
  const reads: string[] = [];
  const guarded = guardStore(store);
  const counted: typeof guarded = {
    ...guarded,
    get(key, call) {
      reads.push(key);
      return guarded.get(key, call);
    },
  };
  const runs = new Runs({
    store: counted,
    repository,
    onPublished: (_, name) => published.push(name),
    now: () => time.ms,
  });
  await runs.create(NEW);
  const run = await runs.find('acme', ID);
  const save = (
    folder: 'weights' | 'sampler_weights',
    name: string,
    more: { expiresMs?: number; config?: object; note?: string } = {},
  ) =>
    runs.save(
      run,
      {
        folder,
        name,
        expiresMs: more.expiresMs ?? null,
        metadata: more.note ? { note: more.note } : null,
      },
      {
        directory: sampleFolder({ ...more.config }),
        momentsFile: folder === 'weights' ? momentsFile : undefined,
        publicationId: `${folder} ${name} ${JSON.stringify(more.config)}`,
      },
    );
  return { runs, repository, save, time, published, reads, store };
}

const momentsFile = path.join(temporaryFolder(), 'moments.safetensors');
writeFileSync(momentsFile, 'moments');
const at = (folder: 'weights' | 'sampler_weights', name: string) => ({ run: ID, folder, name });

test("a checkpoint is a version of the run's adapter, under an alias", async () => {
  const { runs, repository, save, published } = await start();
  await save('sampler_weights', 'final');
  const aliases = await repository.readAliases('acme', NAME);
  assert.deepEqual(aliases?.aliases.aliases['sampler.final'], { version: 1 });
  assert.deepEqual(published, [NAME]);
  const { checkpoint } = await runs.checkpoint('acme', at('sampler_weights', 'final'));
  assert.equal(checkpoint.version, 1);
});

test('a page of runs has the newest first, and reads no others', async () => {
  const { runs, reads } = await start();
  for (const number of [1, 2, 3]) await runs.create({ ...NEW, id: ID.replace(/0$/, `${number}`) });
  reads.length = 0;
  const { runs: page, count } = await runs.list('acme', { offset: 1, limit: 2 });
  assert.deepEqual([page.map(({ id }) => id.slice(-1)), count], [['2', '1'], 4]);
  assert.equal(reads.length, 2);
});

test('a run keeps how far it was, and its checkpoints', async () => {
  const { runs, save } = await start();
  assert.deepEqual((await runs.find('acme', ID)).curve, NO_STEPS);
  const curve = { ...NO_STEPS, steps: 3, seq: 6, points: [[3, 0.5]] as [number, number][] };
  await runs.note('acme', ID, curve, 2_000_500);
  await save('weights', 'a');
  const run = await runs.find('acme', ID);
  assert.deepEqual([run.curve, run.checkpoints.length], [curve, 1]);
});

/** A record as version 0.3.0 wrote it. */
const OLDER = {
  schema: 1,
  id: ID,
  tenant: 'acme',
  base_model: 'toy',
  base_digest: 'a'.repeat(64),
  rank: 4,
  changed: 900,
  curve: { ...NO_STEPS, steps: 3 },
  metadata: { name: 'mine' },
  checkpoints: [
    { folder: 'weights', name: 'a', version: 1, bytes: 5, created: 800, expires: null },
    { folder: 'weights', name: 'b', version: 2, bytes: 5, created: 900, expires: 1100, request: 7 },
  ].map((one) => ({ ...one, metadata: { name: 'kept', base_model: 'of a client' } })),
  mark: 'x',
};

test('the record of an older server is read, and written as one of this server', async () => {
  const { runs, store } = await start();
  const key = `acme/.tinker/${NAME}/run.json`;
  await store.put(key, Buffer.from(JSON.stringify(OLDER)));
  const run = await runs.find('acme', ID);
  assert.deepEqual(
    [run.baseModel, run.baseDigest, run.changedMs, run.curve.steps, run.metadata],
    ['toy', 'a'.repeat(64), 900_000, 3, OLDER.metadata],
  );
  assert.deepEqual(
    run.checkpoints.map(({ createdMs, expiresMs, request }) => [createdMs, expiresMs, request]),
    [
      [800_000, null, undefined],
      [900_000, 1_100_000, 7],
    ],
  );
  assert.deepEqual(run.checkpoints[0]!.metadata, OLDER.checkpoints[0]!.metadata);
  await runs.note('acme', ID, run.curve, 2_000_500);
  const written = JSON.parse(await text((await store.get(key))!.body));
  assert.deepEqual(
    [written.schema, written.changedMs, written.base_model],
    [2, 2_000_500, undefined],
  );
  assert.deepEqual((await runs.find('acme', ID)).checkpoints, run.checkpoints);
});

test('another tenant has neither the run nor its checkpoint', async () => {
  const { runs, save } = await start();
  await save('weights', 'a');
  await assert.rejects(runs.find('other', ID), { code: 'not_found' });
  await assert.rejects(runs.checkpoint('other', at('weights', 'a')), { code: 'not_found' });
  assert.deepEqual(await runs.list('other', ALL), { runs: [], count: 0 });
  await assert.rejects(runs.find('acme', '../acme'), { code: 'not_found' });
});

test('a checkpoint that is saved again replaces the one of its name, and removes its version', async () => {
  const { runs, repository, save } = await start();
  await save('weights', 'a');
  await save('weights', 'a', { config: { lora_alpha: 3 } });
  const { run, checkpoint } = await runs.checkpoint('acme', at('weights', 'a'));
  assert.deepEqual([run.checkpoints.length, checkpoint.version], [1, 2]);
  assert.equal(await repository.readManifest('acme', NAME, 1), undefined);
});

test('what is removed or expires is gone, with its moments', async () => {
  const { runs, repository, save, time } = await start();
  await save('weights', 'a');
  await save('sampler_weights', 'b', { expiresMs: 2_000_000 });
  const { run, checkpoint } = await runs.checkpoint('acme', at('weights', 'a'));
  assert.ok(await runs.openMoments(run, checkpoint));
  await runs.remove('acme', at('weights', 'a'));
  assert.equal(await runs.openMoments(run, checkpoint), undefined);
  assert.equal(await repository.readManifest('acme', NAME, 1), undefined);
  await runs.checkpoint('acme', at('sampler_weights', 'b'));
  time.ms = 2_000_000;
  await assert.rejects(runs.checkpoint('acme', at('sampler_weights', 'b')), { code: 'not_found' });
});

test('the newest checkpoint can be removed, and the last one', async () => {
  const { runs, repository, save } = await start();
  await save('weights', 'a');
  await save('weights', 'b');
  const latest = async () =>
    (await repository.readAliases('acme', NAME))?.aliases.aliases['latest'];
  assert.deepEqual(await latest(), { version: 2 });
  await runs.remove('acme', at('weights', 'b'));
  assert.deepEqual(await latest(), { version: 1 });
  await runs.remove('acme', at('weights', 'a'));
  assert.equal(await latest(), undefined);
  assert.deepEqual((await runs.find('acme', ID)).checkpoints, []);
});

test('the removal of an expired checkpoint leaves the new one of its name alone', async () => {
  const { runs, repository, save, time } = await start();
  await save('weights', 'a', { expiresMs: 1_001_000 });
  time.ms += 10_000;
  // Both at the same time: reading removes what has expired.
  await Promise.all([runs.find('acme', ID), save('weights', 'a', { config: { lora_alpha: 3 } })]);
  await until('the removal', async () => !(await repository.readManifest('acme', NAME, 1)));
  const { run, checkpoint } = await runs.checkpoint('acme', at('weights', 'a'));
  assert.equal(checkpoint.version, 2);
  assert.ok(await runs.openMoments(run, checkpoint));
  const { aliases } = (await repository.readAliases('acme', NAME))!.aliases;
  assert.deepEqual(aliases['training.a'], { version: 2 });
});

test('metadata that the record of its run cannot hold is refused before anything is published', async () => {
  const { repository, save, runs } = await start();
  await assert.rejects(save('weights', 'a', { note: 'x'.repeat(1 << 20) }), {
    status: 413,
    param: 'user_metadata',
  });
  assert.equal(await repository.readManifest('acme', NAME, 1), undefined);
  await save('weights', 'a', { note: 'x'.repeat(1000 * 1000) });
  const points = Array.from({ length: 511 }, (_, i): [number, number] => [1e6 + i, Math.PI]);
  await runs.note('acme', ID, { ...NO_STEPS, points }, 1000);
  const run = await runs.find('acme', ID);
  assert.deepEqual([run.checkpoints.length, run.curve.points.length], [1, 511]);
});

test('a version that its tenant has aliased stays when its checkpoint is saved again', async () => {
  const { runs, repository, save } = await start();
  await save('weights', 'a');
  await repository.moveAlias({ tenant: 'acme', name: NAME }, 'prod', { version: 1 });
  await save('weights', 'a', { config: { lora_alpha: 3 } });
  assert.equal((await runs.checkpoint('acme', at('weights', 'a'))).checkpoint.version, 2);
  assert.ok(await repository.readManifest('acme', NAME, 1));
});

test('weights of a sampler have a number and no alias', async () => {
  const { runs, repository } = await start();
  const run = await runs.find('acme', ID);
  const options = { directory: sampleFolder(), publicationId: 'one' };
  assert.deepEqual(await runs.saveAside(run, options), { model: `${NAME}@1`, version: 1 });
  const aliases = await repository.readAliases('acme', NAME);
  assert.deepEqual(aliases?.aliases.aliases ?? {}, {});
});

test('a checkpoint expires when its owner says so later, or no longer', async () => {
  const { runs, save, time } = await start();
  await save('sampler_weights', 'brief');
  await save('sampler_weights', 'kept', { expiresMs: 1_010_000 });
  await runs.expire('acme', at('sampler_weights', 'brief'), 5);
  await runs.expire('acme', at('sampler_weights', 'kept'), null);
  time.ms += 60_000;
  const { checkpoints } = await runs.find('acme', ID);
  assert.deepEqual(
    checkpoints.map(({ name }) => name),
    ['kept'],
  );
  await assert.rejects(runs.expire('acme', at('weights', 'none'), 5), { code: 'not_found' });
});
