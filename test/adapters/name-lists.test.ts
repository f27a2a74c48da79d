// Lists of very many names: how many requests the store gets, for a page and for an index that is built.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { NameIndex } from '../../adapters/repository/name-index.ts';
import { createRepository } from '../../adapters/repository/repository.ts';
import { type ObjectStore, StoreError } from '../../adapters/store/store.ts';
import { createPublished, openRegistry, POLL_MS, sampleFolder, watchStore } from './published.ts';
import { listKeys } from './store/wrapped-store.ts';

const INDEX = 'acme/.index/names';

function openServer(inner: ObjectStore) {
  const { adapters, store, ...rest } = openRegistry(inner);
  /** Names of a page, and what the store was asked for. */
  const page = async (from: string, limit: number) => {
    store.reads.length = 0;
    const startMs = performance.now();
    const { names } = await adapters.page('acme', { from, limit });
    const ms = performance.now() - startMs;
    return { names: names.map(({ name }) => name), requests: store.reads.length, ms };
  };
  return { adapters, store, ...rest, page };
}

test('a page of 20 in 100,000 names takes two requests cold, and none or one warm', async (t: TestContext) => {
  const { store: inner, publish, repository } = createPublished();
  await publish('acme', 'zen');
  const entry = (await repository.readEntry({ tenant: 'acme', name: 'zen' }))!;
  const named = (i: number) => `name-${String(i).padStart(6, '0')}`;
  const namesFrom = (first: number) => Array.from({ length: 20 }, (_, i) => named(first + i));
  const index = new NameIndex('acme');
  for (let i = 0; i < 100_000; i++) index.set(named(i), entry);
  index.set('zen', entry);
  await inner.put(INDEX, index.serialize());
  const { page, clock, adapters, store } = openServer(inner);
  const cold = await page('', 20);
  assert.deepEqual(cold.names, namesFrom(0));
  assert.equal(cold.requests, 2);
  clock.nowMs += POLL_MS;
  const warm = await page(named(50_000), 20);
  for (let i = 0; i < 5; i++) warm.ms = Math.min(warm.ms, (await page(named(60_000 + i), 20)).ms);
  assert.deepEqual(warm.names, namesFrom(50_000));
  assert.ok(warm.requests <= 1, `${warm.requests} requests`);
  assert.ok(warm.ms < 100, `${warm.ms} ms`);
  t.diagnostic(
    `cold ${Math.round(cold.ms)} ms, warm ${warm.ms.toFixed(1)} ms, ${index.byteSize} bytes`,
  );

  await publish('acme', named(50_003));
  clock.nowMs += POLL_MS + 1;
  store.reads.length = 0;
  const { names } = await adapters.page('acme', { from: named(50_000), limit: 20 });
  assert.ok(names[3]!.entry.versions[0]!.digest !== entry.versions[0]!.digest);
  // The changes, and the versions and the aliases of the one name that changed.
  assert.equal(store.reads.length, 4);
});

test('an index is built with one list, and two reads for each name, once for all servers', async () => {
  const { store: inner, publish } = createPublished();
  for (let i = 0; i < 30; i++) await publish('acme', `name-${i}`);
  const first = await openServer(inner).page('', 100);
  assert.equal(first.names.length, 30);
  assert.equal(first.requests, 3 + 2 * 30); // the changes, no index, the list
  for (const key of await listKeys(inner, '.changes/')) await inner.delete(key);
  const second = await openServer(inner).page('', 100);
  assert.deepEqual([second.names, second.requests], [first.names, 2]);
});

test('a damaged index is built again in its place', async () => {
  const { store: inner, publish } = createPublished();
  await publish('acme', 'zen');
  await openServer(inner).page('', 10);
  const bytes = await inner.get(INDEX);
  await inner.put(INDEX, Buffer.from('{"schema":1}'));
  assert.deepEqual((await openServer(inner).page('', 10)).names, ['zen']);
  assert.equal((await inner.head(INDEX))!.byteSize, bytes!.byteSize);
});

test('what older programs change is announced by the collection of garbage', async () => {
  const { store: inner, publish } = createPublished();
  await publish('acme', 'zen');
  await publish('acme', 'gone');
  const server = openServer(inner);
  assert.deepEqual((await server.page('', 10)).names, ['gone', 'zen']);
  for (const key of await listKeys(inner, '.changes/')) await inner.delete(key);
  const old = createRepository(withoutAnnouncements(inner));
  const directory = sampleFolder({ revision: 'old' });
  await old.publish({ tenant: 'acme', name: 'tone' }, { directory });
  await old.publish({ tenant: 'acme', name: 'zen' }, { directory });
  await old.moveAlias({ tenant: 'acme', name: 'zen' }, 'latest', { version: 1 });
  await old.removeName({ tenant: 'acme', name: 'gone' });
  server.clock.nowMs += POLL_MS + 1;
  assert.deepEqual((await server.page('', 10)).names, ['gone', 'zen']);
  const gc = () => server.repository.collectGarbage({ now: Date.now(), graceMs: 86_400_000 });
  await gc();
  assert.equal((await listKeys(inner, '.changes/')).length, 6);
  server.clock.nowMs += POLL_MS + 1;
  const { names } = await server.adapters.page('acme', { from: '', limit: 10 });
  assert.deepEqual(
    names.map(({ name, entry }) => [name, entry.aliases['latest'], entry.versions.length]),
    [
      ['tone', { version: 1 }, 1],
      ['zen', { version: 1 }, 2],
    ],
  );
  await server.repository.settleChanges(await server.repository.changes.list());
  await gc();
  assert.deepEqual(await listKeys(inner, '.changes/'), []);
});

test('a tenant whose index cannot be written keeps its announcements, and stops no other', async () => {
  const { store: inner, publish } = createPublished();
  for (const tenant of ['acme', 'beta']) {
    await publish(tenant, 'zen');
    await openServer(inner).adapters.page(tenant, { from: '', limit: 10 }); // stores its index
  }
  const { repository } = openServer(withoutIndexOf('acme', inner));
  await assert.rejects(repository.settleChanges(await repository.changes.list()));
  const left = await listKeys(inner, '.changes/');
  assert.deepEqual([...new Set(left.map((key) => key.split('.').at(-3)))], ['acme']);
});

function withoutIndexOf(tenant: string, inner: ObjectStore): ObjectStore {
  return {
    ...watchStore(inner),
    async put(key, source, options) {
      if (key === `${tenant}/.index/names`) throw new StoreError('unavailable', 'no');
      return inner.put(key, source, options);
    },
  };
}

function withoutAnnouncements(inner: ObjectStore): ObjectStore {
  const store = watchStore(inner);
  return {
    ...store,
    async put(key, source, options) {
      if (!key.startsWith('.changes/')) return inner.put(key, source, options);
      return { key, byteSize: 0, etag: '' };
    },
  };
}
