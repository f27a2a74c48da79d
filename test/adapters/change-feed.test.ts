// Servers follow announced changes: how many requests the store gets, and that nobody misses a change, whatever fails.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createRepository } from '../../adapters/repository/repository.ts';
import { type ObjectStore, StoreError } from '../../adapters/store/store.ts';
import { withResolvers } from '../../src/common/waiting.ts';
import { createPublished, openRegistry, POLL_MS, sampleFolder, watchStore } from './published.ts';
import { listKeys, wrapStore } from './store/wrapped-store.ts';

const ALL = { from: '', limit: 1000 };
const named = (name: string) => ({ name, selector: { kind: 'alias', alias: 'latest' } }) as const;
const settle = () => new Promise((resolve) => setImmediate(resolve));

function openServer(inner: ObjectStore) {
  const { adapters, ...rest } = openRegistry(inner);
  const versionOf = async (name: string) => {
    const found = await adapters.find('acme', named(name), {});
    const { location } = found?.part ?? {};
    return location?.kind === 'version' ? location.manifest.version : undefined;
  };
  const listed = async () => {
    const { names } = await adapters.page('acme', ALL);
    return names.map(({ name, entry }) => [name, entry.aliases, entry.versions.length]);
  };
  return { ...rest, versionOf, listed };
}

test('a busy server asks the store less than five times a second for any number of names, an idle one never', async (t) => {
  const { store: inner, publish, repository } = createPublished();
  const names = Array.from({ length: 60 }, (_, i) => `name-${i}`);
  for (const name of names) await publish('acme', name);
  const { clock, store, versionOf } = openServer(inner);
  const useAll = async (seconds: number) => {
    for (let s = 0; s < seconds; s++) {
      clock.nowMs += 1000;
      for (const name of names) assert.ok(await versionOf(name));
      await settle();
    }
  };
  await useAll(10); // reads each name once, and once more after the first look at the changes
  store.reads.length = 0;
  await useAll(60);
  assert.ok(store.reads.length <= 5 * 60, `${store.reads.length} in a minute`);
  t.diagnostic(`${store.reads.length} requests in a minute`);
  store.reads.length = 0;
  clock.nowMs += 3_600_000;
  for (let turn = 0; turn < 10; turn++) await settle();
  assert.equal(store.reads.length, 0);

  await useAll(10);
  const directory = sampleFolder({ revision: 'next' });
  await repository.publish({ tenant: 'acme', name: 'name-7' }, { directory });
  await useAll(2);
  clock.nowMs += 1;
  assert.equal(await versionOf('name-7'), 2, 'within the poll time');
});

test('a change whose writer dies between its writes is seen within the poll time', async () => {
  const { store: inner, publish } = createPublished();
  await publish('acme', 'zen');
  await publish('acme', 'zen');
  const { clock, versionOf } = openServer(inner);
  const use = async () => {
    clock.nowMs += POLL_MS / 2;
    await versionOf('zen');
    await settle();
  };
  for (let i = 0; i < 4; i++) await use();
  assert.equal(await versionOf('zen'), 2);
  const begun = withResolvers<void>();
  const open = withResolvers<void>();
  const dying = createRepository({
    ...wrapStore(inner),
    async put(key, source, options) {
      if (key.includes('.done.')) return new Promise(() => {}); // it is gone
      if (key.endsWith('alias.json')) {
        begun.resolve();
        await open.promise;
      }
      return inner.put(key, source, options);
    },
  });
  void dying.moveAlias({ tenant: 'acme', name: 'zen' }, 'latest', { version: 1 });
  await begun.promise;
  for (let i = 0; i < 6; i++) await use(); // it sees the announcement long before the change
  assert.equal(await versionOf('zen'), 2);
  open.resolve();
  await settle();
  for (let i = 0; i < 2; i++) await use();
  clock.nowMs += 1;
  assert.equal(await versionOf('zen'), 1);
});

