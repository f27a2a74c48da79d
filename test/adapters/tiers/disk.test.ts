import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import * as nodeFiles from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { digestAdapterFiles } from '../../../adapters/peft/files.ts';
import {
  CorruptContent,
  DiskError,
  type DiskFiles,
  type DiskItem,
  DiskTier,
  type OpenFile,
} from '../../../adapters/tiers/disk.ts';
import { programUrl } from '../../../src/common/fork-program.ts';
import { temporaryFolder } from '../../fixtures.ts';
import { argumentsOf } from '../../node-program.ts';
import { type Published, pieces, publishedVersion } from './published.ts';

const WEIGHTS = 'adapter_model.safetensors';

function itemOf({ manifest }: Published): DiskItem {
  return { owner: manifest.tenant, digest: manifest.digest, files: manifest.files };
}

const source =
  ({ bytes }: Published): OpenFile =>
  (name) =>
    pieces(bytes[name]);

function setUp(t: TestContext, options: { capacityBytes?: number; files?: DiskFiles } = {}) {
  const root = path.join(temporaryFolder(t), 'cache', 'adapters');
  let nowMs = 1_700_000_000_000;
  const tier = new DiskTier({ root, capacityBytes: 1e6, now: () => nowMs, ...options });
  const write = (version: Published) => tier.write(itemOf(version), source(version));
  const has = (version: Published) => tier.has(itemOf(version));
  const directory = (version: Published) => tier.directory(itemOf(version));
  const later = (ms = 61_000) => {
    nowMs += ms;
  };
  return { root, tier, write, has, directory, later };
}

/** Everything below the root but finished entries. */
async function leftovers(root: string): Promise<string[]> {
  return nodeFiles.readdir(path.join(root, '.incoming')).catch(() => []);
}

test('what was written is here, as the files that were published', async (t) => {
  const { root, tier, write, has, directory } = setUp(t);
  const version = publishedVersion('a');
  assert.equal(await has(version), false);
  await write(version);
  assert.equal(await has(version), true);
  assert.deepEqual(
    readFileSync(path.join(directory(version), WEIGHTS)),
    Buffer.from(version.bytes[WEIGHTS]),
  );
  assert.deepEqual(await leftovers(root), []);
  assert.equal(tier.stats().count, 1);
});

test('each owner has a copy of its own: another one learns nothing', async (t) => {
  const { write, has, directory } = setUp(t);
  const ours = publishedVersion('a');
  const theirs = { ...ours, manifest: { ...ours.manifest, tenant: 'beta' } };
  await write(ours);
  assert.equal(await has(theirs), false);
  assert.notEqual(directory(ours), directory(theirs));
});

for (const [fault, spoil] of [
  ['shorter', (bytes: Uint8Array) => bytes.subarray(1)],
  ['longer', (bytes: Uint8Array) => Buffer.concat([bytes, Buffer.from('x')])],
  ['changed', (bytes: Uint8Array) => bytes.map((byte, i) => (i === 500 ? byte ^ 1 : byte))],
] as const) {
  test(`content that is ${fault} than published is refused and leaves nothing`, async (t) => {
    const { root, tier, has } = setUp(t);
    const version = publishedVersion('a');
    const spoilt: OpenFile = (name) =>
      pieces(name === WEIGHTS ? spoil(version.bytes[name]) : version.bytes[name]);
    await assert.rejects(tier.write(itemOf(version), spoilt), CorruptContent);
    assert.equal(await has(version), false);
    assert.deepEqual(await leftovers(root), []);
  });
}

test('F21: a flipped bit is found by the next process, and by this one once the engine complained', async (t) => {
  const { root, tier, write, has, directory } = setUp(t);
  const version = publishedVersion('a');
  await write(version);
  const file = path.join(directory(version), WEIGHTS);
  const bytes = readFileSync(file);
  bytes[321]! ^= 4;
  writeFileSync(file, bytes);
  assert.equal(await has(version), true, 'this process has verified it already');
  const next = new DiskTier({ root, capacityBytes: 1e6 });
  assert.equal(await next.has(itemOf(version)), false);
  await next.write(itemOf(version), source(version));
  assert.equal((await digestAdapterFiles(directory(version))).digest, version.manifest.digest);
  writeFileSync(file, bytes);
  tier.verifyAgain(itemOf(version));
  assert.equal(await has(version), false);
});

test('what was used longest ago goes first, what is held stays', async (t) => {
  const { tier, write, has, later } = setUp(t, { capacityBytes: 3 * 1200 });
  const [a, b, c, d, e] = ['a', 'b', 'c', 'd', 'e'].map((name) => publishedVersion(name));
  for (const version of [a!, b!, c!]) {
    await write(version);
    later();
    await has(version);
  }
  later();
  await has(a!);
  const release = tier.hold(itemOf(b!));
  await write(d!);
  assert.deepEqual(await Promise.all([a!, b!, c!, d!].map(has)), [true, true, false, true]);
  release();
  later();
  await has(a!);
  await write(e!);
  assert.equal(await has(b!), false);
  assert.equal(tier.stats().evictions, 2);
  assert.ok(tier.stats().bytes <= 3 * 1200);
});

