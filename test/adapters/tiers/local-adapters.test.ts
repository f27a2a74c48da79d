import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import * as nodeFiles from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { digestAdapterFiles } from '../../../adapters/peft/files.ts';
import type { ResolvedAdapter } from '../../../adapters/registry/resolved.ts';
import { DiskTier } from '../../../adapters/tiers/disk.ts';
import { Fetcher } from '../../../adapters/tiers/fetcher.ts';
import { LocalAdapters } from '../../../adapters/tiers/local-adapters.ts';
import { withResolvers } from '../../../src/common/waiting.ts';
import { temporaryFolder } from '../../fixtures.ts';
import { pluck } from '../../pluck.ts';
import { publishedVersion, SpoiltStore, toResolved } from './published.ts';

function setUp(t: TestContext, { isDiskFull = false } = {}) {
  const root = temporaryFolder(t);
  const store = new SpoiltStore();
  const lines: { alert?: string }[] = [];
  const keep = (line: object) => void lines.push(line);
  const log = { warn: keep, error: keep } as never;
  const full = async () => {
    throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
  };
  const files = isDiskFull ? { ...nodeFiles, mkdir: full as never } : nodeFiles;
  const places = [
    new DiskTier({ root: path.join(root, 'disk'), capacityBytes: 1e5, files }),
    new DiskTier({ root: path.join(root, 'memory'), capacityBytes: 1e5 }),
  ];
  const create = () =>
    new LocalAdapters({ fetcher: new Fetcher({ store, log }), disks: places, log });
  return { root, store, lines, places, local: create(), create };
}

const digestOf = async (directory: string) => (await digestAdapterFiles(directory)).digest;

test('a published adapter comes from the store, then from the disk', async (t) => {
  const { store, local } = setUp(t);
  const version = store.add(publishedVersion('a'));
  const first = await local.acquire(toResolved(version));
  assert.equal(first.tier, 'store');
  assert.equal(await digestOf(first.source.parts[0]!.directory), version.manifest.digest);
  const again = await local.acquire(toResolved(version));
  assert.equal(again.tier, 'disk');
  assert.equal(store.asked.length, 2);
  const { hits, loaded, misses, failed, adapters } = local.stats();
  assert.deepEqual([hits, loaded, misses, failed, adapters], [1, 1, 1, 0, 1]);
});

test('T18, I11: a hundred requests at once for one cold adapter make one fetch, also where the first leaves', async (t) => {
  const { store, local } = setUp(t);
  const version = store.add(publishedVersion('a'));
  const first = new AbortController();
  const { promise: isAsked, resolve: arrived } = withResolvers<void>();
  store.spoil = async (object) => {
    arrived();
    return object;
  };
  const waiting = Array.from({ length: 100 }, (_, i) =>
    local.acquire(toResolved(version), i === 0 ? { signal: first.signal } : {}),
  );
  await isAsked;
  first.abort(new Error('gone'));
  const outcomes = await Promise.allSettled(waiting);
  assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 99);
  assert.equal((outcomes[0] as PromiseRejectedResult).reason.message, 'gone');
  assert.equal(store.asked.length, 2, 'each file once');
});

test('all who wait for a fetch that fails are told, and nothing is held', async (t) => {
  const { store, local, places } = setUp(t);
  const version = publishedVersion('a'); // not in the store
  const waiting = [1, 2, 3].map(() => local.acquire(toResolved(version)));
  for (const lease of waiting) await assert.rejects(lease, { code: 'adapter_unavailable' });
  assert.equal(store.asked.length, 1);
  assert.equal(local.stats().failed, 1);
  assert.equal(places[0]!.stats().count, 0);
});

test('two owners of the same content each fetch it for themselves', async (t) => {
  const { store, local } = setUp(t);
  const ours = store.add(publishedVersion('a', { tenant: 'acme' }));
  const theirs = store.add(publishedVersion('a', { tenant: 'beta' }));
  const leases = [await local.acquire(toResolved(ours)), await local.acquire(toResolved(theirs))];
  assert.deepEqual(pluck(leases, 'tier'), ['store', 'store']);
  const [one, other] = leases.map(({ source }) => source);
  assert.equal(one!.parts[0]!.digest, other!.parts[0]!.digest);
  assert.notEqual(one!.digest, other!.digest);
  assert.notEqual(one!.parts[0]!.directory, other!.parts[0]!.directory);
});

test('a composition brings all its parts, and local folders are named as they are', async (t) => {
  const { store, local, root } = setUp(t);
  const adapter = toResolved(store.add(publishedVersion('a')), store.add(publishedVersion('b')));
  const folder = { kind: 'folder', directory: root, rank: 1 } as const;
  const mixed: ResolvedAdapter = {
    ...adapter,
    parts: [...adapter.parts, { ...adapter.parts[0]!, weight: 0.5, location: folder }],
  };
  const { source, tier } = await local.acquire(mixed);
  assert.equal(tier, 'store');
  assert.deepEqual(pluck(source.parts, 'weight'), [1, 1, 0.5]);
  for (const { directory, digest } of source.parts.slice(0, 2)) {
    assert.equal(await digestOf(directory), digest);
  }
  assert.equal(source.parts[2]!.directory, root);
});

test('F21: a file that changed under the engine is fetched again', async (t) => {
  const { store, local } = setUp(t);
  const version = store.add(publishedVersion('a'));
  const first = await local.acquire(toResolved(version));
  const { directory } = first.source.parts[0]!;
  writeFileSync(path.join(directory, 'adapter_model.safetensors'), 'x'.repeat(1000));
  first.verifyAgain();
  first.release();
  const second = await local.acquire(toResolved(version));
  assert.equal(second.tier, 'store');
  assert.equal(await digestOf(directory), version.manifest.digest);
});

test('F18, T35: where the disk is full the next place takes it, and the alert says why', async (t) => {
  const { store, local, lines, root } = setUp(t, { isDiskFull: true });
  const version = store.add(publishedVersion('a'));
  const { source } = await local.acquire(toResolved(version));
  assert.ok(source.parts[0]!.directory.startsWith(path.join(root, 'memory')));
  assert.deepEqual(lines, [{ alert: 'adapter_disk', code: 'ENOSPC', reason: 'the disk failed' }]);
});

test('F19: where no place takes it the adapter is unavailable, and others are served', async (t) => {
  const { store, local, places } = setUp(t);
  const big = store.add(publishedVersion('big', { weightBytes: 2e5 }));
  const small = store.add(publishedVersion('small'));
  await assert.rejects(local.acquire(toResolved(big)), { code: 'adapter_unavailable' });
  assert.equal((await local.acquire(toResolved(small))).tier, 'store');
  assert.equal(places[0]!.stats().count, 1);
});

test('what a lease holds stays on the disk, what is released may go', async (t) => {
  const { store, local } = setUp(t);
  const versions = Array.from({ length: 6 }, (_, i) =>
    store.add(publishedVersion(`v${i}`, { weightBytes: 3e4 })),
  );
  const held = await local.acquire(toResolved(versions[0]!));
  for (const version of versions.slice(1)) (await local.acquire(toResolved(version))).release();
  assert.equal(await digestOf(held.source.parts[0]!.directory), versions[0]!.manifest.digest);
  held.release();
  held.release();
  for (const version of versions.slice(1)) (await local.acquire(toResolved(version))).release();
  assert.equal((await local.acquire(toResolved(versions[0]!))).tier, 'store');
});
