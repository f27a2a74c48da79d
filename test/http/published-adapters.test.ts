// Published adapters over HTTP: versions, aliases and files, of the tenant itself and shared ones, but never another tenant's.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Registry } from '../../adapters/registry/registry.ts';
import { StoreAdapters } from '../../adapters/registry/store-registry.ts';
import type { Adapter, AdapterList } from '../../src/contracts/management-api.ts';
import type { Model, ModelList } from '../../src/contracts/openai.ts';
import { createPublished, sampleFolder } from '../adapters/published.ts';
import { ORIGIN, writeOrigin } from '../adapters/repository/shelf.ts';
import { writeToyClassifier } from '../e2e/toy-adapter.ts';
import { pluck } from '../pluck.ts';
import { type KeyedOptions, serveKeyed } from './keyed.ts';
import { assertRefused, readError, readOk, TOY } from './served.ts';

const CARD = { gates: [], skipped: [], validation_loss: 0.5, base_validation_loss: 2 };

function open(options: Partial<KeyedOptions> = {}) {
  const { repository, publish } = createPublished();
  const adapters = new StoreAdapters(repository, { pollMs: 60_000 });
  const served = serveKeyed({
    tenants: { acme: {}, other: {}, root: {} },
    admins: ['root'],
    registry: new Registry({ base: TOY, store: adapters }),
    published: {
      repository,
      page: (owner, query) => adapters.page(owner, query),
      forget: (owner, name) => adapters.forget(owner, name),
    },
    ...options,
  });
  const get = async <T = Adapter>(tenant: string, path: string) =>
    readOk<T>(await served.ask(tenant, `/v1/adapters${path}`));
  const remove = (tenant: string, path: string) =>
    served.ask(tenant, `/v1/adapters${path}`, undefined, { method: 'DELETE' });
  return { ...served, repository, publish, get, remove };
}

const aliasesOf = ({ aliases }: Adapter) =>
  Object.fromEntries(aliases.map(({ alias, leads_to }) => [alias, leads_to]));
const whole = (version: number) => [{ version, percent: 100 }];

describe('reading', () => {
  test('shows versions with sizes, base and card, newest first, and the targets of aliases', async () => {
    const { publish, get } = open();
    await publish('acme', 'zen', { aliases: ['stable'] });
    const made = { baseDigest: TOY.digest, job: 'ftjob-1', metrics: { evaluation: CARD } };
    const digest = await publish('acme', 'zen', made);
    const zen = await get('acme', '/zen');
    assert.deepEqual([zen.id, zen.owner, zen.is_writable], ['acme/zen', 'acme', true]);
    const shown = zen.versions.map(({ version, base, job }) => `${version} ${base} ${job}`);
    assert.deepEqual(shown, ['2 served ftjob-1', '1 unknown null']);
    const { evaluation, bytes, training, ...newest } = zen.versions[0]!;
    assert.deepEqual([newest.digest, evaluation, training], [digest, CARD, null]);
    assert.ok(bytes > 100);
    assert.deepEqual(aliasesOf(zen), { latest: whole(2), stable: whole(1) });
    assert.deepEqual(zen.aliases.find(({ alias }) => alias === 'latest')?.previous, whole(1));
  });

  test('shows the classes of a classifier, alone and in the list', async () => {
    const { repository, get } = open();
    const directory = writeToyClassifier(sampleFolder(), 1, ['glad', 'sad']);
    await repository.publish({ tenant: 'acme', name: 'mood' }, { directory });
    const { data } = await get<AdapterList>('acme', '');
    const classes = [await get('acme', '/mood'), data[0]!].map(
      ({ versions }) => versions[0]!.classes,
    );
    assert.deepEqual(classes, [2, 2]);
  });

  test('T41: shows what a version was made from to those who may change it', async () => {
    const { repository, get } = open();
    for (const tenant of ['acme', 'shared']) {
      const directory = writeOrigin(sampleFolder());
      await repository.publish({ tenant, name: `of-${tenant}` }, { directory });
    }
    const { data, validation, ...others } = ORIGIN;
    assert.deepEqual((await get('acme', '/of-acme')).versions[0]!.training, {
      ...others,
      training_file: { sha256: data.sha256, bytes: data.byteSize },
      validation_file: { sha256: validation.sha256, bytes: validation.byteSize },
    });
    const trainingFor = async (tenant: string) =>
      (await get(tenant, '/of-shared?owner=shared')).versions[0]!.training;
    assert.equal(await trainingFor('acme'), null);
    assert.equal((await trainingFor('root'))?.program, ORIGIN.program);
  });

  test('lists own names, then shared ones, in pages and by a part of the name', async () => {
    const { publish, get } = open();
    for (const name of ['b', 'a', 'abc']) await publish('acme', name);
    await publish('shared', 'all');
    await publish('other', 'secret');
    const list = await get<AdapterList>('acme', '');
    assert.deepEqual(pluck(list.data, 'id'), ['acme/a', 'acme/abc', 'acme/b', 'shared/all']);
    const first = await get<AdapterList>('acme', '?limit=2');
    assert.deepEqual([first.has_more, first.last_id], [true, 'acme/abc']);
    const rest = await get<AdapterList>('acme', `?limit=2&after=${first.last_id}`);
    assert.deepEqual(pluck(rest.data, 'id'), ['acme/b', 'shared/all']);
    assert.equal(rest.has_more, false);
    const found = await get<AdapterList>('acme', '?search=A');
    assert.deepEqual(pluck(found.data, 'name'), ['a', 'abc', 'all']);
  });
});

