// What every driver of the object store does, as one suite: conditions, listing, bodies, signals, keys.
// A driver's own promises (links, processes, deadlines) are in its own test file.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import {
  type Etag,
  type ObjectStore,
  type StoredObject,
  StoreError,
  type StoreErrorKind,
} from '../../../adapters/store/store.ts';
import { temporaryFolder } from '../../fixtures.ts';
import { listKeys } from './wrapped-store.ts';

export interface Driver {
  readonly name: string;
  /** A store that holds nothing. */
  open(t: TestContext): Promise<ObjectStore>;
  readonly skip?: string | false;
  /** Of the large object; a driver's limits of one request are below it. */
  readonly largeBytes: number;
}

const text = new TextEncoder();

export function bytesOf(value: string): Uint8Array {
  return text.encode(value);
}

export async function readAll({ body }: StoredObject): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

export async function readText(store: ObjectStore, key: string): Promise<string | undefined> {
  const found = await store.get(key);
  return found && (await readAll(found)).toString();
}

/** For `assert.rejects`. */
export function ofKind(kind: StoreErrorKind): (error: unknown) => true {
  return (error) => {
    assert(error instanceof StoreError, String(error));
    assert.equal(error.kind, kind, error.message);
    return true;
  };
}

/** Fails unless the store refuses a key in every call. */
export async function assertRefusesKey(store: ObjectStore, key: string): Promise<void> {
  await assert.rejects(store.get(key), ofKind('invalid'), key);
  await assert.rejects(store.head(key), ofKind('invalid'), key);
  await assert.rejects(store.put(key, bytesOf('x')), ofKind('invalid'), key);
  await assert.rejects(store.delete(key), ofKind('invalid'), key);
}

/** Adds one to a number in an object, as often as it takes: the loop that moves an alias. */
export async function increment(store: ObjectStore, key: string): Promise<void> {
  for (;;) {
    const found = await store.get(key);
    assert(found);
    const next = bytesOf(String(Number(await readAll(found)) + 1));
    try {
      await store.put(key, next, { ifMatch: found.etag });
      return;
    } catch (error) {
      ofKind('conflict')(error);
    }
  }
}

/** A file of seeded bytes, written without ever holding it. */
export async function largeFile(t: TestContext, byteSize: number): Promise<string> {
  const file = path.join(temporaryFolder(t), 'large');
  const stream = createWriteStream(file);
  for (let start = 0; start < byteSize; start += BLOCK.byteLength) {
    const block = BLOCK.subarray(0, byteSize - start);
    if (!stream.write(block)) await once(stream, 'drain');
  }
  stream.end();
  await once(stream, 'close');
  return file;
}

/** Its length is a prime: a part that is lost or swapped moves all that follows. */
const BLOCK = Uint8Array.from({ length: 65_521 }, (_, index) => (index * index * 31 + index) % 251);

const MALFORMED = [
  '',
  '/',
  '/a',
  'a/',
  'a//b',
  '.',
  '..',
  '../a',
  'a/../b',
  'a/./b',
  'a\\b',
  'a b',
];
const LONG = ['x'.repeat(256), 'a/'.repeat(600)];
const HOSTILE = ['a\0b', 'a%2fb', 'ä', 'a\nb', '~lorikeet/new/a', ...LONG];

/** States one promise of every store, to a store that holds nothing. */
type Promises = (
  behaviour: string,
  body: (store: ObjectStore, t: TestContext) => Promise<void>,
) => void;

export function storeConformance({ name, open, largeBytes, skip = false }: Driver): void {
  const promise: Promises = (behaviour, body) => {
    test(`${name}: ${behaviour}`, { skip }, async (t) => body(await open(t), t));
  };
  objects(promise);
  conditions(promise);
  lists(promise);
  bodies(promise);
  refusals(promise);
  largeObjects(promise, largeBytes);
}

