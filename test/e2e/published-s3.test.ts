// Publishing to a real S3 server: publishers that are killed at each of their calls or at any moment, publishers that
// race, and the command as its users run it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type AdapterRepository, createRepository } from '../../adapters/repository/repository.ts';
import { fetchVersion } from '../../adapters/repository/versions.ts';
import { writeAdapter } from '../adapters/repository/shelf.ts';
import { seededRandom, temporaryFolder } from '../fixtures.ts';
import { pluck } from '../pluck.ts';
import { testUnless } from '../shared.ts';
import { outputOf } from './program.ts';
import { openStore, prepareS3Server, startS3Server, storeEnvironment } from './s3-server.ts';

const skip = await prepareS3Server();
const test = testUnless(skip);
const server = skip ? undefined : await startS3Server({ after });
const ZEN = { tenant: 'local', name: 'zen' };
// By its address: in a bundle of this test, it would look for the sources elsewhere.
const { bundleSources } = await import(path.resolve('scripts/bundle-sources.mjs'));
const [PUBLISH]: [string] = await bundleSources(['test/e2e/publish-program.ts']);
let shelves = 0;

/** A process of Node with these settings alone. */
function startNode(args: readonly string[], settings: Readonly<Record<string, string>>) {
  const env = { PATH: process.env['PATH'], ...settings };
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const closed = once(child, 'close') as Promise<[number | null, string | null]>;
  return { child, output: outputOf(child), closed };
}

/** A prefix of its own, a repository on it, and processes that publish there. */
function openShelf(t: { after(fn: () => unknown): void }) {
  assert(server);
  const prefix = `shelf-${++shelves}`;
  const home = temporaryFolder(t);
  const store = openStore(server, prefix);
  const env = { LORIKEET_HOME: home, ...storeEnvironment(server, { prefix }) };
  const start = (...args: string[]) => startNode(args, env);
  return {
    home,
    store,
    repository: createRepository(store),
    publish: (...args: string[]) => start(PUBLISH, ...args),
    lorikeet: (...args: string[]) => start('bin/lorikeet.mjs', 'adapters', ...args),
  };
}

/** The version that `latest` leads to; whatever is published is whole. */
async function readLatest(reader: AdapterRepository): Promise<number> {
  for (const manifest of await reader.listVersions('local', 'zen')) {
    await fetchVersion(reader, manifest);
  }
  const { aliases } = (await reader.readAliases('local', 'zen'))!;
  const pointer = aliases.aliases['latest']!;
  assert.ok('version' in pointer);
  assert.ok(await reader.readManifest('local', 'zen', pointer.version));
  return pointer.version;
}

test('T21, I18: killed with SIGKILL before and after each of its calls, a publication leaves the old or the new and goes on', async (t) => {
  const { repository, home, publish } = openShelf(t);
  await repository.publish(ZEN, { directory: writeAdapter(home, 1) });
  const counting = publish(writeAdapter(home, 2), 'whole');
  assert.deepEqual(await counting.closed, [0, null], counting.output.error);
  const calls = Number(counting.output.out);
  assert.ok(calls >= 8, `${calls} calls`);
  let version = 2;
  for (let n = 1; n <= calls; n++) {
    for (const moment of ['before', 'after']) {
      const directory = writeAdapter(home, 10 * n + (moment === 'after' ? 5 : 0));
      const id = `${moment} ${n}`;
      const { closed } = publish(directory, id, `${n}`, moment);
      assert.deepEqual(await closed, [null, 'SIGKILL'], id);
      const found = await readLatest(repository);
      assert.ok(found === version || found === version + 1, `${id}: ${found}`);
      const manifest = await repository.publish(ZEN, { directory }, { publicationId: id });
      assert.equal(await readLatest(repository), manifest.version, id);
      version = manifest.version;
    }
  }
  const versions = await repository.listVersions('local', 'zen');
  assert.equal(versions.length, 2 + 2 * calls);
  assert.equal(new Set(versions.map(({ digest }) => digest)).size, versions.length);
});