test('where all is held there is no room, and nothing is evicted', async (t) => {
  const { tier, write, has } = setUp(t, { capacityBytes: 2 * 1200 });
  const [a, b, c] = ['a', 'b', 'c'].map((name) => publishedVersion(name));
  for (const version of [a!, b!]) {
    tier.hold(itemOf(version));
    await write(version);
  }
  await assert.rejects(write(c!), DiskError);
  assert.deepEqual(await Promise.all([a!, b!].map(has)), [true, true]);
});

test('writes at the same time never take more than the capacity together', async (t) => {
  const { tier, write } = setUp(t, { capacityBytes: 4 * 1200 });
  const versions = Array.from({ length: 12 }, (_, i) => publishedVersion(`v${i}`));
  await Promise.allSettled(versions.map(write));
  assert.ok(tier.stats().bytes <= 4 * 1200);
  assert.ok(tier.stats().count >= 1);
});

test('what a process left when it died is swept, what one is writing is not', async (t) => {
  const { root, write } = setUp(t);
  const old = path.join(root, '.incoming', 'old');
  const young = path.join(root, '.incoming', 'young');
  for (const folder of [old, young]) mkdirSync(folder, { recursive: true });
  const agoS = 1_700_000_000 - 3_700;
  utimesSync(old, agoS, agoS);
  await write(publishedVersion('a'));
  assert.deepEqual([existsSync(old), existsSync(young)], [false, true]);
});

const DISK_FAULTS = ['ENOSPC', 'EIO', 'EMFILE', 'EACCES'];

/** The file system, whose nth call fails. */
function failingAt(n: number, code: string): { files: DiskFiles; hasFailed: () => boolean } {
  let left = n;
  const wrap = (target: object): never =>
    new Proxy(target, {
      get: (inner, name) => {
        const value = Reflect.get(inner, name);
        if (typeof value !== 'function') return value;
        return async (...args: unknown[]) => {
          const isFailing = --left === 0;
          const fault = Object.assign(new Error(code), { code });
          if (isFailing && name !== 'close') throw fault;
          const result = await value.apply(inner, args);
          if (isFailing) throw fault; // a file that cannot be closed is closed
          return name === 'open' ? wrap(result) : result;
        };
      },
    }) as never;
  return { files: wrap({ ...nodeFiles }), hasFailed: () => left <= 0 };
}

for (const code of DISK_FAULTS) {
  test(`F18, F19, T35: ${code} at any call of a write leaves no corrupt entry, and the next write succeeds`, async (t) => {
    const version = publishedVersion('a', { weightBytes: 350 });
    let n = 0;
    while (true) {
      const { files, hasFailed } = failingAt(++n, code);
      const { root, tier, write, has } = setUp(t, { files });
      const failure = await write(version).then(
        () => undefined,
        (error) => error,
      );
      assert.ok(failure === undefined || failure instanceof DiskError, String(failure));
      if (!hasFailed()) break;
      const restarted = new DiskTier({ root, capacityBytes: 1e6 });
      const isThere = await restarted.has(itemOf(version));
      if (failure === undefined) assert.ok(isThere);
      await tier.write(itemOf(version), source(version));
      assert.ok(await has(version));
      rmSync(root, { recursive: true });
    }
    assert.ok(n > 12, `${n} calls`);
  });
}

test('F22: what another process evicts at the same moment makes room as well', async (t) => {
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((name) => publishedVersion(name));
  let evictAsTheOther = async () => {};
  const files: DiskFiles = {
    ...nodeFiles,
    rename: async (from, to) => {
      if (path.basename(path.dirname(String(to))) === '.incoming') await evictAsTheOther();
      return nodeFiles.rename(from, to);
    },
  };
  const { write, has, directory } = setUp(t, { capacityBytes: 3 * 1200, files });
  for (const version of [a!, b!, c!]) await write(version);
  evictAsTheOther = async () => {
    for (const version of [a!, b!, c!])
      rmSync(directory(version), { recursive: true, force: true });
  };
  await write(d!);
  assert.ok(await has(d!));
});

test('F22: two processes on one folder: nothing mixed, nothing lost, no more than the capacity', async (t) => {
  const { root, tier } = setUp(t, { capacityBytes: 6 * 1200 });
  const program = argumentsOf(programUrl('./disk-program', import.meta.url));
  const child = spawn(process.execPath, [...program, root, String(6 * 1200)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  const ended = once(child, 'exit');
  await once(child.stdout, 'data'); // it has begun
  for (let round = 0; round < 150; round++) {
    const version = publishedVersion(`v${round % 10}`);
    const release = tier.hold(itemOf(version));
    if (!(await tier.has(itemOf(version)))) await tier.write(itemOf(version), source(version));
    const found = await digestAdapterFiles(tier.directory(itemOf(version))).catch(() => undefined);
    // The other process may have evicted it, whole; what there is is right.
    assert.ok(found === undefined || found.digest === version.manifest.digest);
    release();
  }
  assert.deepEqual(await ended, [0, null]);
  assert.deepEqual(await leftovers(root), []);
});