describe('aliases', () => {
  test('are led to a version, split, rolled back and deleted; the next request sees it', async () => {
    const { publish, get, ask, remove } = open();
    for (let i = 0; i < 2; i++) await publish('acme', 'zen');
    const root = async () =>
      (await readOk<{ root: string }>(await ask('acme', '/v1/models/zen'))).root;
    assert.equal(await root(), 'zen@2');
    const latest = '/v1/adapters/zen/aliases/latest';
    const moved = await readOk<Adapter>(await ask('acme', latest, { version: 1 }));
    assert.deepEqual(aliasesOf(moved), { latest: whole(1) });
    assert.equal(await root(), 'zen@1');
    const back = await readOk<Adapter>(await ask('acme', `${latest}/rollback`, {}));
    assert.deepEqual(aliasesOf(back), { latest: whole(2) });
    assert.equal(await root(), 'zen@2');
    const split = [10, 90].map((percent, i) => ({ version: i + 1, percent }));
    const stable = '/v1/adapters/zen/aliases/stable';
    const divided = await readOk<Adapter>(await ask('acme', stable, { split }));
    assert.deepEqual(aliasesOf(divided)['stable'], split);
    await readOk(await remove('acme', '/zen/aliases/stable'));
    assert.deepEqual(Object.keys(aliasesOf(await get('acme', '/zen'))), ['latest']);
    assert.equal((await remove('acme', '/zen/aliases/stable')).status, 404);
  });

  test('cannot point at a version that does not exist', async () => {
    const { publish, ask } = open();
    await publish('acme', 'zen');
    const path = '/v1/adapters/zen/aliases/latest';
    assert.equal((await ask('acme', path, { version: 9 })).status, 404);
    assert.equal((await ask('acme', path, {})).status, 400);
    const halves = Array(2).fill({ version: 1, percent: 50 });
    await assertRefused(await ask('acme', path, { split: halves }), { param: 'split' });
    assert.equal((await ask('acme', `${path}/rollback`, {})).status, 400);
  });
});

describe('the text about an adapter', () => {
  const ABOUT = '/v1/adapters/zen';
  const written = {
    kind: 'embedding',
    description: 'Answers like a monk.',
    tags: ['style', 'short answers'],
    examples: ['What is time?'],
  };

  test('is changed in parts, and shown by the adapter, the model and the list of models', async () => {
    const { publish, get, ask } = open();
    await publish('acme', 'zen');
    const { about: none } = await get('acme', '/zen');
    assert.deepEqual(none, { kind: 'chat', description: '', tags: [], examples: [], revision: 0 });
    const first = await readOk<Adapter>(await ask('acme', ABOUT, { ...written, revision: 0 }));
    assert.deepEqual(first.about, { ...written, revision: 1 });
    const second = await readOk<Adapter>(await ask('acme', ABOUT, { tags: [] }));
    assert.deepEqual(second.about, { ...written, tags: [], revision: 2 });
    const [listed] = (await get<AdapterList>('acme', '')).data;
    assert.deepEqual(listed?.about, second.about);
    const { kind, description, examples } = written;
    for (const name of ['zen', 'zen@1']) {
      const model = await readOk<Model>(await ask('acme', `/v1/models/${name}`));
      assert.deepEqual(
        [model.kind, model.description, model.tags, model.examples],
        [kind, description, [], examples],
      );
    }
    const { data } = await readOk<ModelList>(await ask('acme', '/v1/models'));
    assert.equal(data.find(({ id }) => id === 'zen')?.description, description);
  });

  test('is not overwritten by somebody who has read an older one', async () => {
    const { publish, get, ask } = open();
    await publish('acme', 'zen');
    await readOk(await ask('acme', ABOUT, { description: 'A', revision: 0 }));
    const late = await ask('acme', ABOUT, { description: 'B', revision: 0 });
    await assertRefused(late, { status: 412, code: 'precondition_failed', param: 'revision' });
    // The same text again is a repeated request.
    await readOk(await ask('acme', ABOUT, { description: 'A', revision: 0 }));
    const { about } = await get('acme', '/zen');
    assert.deepEqual([about.description, about.revision], ['A', 1]);
  });

  test('is limited, belongs to its tenant, and goes with the name', async () => {
    const { publish, get, ask, remove } = open();
    await publish('acme', 'zen');
    for (const [param, body] of [
      ['description', { description: 'x'.repeat(501) }],
      ['description', { description: 'two\nlines' }],
      ['tags', { tags: Array.from({ length: 11 }, (_, i) => `t${i}`) }],
      ['tags[0]', { tags: ['a/b'] }],
      ['tags', { tags: ['a', 'a'] }],
      ['examples', { examples: ['1', '2', '3', '4', '5', '6'] }],
      ['examples[0]', { examples: ['x'.repeat(501)] }],
      ['kind', { kind: 'image' }],
      ['descripton', { descripton: 'x' }],
    ] as const) {
      await assertRefused(await ask('acme', ABOUT, body), { status: 400, param });
    }
    assert.equal((await ask('other', ABOUT, { owner: 'acme', tags: [] })).status, 404);
    assert.equal((await ask('acme', '/v1/adapters/nothing', { tags: [] })).status, 404);
    await publish('shared', 'all');
    const shared = { owner: 'shared', description: 'x' };
    assert.equal((await ask('acme', '/v1/adapters/all', shared)).status, 403);
    await readOk(await ask('acme', ABOUT, { description: 'x' }));
    await readOk(await remove('acme', '/zen'));
    await publish('acme', 'zen');
    assert.equal((await get('acme', '/zen')).about.description, '');
  });
});