function objects(promise: Promises): void {
  promise('what was put is read, dated and described by the next call', async (store) => {
    const written = await store.put('a/b.json', bytesOf('one'));
    assert.equal(written.key, 'a/b.json');
    assert.equal(written.byteSize, 3);
    const head = await store.head('a/b.json');
    assert(head);
    assert.equal(head.etag, written.etag);
    assert.equal(head.byteSize, 3);
    assert(Math.abs(head.modifiedMs - Date.now()) < 3_600_000);
    const found = await store.get('a/b.json');
    assert(found);
    const { body: _, ...info } = found;
    assert.deepEqual({ ...info }, { ...head });
    assert.equal((await readAll(found)).toString(), 'one');
    for await (const entry of store.list('')) assert.deepEqual(entry, { kind: 'object', ...head });
  });

  promise('an absent object is undefined and its deletion has no effect', async (store) => {
    await store.put('a/b', bytesOf('x'));
    for (const key of ['b', 'a/c', 'a', 'a/b/c', 'a/bb']) {
      assert.equal(await store.get(key), undefined, key);
      assert.equal(await store.head(key), undefined, key);
      await store.delete(key);
    }
    assert.equal(await readText(store, 'a/b'), 'x');
  });

  promise('a deleted object is gone for every call and may be put again', async (store) => {
    await store.put('a/b', bytesOf('x'));
    await store.delete('a/b');
    assert.equal(await store.get('a/b'), undefined);
    assert.deepEqual(await listKeys(store, ''), []);
    assert.deepEqual(await listKeys(store, '', { delimiter: '/' }), []);
    await store.put('a/b', bytesOf('y'), { ifAbsent: true });
    assert.equal(await readText(store, 'a/b'), 'y');
  });

  promise('an unconditional put replaces, and a new etag tells', async (store) => {
    const etags = new Set<Etag>();
    for (const content of ['one', 'two', 'six', '']) {
      etags.add((await store.put('a', bytesOf(content))).etag);
      assert.equal(await readText(store, 'a'), content);
    }
    assert.equal(etags.size, 4);
  });
}

function conditions(promise: Promises): void {
  promise('ifAbsent is a conflict where there is an object, which stays', async (store) => {
    await store.put('a', bytesOf('one'), { ifAbsent: true });
    await assert.rejects(store.put('a', bytesOf('two'), { ifAbsent: true }), ofKind('conflict'));
    assert.equal(await readText(store, 'a'), 'one');
  });

  promise('ifMatch is a conflict where the object is another or none', async (store) => {
    const { etag } = await store.put('a', bytesOf('one'));
    const second = await store.put('a', bytesOf('two'), { ifMatch: etag });
    await assert.rejects(store.put('a', bytesOf('three'), { ifMatch: etag }), ofKind('conflict'));
    assert.equal(await readText(store, 'a'), 'two');
    await store.delete('a');
    const again = { ifMatch: second.etag };
    await assert.rejects(store.put('a', bytesOf('four'), again), ofKind('conflict'));
    assert.equal(await store.head('a'), undefined);
  });

  promise('of twenty racing ifAbsent writers exactly one wins', async (store) => {
    const contents = Array.from({ length: 20 }, (_, writer) => `writer ${writer}`);
    const put = async (content: string): Promise<string[]> => {
      try {
        await store.put('race/claim', bytesOf(content), { ifAbsent: true });
        return [content];
      } catch (error) {
        ofKind('conflict')(error);
        return [];
      }
    };
    const winners = (await Promise.all(contents.map(put))).flat();
    assert.equal(winners.length, 1);
    assert.equal(await readText(store, 'race/claim'), winners[0]);
  });

  promise('ten racers that compare and swap lose no increment', async (store) => {
    await store.put('race/count', bytesOf('0'));
    const racer = async (): Promise<void> => {
      for (let round = 0; round < 3; round += 1) await increment(store, 'race/count');
    };
    await Promise.all(Array.from({ length: 10 }, racer));
    assert.equal(await readText(store, 'race/count'), '30');
  });

  promise('a reader never sees a half of two racing puts', async (store) => {
    const contents = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(100_000));
    await store.put('whole', bytesOf(contents[0]!));
    const writes = contents.map((content) => store.put('whole', bytesOf(content)));
    const reads = contents.map(() => readText(store, 'whole'));
    for (const read of await Promise.all(reads)) assert(contents.includes(read ?? ''));
    await Promise.all(writes);
  });
}

