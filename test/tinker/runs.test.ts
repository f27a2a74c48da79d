// Training runs in a store: their checkpoints are versions with an alias, belong to one tenant, and go when they expire.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { createRepository } from '../../adapters/repository/repository.ts';
import { guardStore } from '../../adapters/store/guarded-store.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { adapterOfRun } from '../../src/contracts/tinker-path.ts';
import { NO_STEPS } from '../../src/tinker/loss-curve.ts';
import { type CheckpointCursor, Runs } from '../../src/tinker/runs.ts';
import { sampleFolder } from '../adapters/published.ts';
import { temporaryFolder } from '../fixtures.ts';
import { pluck } from '../pluck.ts';

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

async function start({ maxRuns = 1000 } = {}) {
  const store = createMemoryStore();
  const repository = createRepository(store);
  const time = { ms: 1_000_000 };
  const published: string[] = [];
  const reads: string[] = [];
  const writes: string[] = [];
  const logged: unknown[] = [];
  const guarded = guardStore(store);
  const counted: typeof guarded = {
    ...guarded,
    get(key, call) {
      reads.push(key);
      return guarded.get(key, call);
    },
    put(key, source, options) {
      writes.push(key);
      return guarded.put(key, source, options);
    },
    delete(key, call) {
      writes.push(key);
      return guarded.delete(key, call);
    },
  };
  const runs = new Runs({
    store: counted,
    repository,
    onPublished: (_, name) => published.push(name),
    now: () => time.ms,
    log: { error: (fields: unknown) => logged.push(fields), warn() {} } as never,
    maxRuns,
  });
  await runs.create(NEW);
  const save = async (
    folder: 'weights' | 'sampler_weights',
    name: string,
    more: { id?: string; expiresMs?: number; config?: object; note?: string } = {},
  ) =>
    runs.save(
      await runs.find('acme', more.id ?? ID),
      {
        folder,
        name,
        expiresMs: more.expiresMs ?? null,
        metadata: more.note ? { note: more.note } : null,
      },
      {
        directory: sampleFolder({ ...more.config }),
        momentsFile: folder === 'weights' ? momentsFile : undefined,
        publicationId: `${folder} ${name} ${JSON.stringify([more.id, more.config])}`,
      },
    );
  return { runs, repository, save, time, published, reads, writes, logged, store };
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

test('a page of checkpoints reads no further runs, and the next one continues after it', async () => {
  const { runs, save, reads } = await start();
  const ids = Array.from({ length: 60 }, (_, i) => `${ID}${100 + i}`);
  for (const id of ids) await runs.create({ ...NEW, id });
  for (const [i, name] of ['a', 'b', 'c'].entries()) {
    await save('weights', name, { id: ids[i === 2 ? 59 : 58]! });
    await save('sampler_weights', name, { id: ids[20 * i]! });
  }
  const namesOf = ({ items }: Awaited<ReturnType<Runs['checkpoints']>>) =>
    items.map(({ run, checkpoint: { folder, name } }) => `${run.id.slice(-3)} ${folder} ${name}`);
  const all = namesOf(await runs.checkpoints('acme', ALL));
  assert.deepEqual(all, [
    ...['159 weights c', '158 weights b', '158 weights a'],
    ...['140 sampler_weights c', '120 sampler_weights b', '100 sampler_weights a'],
  ]);
  reads.length = 0;
  const first = await runs.checkpoints('acme', { offset: 0, limit: 1 });
  assert.ok(reads.length <= 16, `${reads.length} reads`);
  const paged: string[] = [];
  for (let page = first; ; ) {
    paged.push(...namesOf(page));
    if (!page.hasMore) break;
    const { run, checkpoint } = page.items.at(-1)!;
    const after = { name: adapterOfRun(run.id)!, version: checkpoint.version };
    page = await runs.checkpoints('acme', { offset: 0, limit: 1, after });
  }
  assert.deepEqual(paged, all);
  const middle = await runs.checkpoints('acme', { offset: 2, limit: 2 });
  assert.deepEqual(namesOf(middle), all.slice(2, 4));
});

test('the models of a session are in the order of their numbers, in lists and on pages', async () => {
  const { runs, save } = await start();
  for (const number of [10, 2, 100]) {
    const id = ID.replace(/0$/, `${number}`);
    await runs.create({ ...NEW, id });
    for (const name of ['a', 'b']) await save('weights', name, { id });
  }
  const numberOf = ({ id }: { readonly id: string }) => Number(id.split(':').at(-1));
  assert.deepEqual((await runs.list('acme', ALL)).runs.map(numberOf), [100, 10, 2, 0]);
  const paged: number[] = [];
  for (let after: CheckpointCursor | undefined, hasMore = true; hasMore; ) {
    const page = await runs.checkpoints('acme', { offset: 0, limit: 1, after });
    const { run, checkpoint } = page.items[0]!;
    paged.push(numberOf(run));
    after = { name: adapterOfRun(run.id)!, version: checkpoint.version };
    hasMore = page.hasMore;
  }
  assert.deepEqual(paged, [100, 100, 10, 10, 2, 2]);
});

test('a damaged record is left out of both lists, and logged', async () => {
  const { runs, save, store, logged } = await start();
  await save('weights', 'a');
  await runs.create({ ...NEW, id: `${ID}1` });
  await store.put(`acme/.tinker/${NAME}1/run.json`, Buffer.from('{'));
  assert.deepEqual(pluck((await runs.list('acme', ALL)).runs, 'id'), [ID]);
  assert.equal((await runs.checkpoints('acme', ALL)).items.length, 1);
  assert.equal(logged.length, 2);
});

test('beyond the limit of runs the oldest idle ones without checkpoints go, or a new one is refused', async () => {
  const { runs, save, time } = await start({ maxRuns: 3 });
  await save('weights', 'a');
  for (const number of [1, 2]) await runs.create({ ...NEW, id: `${ID}${number}` });
  const add = (number: number) => runs.create({ ...NEW, id: `${ID}${number}` });
  await assert.rejects(add(3), { code: 'rate_limit_exceeded' }); // all may be in training
  await add(2); // a repetition
  time.ms += 86_400_000;
  await add(3);
  const ids = async () => (await runs.list('acme', ALL)).runs.map(({ id }) => id.slice(ID.length));
  assert.deepEqual(await ids(), ['3', '2', '']);
  await add(4);
  assert.deepEqual(await ids(), ['4', '3', '']);
});

test('reading removes nothing, and a sweep what has expired', async () => {
  const { runs, repository, save, time, writes } = await start();
  await save('weights', 'a');
  await save('weights', 'b', { expiresMs: 1_001_000 });
  time.ms += 10_000;
  writes.length = 0;
  await runs.find('acme', ID);
  await runs.list('acme', ALL);
  const { items } = await runs.checkpoints('acme', ALL);
  await setImmediate(); // what a read might have begun
  assert.deepEqual([items.map(({ checkpoint }) => checkpoint.name), writes], [['a'], []]);
  await runs.sweep();
  assert.equal(await repository.readManifest('acme', NAME, 2), undefined);
  assert.ok(await repository.readManifest('acme', NAME, 1));
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
  const times = run.checkpoints.map(({ createdMs, expiresMs, request }) => [
    createdMs,
    expiresMs,
    request,
  ]);
  assert.deepEqual(times.flat(), [800_000, null, undefined, 900_000, 1_100_000, 7]);
  assert.deepEqual(run.checkpoints[0]!.metadata, OLDER.checkpoints[0]!.metadata);
  await runs.note('acme', ID, run.curve, 2_000_500);
  const written = JSON.parse(await text((await store.get(key))!.body));
  const { schema, changedMs, base_model } = written;
  assert.deepEqual([schema, changedMs, base_model], [2, 2_000_500, undefined]);
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
  await Promise.all([runs.sweep(), save('weights', 'a', { config: { lora_alpha: 3 } })]);
  assert.equal(await repository.readManifest('acme', NAME, 1), undefined);
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
  assert.deepEqual(pluck(checkpoints, 'name'), ['kept']);
  await assert.rejects(runs.expire('acme', at('weights', 'none'), 5), { code: 'not_found' });
});