test('F24, T21, I18: a push that is killed at any moment goes on when it is run again, and readers see no half', async (t) => {
  const { repository, home, lorikeet } = openShelf(t);
  await repository.publish(ZEN, { directory: writeAdapter(home, 1) });
  const random = seededRandom(7);
  const directory = writeAdapter(home, 2);
  const push = () => lorikeet('push', directory, '--name', 'zen');
  const startedMs = Date.now();
  const whole = lorikeet('push', writeAdapter(home, 3), '--name', 'other');
  assert.deepEqual(await whole.closed, [0, null], whole.output.error);
  const wholeMs = Date.now() - startedMs;
  for (let i = 0; i < 8; i++) {
    const { child, closed } = push();
    await delay(wholeMs * (0.5 + (random() + 1) / 4));
    child.kill('SIGKILL');
    await closed;
    assert.ok((await readLatest(repository)) <= 2);
  }
  const { closed, output } = push();
  assert.deepEqual(await closed, [0, null], output.error);
  assert.equal(await readLatest(repository), 2);
  assert.equal((await repository.listVersions('local', 'zen')).length, 2);
});

test('a large file tells its progress part by part', async (t) => {
  const { home, store } = openShelf(t);
  const file = path.join(home, 'large');
  writeFileSync(file, Buffer.alloc(20 * 2 ** 20, 7));
  const told: number[] = [];
  await store.put('large', { file }, { onProgress: (sentBytes) => told.push(sentBytes) });
  assert.ok(told.length >= 3);
  assert.deepEqual(
    told,
    told.toSorted((a, b) => a - b),
  );
  assert.equal(told.at(-1), 20 * 2 ** 20);
});

test('T22: ten processes that publish at once bring ten versions, none lost', async (t) => {
  const { repository, home, publish } = openShelf(t);
  const runs = Array.from({ length: 10 }, (_, i) =>
    publish(writeAdapter(home, i + 1), `publication ${i}`),
  );
  for (const { closed, output } of runs) assert.deepEqual(await closed, [0, null], output.error);
  const versions = await repository.listVersions('local', 'zen');
  assert.deepEqual(pluck(versions, 'version'), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.equal(new Set(versions.map(({ digest }) => digest)).size, 10);
  assert.equal(await readLatest(repository), 10);
});

test('the command publishes to a bucket and pulls the same bytes from it', async (t) => {
  const { home, lorikeet } = openShelf(t);
  const directory = writeAdapter(home, 1);
  const copy = path.join(home, 'copy');
  for (const [args, pattern] of [
    [['push', directory, '--name', 'zen'], /^zen@1 is published/],
    [['ls'], /^zen {2}.*latest → 1$/m],
    [['verify', 'zen'], /is intact/],
    [['pull', 'zen', '--out', copy], /zen@1 is in/],
    [['rm', 'zen', '--yes'], /is removed/],
    [['gc', '--grace', '0'], /1 removed versions/],
  ] as const) {
    const { closed, output } = lorikeet(...args);
    assert.deepEqual(await closed, [0, null], output.error);
    assert.match(output.out, pattern);
  }
  for (const file of ['adapter_config.json', 'adapter_model.safetensors']) {
    const bytes = readFileSync(path.join(copy, file));
    assert.ok(bytes.equals(readFileSync(path.join(directory, file))));
  }
});

test('a bucket that is not there, and credentials that are refused, are told with what to do', async (t) => {
  const { lorikeet } = openShelf(t);
  const absent = lorikeet('ls', '--store', 's3://no-such-bucket/x');
  assert.deepEqual(await absent.closed, [1, null]);
  assert.match(absent.output.error, /no-such-bucket[\s\S]*LORIKEET_STORE or --store/);
  assert(server);
  const args = ['bin/lorikeet.mjs', 'adapters', 'ls', '--store', `s3://${server.bucket}`];
  const { output, closed } = startNode(args, {
    ...storeEnvironment(server),
    AWS_SECRET_ACCESS_KEY: 'wrong',
    LORIKEET_HOME: temporaryFolder(t),
  });
  assert.deepEqual(await closed, [1, null]);
  assert.match(output.error, /Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY/);
  assert.doesNotMatch(output.error, /wrong/);
});