function lists(promise: Promises): void {
  promise('lists are in the order of keys, by any beginning of a key', async (store) => {
    const keys = ['a-b', 'a.b', 'a/1', 'a/10', 'a/2', 'a/B', 'a/b/c', 'a0', 'ab/c'];
    for (const key of keys.toReversed()) await store.put(key, bytesOf(key));
    assert.deepEqual(await listKeys(store, ''), keys);
    const beginnings = ['a/', 'a/1', 'a', 'a/b/', 'a/b/c', 'a.', 'ab', 'none', 'a/1/', 'b/c/'];
    for (const prefix of beginnings) {
      const expected = keys.filter((key) => key.startsWith(prefix));
      assert.deepEqual(await listKeys(store, prefix), expected, prefix);
    }
  });

  promise('a delimiter gives folders in their place among objects', async (store) => {
    for (const key of ['t/a/1', 't/a/2', 't/a.json', 't/b', 't/c/d/e', 'u']) {
      await store.put(key, bytesOf(key));
    }
    const flat = (prefix: string) => listKeys(store, prefix, { delimiter: '/' });
    assert.deepEqual(await flat(''), ['t/', 'u']);
    assert.deepEqual(await flat('t/'), ['t/a.json', 't/a/', 't/b', 't/c/']);
    assert.deepEqual(await flat('t/a'), ['t/a.json', 't/a/']);
    assert.deepEqual(await flat('t'), ['t/']);
    assert.deepEqual(await flat('t/c/'), ['t/c/d/']);
    for await (const entry of store.list('t/c', { delimiter: '/' })) {
      assert.deepEqual(entry, { kind: 'folder', key: 't/c/' });
    }
  });

  promise('a list goes on after the key of any of its entries', async (store) => {
    for (const key of ['a', 'b/1', 'b/2', 'b/3/x', 'c', 'd/1']) await store.put(key, bytesOf(key));
    for (const options of [{}, { delimiter: '/' } as const]) {
      const all = await listKeys(store, '', options);
      for (const [at, after] of all.entries()) {
        const rest = await listKeys(store, '', { ...options, after });
        assert.deepEqual(rest, all.slice(at + 1), after);
      }
    }
    assert.deepEqual(await listKeys(store, 'b/', { after: 'b/1x' }), ['b/2', 'b/3/x']);
    assert.deepEqual(await listKeys(store, '', { delimiter: '/', after: 'b/1' }), ['c', 'd/']);
  });

  promise('B70: a list of more than a thousand objects is whole', async (store) => {
    const keys = Array.from({ length: 1_050 }, (_, n) => `many/${String(n).padStart(5, '0')}`);
    const waiting = [...keys];
    const writer = async (): Promise<void> => {
      for (let key = waiting.pop(); key; key = waiting.pop()) await store.put(key, bytesOf(key));
    };
    await Promise.all(Array.from({ length: 16 }, writer));
    assert.deepEqual(await listKeys(store, 'many/'), keys);
    assert.deepEqual(await listKeys(store, '', { after: keys[1_010]! }), keys.slice(1_011));
    let count = 0;
    for await (const _ of store.list('many/')) if (++count === 3) break;
    assert.equal(count, 3);
  });
}

