// The driver over a folder keeps what every store promises, and its own: several processes, crashes, links.
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { createFsStore } from '../../../adapters/store/fs.ts';
import { forkProgram, programUrl } from '../../../src/common/fork-program.ts';
import { temporaryFolder } from '../../fixtures.ts';
import {
  assertRefusesKey,
  bytesOf,
  increment,
  ofKind,
  readAll,
  readText,
  storeConformance,
} from './conformance.ts';
import { listKeys } from './wrapped-store.ts';

storeConformance({
  name: 'fs',
  open: async (t) => createFsStore(temporaryFolder(t)),
  largeBytes: 4 * 2 ** 20,
});

function openFolder(t: TestContext) {
  const folder = temporaryFolder(t);
  return { folder, store: createFsStore(folder), locks: path.join(folder, '~lorikeet/locks') };
}

/** Another process on the same folder; see fs-program.ts. */
function startProcess(t: TestContext, ...args: string[]): ChildProcess {
  const child = forkProgram(programUrl('./fs-program', import.meta.url), args, {});
  t.after(() => child.kill('SIGKILL'));
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL');
  await once(child, 'exit');
}

/** Starts a process, and waits until it is about to do what it shall. */
async function startReady(t: TestContext, ...args: string[]): Promise<ChildProcess> {
  const child = startProcess(t, ...args);
  await once(child, 'message');
  return child;
}

test('an object is a plain file, and a file put there by hand is an object', async (t) => {
  const { folder, store } = openFolder(t);
  await store.put('tenant/a/1/adapter_config.json', bytesOf('{}'));
  assert.equal(fs.readFileSync(path.join(folder, 'tenant/a/1/adapter_config.json'), 'utf8'), '{}');
  fs.writeFileSync(path.join(folder, 'tenant/a/1/by-hand'), 'x');
  assert.equal(await readText(store, 'tenant/a/1/by-hand'), 'x');
});

test('two processes that compare and swap lose no increment', async (t) => {
  const { folder, store } = openFolder(t);
  await store.put('count', bytesOf('0'));
  const child = await startReady(t, 'increment', folder, 'count', '40');
  child.send('go');
  const ended = once(child, 'exit');
  for (let round = 0; round < 40; round += 1) await increment(store, 'count');
  assert.deepEqual(await ended, [0, null]);
  assert.equal(await readText(store, 'count'), '80');
});

test('of two processes that claim the same hundred keys each key has one winner', async (t) => {
  const { folder, store } = openFolder(t);
  const child = await startReady(t, 'claim', folder, '100');
  child.send('go');
  const theirs = once(child, 'message');
  let ours = 0;
  for (let n = 0; n < 100; n += 1) {
    try {
      await store.put(`claims/${n}`, bytesOf('us'), { ifAbsent: true });
      ours += 1;
    } catch (error) {
      ofKind('conflict')(error);
    }
  }
  assert.equal(ours + Number((await theirs)[0]), 100);
  assert.equal((await listKeys(store, 'claims/')).length, 100);
});

test('a process that is killed while it holds the lock of a key holds up nobody', async (t) => {
  const { folder, store, locks } = openFolder(t);
  const { etag } = await store.put('alias', bytesOf('old'));
  const child = await startReady(t, 'hold', folder, 'alias');
  const [name] = fs.readdirSync(locks);
  // As young as can be: only that its holder is gone frees it.
  const future = Date.now() / 1000 + 3_600;
  fs.lutimesSync(path.join(locks, name!), future, future);
  await kill(child);
  await store.put('alias', bytesOf('new'), { ifMatch: etag });
  assert.equal(await readText(store, 'alias'), 'new');
  assert.deepEqual(fs.readdirSync(locks), []);
});