test('announcements go after minutes, when the index has their changes', async () => {
  const { store: inner, publish } = createPublished();
  await publish('acme', 'zen');
  const server = openServer(inner);
  assert.equal((await server.listed()).length, 1);
  await publish('acme', 'tone');
  const announced = async () => (await listKeys(inner, '.changes/')).length;
  assert.equal(await announced(), 4);
  for (let i = 0; i < 340; i++) {
    server.clock.nowMs += 1000;
    await server.listed();
    for (let turn = 0; turn < 5; turn++) await settle();
  }
  assert.equal(await announced(), 0);
  const late = openServer(inner);
  const names = (await late.listed()).map(([name]) => name);
  assert.deepEqual(names, ['tone', 'zen']);
  assert.deepEqual(late.store.reads, ['.changes/', 'acme/.index/names']);
});

test('a server that paused while another one removed an announcement reads the value again', async () => {
  const { store: inner, publish } = createPublished();
  await publish('acme', 'zen');
  const paused = openServer(inner);
  for (let i = 0; i < 4; i++) {
    assert.equal(await paused.versionOf('zen'), 1);
    paused.clock.nowMs += POLL_MS;
    await settle();
  }
  await publish('acme', 'zen');
  const other = openServer(inner);
  for (let i = 0; i < 340; i++) {
    other.clock.nowMs += 1000;
    await other.listed();
    for (let turn = 0; turn < 5; turn++) await settle();
  }
  assert.deepEqual(await listKeys(inner, '.changes/'), []);
  paused.clock.nowMs += 340_000;
  assert.equal(await paused.versionOf('zen'), 2);
});

/** What several writers do, each with a store that may fail. */
const step = fc.record({
  writer: fc.nat(1),
  name: fc.constantFrom('a', 'b', 'c'),
  act: fc.constantFrom('publish', 'move', 'remove'),
  /** The call of the step that fails; beyond its calls, none does. */
  failsAt: fc.nat(25),
  isLost: fc.boolean(),
  /** Between the step and the reader's look. */
  waitMs: fc.constantFrom(100, 1000, 2001, 61_000, 130_000),
});

test('whatever writers do and whatever fails, a reader has the state of the store after the poll time', async () => {
  const property = fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
    const { store: inner, publish } = createPublished();
    await publish('acme', 'a');
    const reader = openServer(inner);
    await reader.listed();
    for (const { writer, name, act, failsAt, isLost, waitMs } of steps) {
      const { repository } = createPublished(watchStore(failing(inner, failsAt, isLost)));
      const of = { tenant: 'acme', name };
      const work = {
        publish: () =>
          repository.publish(of, { directory: sampleFolder({ revision: `${writer}${failsAt}` }) }),
        move: () => repository.moveAlias(of, 'latest', { version: 1 }),
        remove: () => repository.removeName(of),
      };
      await work[act]().catch(() => {});
      reader.clock.nowMs += waitMs;
      await reader.listed();
      await reader.versionOf(name).catch(() => {});
      await settle();
    }
    for (let i = 0; i < 2; i++) {
      reader.clock.nowMs += POLL_MS + 1;
      await reader.listed();
      for (const name of ['a', 'b', 'c']) await reader.versionOf(name).catch(() => {});
      for (let turn = 0; turn < 5; turn++) await settle();
    }
    const plain = openServer(inner);
    const entries = [];
    for (const name of ['a', 'b', 'c']) {
      const entry = await plain.repository.readEntry({ tenant: 'acme', name });
      if (entry) entries.push([name, entry.aliases, entry.versions.length]);
      const versions = [reader, plain].map((one) => one.versionOf(name).catch(() => 'nowhere'));
      const [seen, stored] = await Promise.all(versions);
      assert.equal(seen, stored, name);
    }
    assert.deepEqual(await reader.listed(), entries);
    assert.deepEqual(await openServer(inner).listed(), entries, 'a server that has just started');
  });
  await fc.assert(property, { numRuns: 60 });
});

/** Fails call `k`, before or after it is done, and every later one: the process is gone. */
function failing(inner: ObjectStore, k: number, isLost: boolean): ObjectStore {
  let calls = 0;
  return wrapStore(inner, async (work) => {
    if (++calls < k) return work();
    if (calls === k && isLost) await work();
    throw new StoreError('unavailable', 'the process is gone');
  });
}