function bodies(promise: Promises): void {
  promise('a body that is left early harms no later call', async (store) => {
    await store.put('large', new Uint8Array(4 * 2 ** 20).fill(7));
    for (let round = 0; round < 60; round += 1) {
      const found = await store.get('large');
      assert(found);
      for await (const chunk of found.body) {
        assert.equal(chunk[0], 7);
        break;
      }
    }
    assert.equal((await readAll((await store.get('large'))!)).byteLength, 4 * 2 ** 20);
  });

  promise('an aborted signal ends every call with its reason', async (store) => {
    await store.put('a', bytesOf('one'));
    const reason = new Error('enough');
    const call = { signal: AbortSignal.abort(reason) };
    const isReason = (error: unknown): boolean => error === reason;
    await assert.rejects(store.get('a', call), isReason);
    await assert.rejects(store.head('a', call), isReason);
    await assert.rejects(store.put('a', bytesOf('two'), call), isReason);
    await assert.rejects(store.delete('a', call), isReason);
    await assert.rejects(listKeys(store, '', call), isReason);
    assert.equal(await readText(store, 'a'), 'one');
  });

  promise('a signal ends a body in the middle with its reason', async (store) => {
    await store.put('large', new Uint8Array(4 * 2 ** 20));
    const controller = new AbortController();
    const found = await store.get('large', { signal: controller.signal });
    const reason = new Error('enough');
    const reading = async (): Promise<void> => {
      for await (const _ of found!.body) controller.abort(reason);
    };
    await assert.rejects(reading(), (error) => error === reason);
  });
}

function refusals(promise: Promises): void {
  promise('B70: malformed keys and prefixes are refused by every call', async (store) => {
    for (const key of [...MALFORMED, ...HOSTILE]) await assertRefusesKey(store, key);
    for (const prefix of ['/', '../', 'a/../', 'a//', './a', 'a b', '~', 'a/'.repeat(600)]) {
      await assert.rejects(listKeys(store, prefix), ofKind('invalid'), prefix);
    }
    assert.deepEqual(await listKeys(store, ''), []);
  });

  promise('names of dots, dashes and capitals are names like others', async (store) => {
    const keys = ['-', '..a', '.hidden', 'A/__proto__/x.y-z_0', '_', 'a...b', 'constructor'];
    for (const key of keys) await store.put(key, bytesOf(key));
    assert.deepEqual(await listKeys(store, ''), keys);
    for (const key of keys) assert.equal(await readText(store, key), key);
  });

  promise('a file that is not there is refused and leaves nothing', async (store, t) => {
    const file = path.join(temporaryFolder(t), 'absent');
    await assert.rejects(store.put('a', { file }), ofKind('invalid'));
    assert.deepEqual(await listKeys(store, ''), []);
  });
}

function largeObjects(promise: Promises, largeBytes: number): void {
  promise('a large file is put and read without being held', async (store, t) => {
    const file = await largeFile(t, largeBytes);
    const { byteSize, etag } = await store.put('large', { file }, { ifAbsent: true });
    assert.equal(byteSize, largeBytes);
    await assert.rejects(store.put('large', { file }, { ifAbsent: true }), ofKind('conflict'));
    const found = await store.get('large');
    assert(found);
    assert.equal(found.etag, etag);
    let position = 0;
    for await (const chunk of found.body) {
      assertSeeded(chunk, position);
      position += chunk.byteLength;
    }
    assert.equal(position, largeBytes);
    await store.put('large', bytesOf('small'), { ifMatch: etag });
    await assert.rejects(store.put('large', { file }, { ifMatch: etag }), ofKind('conflict'));
    assert.equal(await readText(store, 'large'), 'small');
  });

  promise('a put that is aborted in the middle leaves nothing', async (store, t) => {
    const file = await largeFile(t, largeBytes);
    const controller = new AbortController();
    const reason = new Error('enough');
    const putting = store.put('large', { file }, { signal: controller.signal });
    setImmediate(() => controller.abort(reason));
    await assert.rejects(putting, (error) => error === reason);
    assert.equal(await store.head('large'), undefined);
    assert.deepEqual(await listKeys(store, ''), []);
  });
}

/** Compares a chunk with the bytes that `largeFile` wrote there. */
function assertSeeded(chunk: Uint8Array, position: number): void {
  let at = 0;
  while (at < chunk.byteLength) {
    const start = (position + at) % BLOCK.byteLength;
    const expected = BLOCK.subarray(start, start + chunk.byteLength - at);
    const actual = chunk.subarray(at, at + expected.byteLength);
    assert.equal(Buffer.compare(actual, expected), 0, `bytes from ${position + at}`);
    at += expected.byteLength;
  }
}