test('the locks of dead processes are removed by the first write of the next one, whichever keys they are of', async (t) => {
  const { folder, locks } = openFolder(t);
  const dead = await startReady(t, 'hold', folder, 'dead');
  const [name] = fs.readdirSync(locks);
  fs.symlinkSync('1@elsewhere@x', path.join(locks, `${name}.dead`)); // killed while it removed a lock
  fs.lutimesSync(path.join(locks, `${name}.dead`), 0, 0);
  await kill(dead);
  await startReady(t, 'hold', folder, 'alive');
  await createFsStore(folder).put('other', bytesOf('x'));
  await createFsStore(folder).put('other', bytesOf('y'));
  const left = fs.readdirSync(locks);
  assert.equal(left.length, 1);
  assert.notEqual(left[0], name);
});

test('a lock of another machine is waited for while it is young, and removed when old', async (t) => {
  const { folder, store, locks } = openFolder(t);
  await store.put('alias', bytesOf('old'));
  await startReady(t, 'hold', folder, 'alias');
  const [name] = fs.readdirSync(locks);
  const lock = path.join(locks, name!);
  fs.rmSync(lock);
  fs.symlinkSync('1@elsewhere@x', lock);
  const reason = new Error('enough');
  const controller = new AbortController();
  const waiting = store.put('alias', bytesOf('new'), { signal: controller.signal });
  setImmediate(() => controller.abort(reason));
  await assert.rejects(waiting, (error) => error === reason);
  fs.lutimesSync(lock, 0, 0);
  await store.put('alias', bytesOf('new'));
  assert.equal(await readText(store, 'alias'), 'new');
});

test('a process that is killed while it writes leaves nothing that is listed', async (t) => {
  const { folder, store } = openFolder(t);
  const pipe = path.join(temporaryFolder(t), 'pipe');
  execFileSync('mkfifo', [pipe]);
  const child = startProcess(t, 'write', folder, 'large', pipe);
  // More than a pipe holds: when this is written, the other process has copied some of it and waits for the rest.
  const source = await fs.promises.open(pipe, 'w');
  await source.writeFile(new Uint8Array(2 ** 20));
  await kill(child);
  await source.close();
  assert.equal(await store.head('large'), undefined);
  assert.deepEqual(await listKeys(store, ''), []);
  assert.deepEqual(await listKeys(store, '', { delimiter: '/' }), []);
  const [left] = fs.readdirSync(path.join(folder, '~lorikeet/new'));
  assert(left, 'it was in the middle');
  await createFsStore(folder).put('large', bytesOf('x'));
  assert.deepEqual(fs.readdirSync(path.join(folder, '~lorikeet/new')), [left]);
  fs.utimesSync(path.join(folder, '~lorikeet/new', left), 0, 0);
  await createFsStore(folder).put('large', bytesOf('x'));
  assert.deepEqual(fs.readdirSync(path.join(folder, '~lorikeet/new')), []);
});

test('a leftover that cannot be removed fails no write', async (t) => {
  const folder = temporaryFolder(t);
  const foreign = path.join(folder, '~lorikeet/new/folder');
  fs.mkdirSync(foreign, { recursive: true });
  fs.utimesSync(foreign, 0, 0);
  const store = createFsStore(folder);
  await store.put('key', bytesOf('x'));
  assert.equal(await readText(store, 'key'), 'x');
});

test('T09: links lead nowhere: refused by every call, left out of lists', async (t) => {
  const folder = temporaryFolder(t);
  const outside = temporaryFolder(t);
  fs.writeFileSync(path.join(outside, 'secret'), 'secret');
  fs.symlinkSync(outside, path.join(folder, 'tenant'));
  fs.symlinkSync(path.join(outside, 'secret'), path.join(folder, 'file'));
  fs.symlinkSync(path.join(outside, 'new'), path.join(folder, 'dangling'));
  const store = createFsStore(folder);
  for (const key of ['tenant/secret', 'tenant/new', 'file', 'dangling', 'tenant']) {
    await assertRefusesKey(store, key);
    await assert.rejects(store.put(key, bytesOf('x'), { ifAbsent: true }), ofKind('invalid'), key);
  }
  await assert.rejects(listKeys(store, 'tenant/'), ofKind('invalid'));
  assert.deepEqual(await listKeys(store, ''), []);
  assert.deepEqual(await listKeys(store, '', { delimiter: '/' }), []);
  assert.deepEqual(fs.readdirSync(outside), ['secret']);
  assert.equal(fs.readFileSync(path.join(outside, 'secret'), 'utf8'), 'secret');
});