describe('removal and download', () => {
  test('a version can be deleted if no alias points at it, and a name with all its versions', async () => {
    const { publish, get, remove, ask } = open();
    for (let i = 0; i < 2; i++) await publish('acme', 'zen');
    assert.match((await readError(await remove('acme', '/zen/versions/2'))).message, /in use/);
    await readOk(await remove('acme', '/zen/versions/1'));
    assert.deepEqual(pluck((await get('acme', '/zen')).versions, 'version'), [2]);
    await readOk(await remove('acme', '/zen'));
    assert.equal((await ask('acme', '/v1/adapters/zen')).status, 404);
    assert.equal((await ask('acme', '/v1/models/zen')).status, 404);
  });

  test('a version downloads as its two files', async () => {
    const { publish, ask } = open();
    await publish('acme', 'zen');
    const files = '/v1/adapters/zen/versions/1/files';
    const config = await ask('acme', `${files}/adapter_config.json`);
    assert.equal(config.status, 200);
    assert.match(config.headers.get('content-disposition')!, /filename="adapter_config.json"/);
    assert.equal(((await config.json()) as { peft_type: string }).peft_type, 'LORA');
    const weights = await ask('acme', `${files}/adapter_model.safetensors`);
    const bytes = await weights.arrayBuffer();
    assert.equal(String(bytes.byteLength), weights.headers.get('content-length'));
    assert.equal((await ask('acme', `${files}/manifest.json`)).status, 404);
    const odd = await ask('acme', '/v1/adapters/zen/versions/x/files/adapter_config.json');
    assert.equal(odd.status, 404);
  });
});

describe('ownership', () => {
  test("another tenant's adapters are as unknown to every route, to admins too", async () => {
    const { publish, ask, remove, repository } = open();
    await publish('acme', 'zen');
    for (const tenant of ['other', 'root']) {
      for (const owner of ['', '?owner=acme']) {
        for (const path of ['', '/versions/1/files/adapter_config.json']) {
          assert.equal((await ask(tenant, `/v1/adapters/zen${path}${owner}`)).status, 404);
        }
        for (const path of ['', '/versions/1', '/aliases/latest']) {
          assert.equal((await remove(tenant, `/zen${path}${owner}`)).status, 404);
        }
      }
      const body = { owner: 'acme', version: 1 };
      assert.equal((await ask(tenant, '/v1/adapters/zen/aliases/x', body)).status, 404);
    }
    const found = await repository.readAliases('acme', 'zen');
    assert.deepEqual(found?.aliases.revision, 1);
  });

  test('shared ones are read by everybody and changed with an admin key only', async () => {
    const { publish, ask, remove, get } = open();
    await publish('shared', 'all', { job: 'ftjob-1' });
    const read = await get('acme', '/all?owner=shared');
    assert.deepEqual([read.is_writable, read.versions[0]!.job], [false, null]);
    const body = { owner: 'shared', version: 1 };
    assert.equal((await ask('acme', '/v1/adapters/all/aliases/stable', body)).status, 403);
    const { owner } = body;
    const rolledBack = await ask('acme', '/v1/adapters/all/aliases/stable/rollback', { owner });
    assert.equal(rolledBack.status, 403);
    for (const path of ['/all', '/all/versions/1', '/all/aliases/latest']) {
      assert.equal((await remove('acme', `${path}?owner=shared`)).status, 403);
    }
    const changed = await readOk<Adapter>(
      await ask('root', '/v1/adapters/all/aliases/stable', body),
    );
    assert.deepEqual([changed.is_writable, changed.versions[0]!.job], [true, 'ftjob-1']);
  });

  test('a tenant that may use few adapters knows of no others', async () => {
    const { publish, get, ask } = open({
      tenants: { acme: { allowedAdapters: ['z*'] } },
      admins: [],
    });
    await publish('acme', 'zen');
    await publish('acme', 'tone');
    assert.deepEqual(pluck((await get<AdapterList>('acme', '')).data, 'name'), ['zen']);
    assert.equal((await ask('acme', '/v1/adapters/tone')).status, 404);
  });
});