test('a key that is the folder of another one is refused', async (t) => {
  const store = createFsStore(temporaryFolder(t));
  await store.put('a/b', bytesOf('x'));
  for (const condition of [{}, { ifAbsent: true } as const]) {
    await assert.rejects(store.put('a', bytesOf('y'), condition), ofKind('invalid'));
    await assert.rejects(store.put('a/b/c', bytesOf('y'), condition), ofKind('invalid'));
  }
  assert.deepEqual(await listKeys(store, ''), ['a/b']);
});

test('a folder that is not there is an error, not an empty store', async (t) => {
  const folder = path.join(temporaryFolder(t), 'unmounted');
  const store = createFsStore(folder);
  for (const key of ['a', 'a/b']) await assertRefusesKey(store, key);
  for (const prefix of ['', 'a/']) await assert.rejects(listKeys(store, prefix), ofKind('invalid'));
  assert(!fs.existsSync(folder));
});

test('a reader of a replaced or deleted object reads the one it opened', async (t) => {
  const store = createFsStore(temporaryFolder(t));
  await store.put('a/b', bytesOf('old'));
  const opened = [await store.get('a/b'), await store.get('a/b')];
  await store.put('a/b', bytesOf('newer'));
  const read = async (index: number) => (await readAll(opened[index]!)).toString();
  assert.equal(await read(0), 'old');
  await store.delete('a/b');
  assert.equal(await read(1), 'old');
});

test('a file that is cut while it is read is an error', async (t) => {
  const { folder, store } = openFolder(t);
  await store.put('a', new Uint8Array(2 ** 20));
  const found = await store.get('a');
  const reading = async (): Promise<void> => {
    for await (const _ of found!.body) fs.truncateSync(path.join(folder, 'a'), 2 ** 19);
  };
  await assert.rejects(reading(), ofKind('unavailable'));
});

test('a deleted object leaves no folders behind', async (t) => {
  const { folder, store } = openFolder(t);
  await store.put('a/b/c/d', bytesOf('x'));
  await store.put('a/e', bytesOf('x'));
  await store.delete('a/b/c/d');
  assert.deepEqual(fs.readdirSync(path.join(folder, 'a')), ['e']);
});

test('puts and deletes that race over a folder all succeed', async (t) => {
  const store = createFsStore(temporaryFolder(t));
  const churn = async (name: string): Promise<void> => {
    for (let round = 0; round < 20; round += 1) {
      await store.put(`a/b/${name}`, bytesOf(name));
      await store.delete(`a/b/${name}`);
    }
    await store.put(`a/b/${name}`, bytesOf(name));
  };
  await Promise.all(['1', '2', '3', '4'].map(churn));
  assert.deepEqual(await listKeys(store, ''), ['a/b/1', 'a/b/2', 'a/b/3', 'a/b/4']);
});

test('objects that follow each other in one place have other etags and later times', async (t) => {
  const { folder, store } = openFolder(t);
  const etags = new Set<string>();
  let last = 0n;
  for (let round = 0; round < 100; round += 1) {
    const beforeMs = performance.timeOrigin + performance.now();
    etags.add((await store.put('a', bytesOf(String(round % 10)))).etag);
    const { mtimeNs } = fs.statSync(path.join(folder, 'a'), { bigint: true });
    assert(mtimeNs > last);
    // The system's clock of files is up to 4 ms behind; Node 20 cuts times off at a microsecond.
    assert(Number(mtimeNs) / 1e6 > beforeMs - 0.002, 'set by the put, not by the coarse clock');
    last = mtimeNs;
    await store.delete('a');
  }
  assert.equal(etags.size, 100);
});
