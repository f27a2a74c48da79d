// Weights of sessions: in place, from memory or a mapped file, shared by several sessions.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { AssertionError } from '../../src/common/assert.ts';
import { separateLargeBlocks } from '../../src/ort/libc.ts';
import { mapFile } from '../../src/ort/mapped-file.ts';
import { OrtError } from '../../src/ort/runtime.ts';
import { createSession, PrepackedWeights, type Session } from '../../src/ort/session.ts';
import { hostTensor } from '../../src/ort/tensor.ts';
import { absentWeight, matmul, model, node, value, weightModel, wholeNumbers } from './models.ts';

const K = 256;
const weights = wholeNumbers(K * K, 3);

async function assertMultiplies(session: Session): Promise<void> {
  const a = wholeNumbers(2 * K);
  const y = hostTensor('float32', [2, K]);
  using binding = session.createBinding();
  binding.bindInput('A', hostTensor('float32', [2, K], a));
  binding.bindOutput('Y', y);
  await binding.run();
  assert.deepEqual(y.data, matmul(a, weights, K));
}

/** How many bytes the private memory of this process grows by during `act`. */
async function growth(act: () => Promise<unknown>): Promise<number> {
  const anonymous = () =>
    1024 * Number(/^RssAnon:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]);
  globalThis.gc?.();
  const before = anonymous();
  await act();
  return anonymous() - before;
}

function withFile(bytes: Uint8Array, use: (file: string) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(path.join(tmpdir(), 'lorikeet-'));
  const file = path.join(dir, 'weights.bin');
  writeFileSync(file, bytes);
  return use(file).finally(() => rmSync(dir, { recursive: true }));
}

test('a model in memory takes its weights from tensors', async () => {
  const initializers = new Map([['W', hostTensor('float32', [K, K], weights)]]);
  using session = await createSession(weightModel(K, K), { initializers });
  await assertMultiplies(session);
});

test('two sessions share weights and prepacked weights, in any order of release', async () => {
  const tensor = hostTensor('float32', [K, K], weights);
  const prepacked = new PrepackedWeights();
  const options = { initializers: new Map([['W', tensor]]), prepacked };
  const creations = [weightModel(K, K), weightModel(K, K)].map((m) => createSession(m, options));
  prepacked.release();
  tensor.release();
  globalThis.gc?.();
  const [first, second] = (await Promise.all(creations)) as [Session, Session];
  await assertMultiplies(first);
  first.release();
  await assertMultiplies(second);
  second.release();
});

test('a session that maps its weights copies none, and another one shares the prepacked weights', {
  skip: process.platform !== 'linux',
}, async () => {
  separateLargeBlocks();
  const size = 2048; // 16 MiB
  const large = wholeNumbers(size * size, 5);
  await withFile(new Uint8Array(large.buffer), async (name) => {
    const file = mapFile(name);
    const options = {
      initializers: new Map([['W', file.tensor('float32', [size, size], 0)]]),
      externalFolder: path.dirname(name),
      prepacked: new PrepackedWeights(),
    };
    // Like a tied embedding: one operator packs it, the other does not.
    const graph = model({
      inputs: [value('A', ['M', size]), value('X', [size, size])],
      outputs: [value('Y', ['M', size]), value('Z', [size, size])],
      nodes: [node('MatMul', ['A', 'W'], ['Y']), node('Add', ['X', 'W'], ['Z'])],
      initializers: [absentWeight('W', [size, size], path.basename(name))],
    });
    const sessions: Session[] = [];
    const create = async () => sessions.push(await createSession(graph, options));
    assert.ok((await growth(create)) < large.byteLength * 1.5, 'one copy, which is prepacked');
    for (const _ of [2, 3]) assert.ok((await growth(create)) < large.byteLength / 4);
    file.dropPages(); // nothing is lost by it
    const a = hostTensor('float32', [1, size], new Float32Array(size).fill(1));
    const y = hostTensor('float32', [1, size]);
    const x = hostTensor('float32', [size, size]);
    const z = hostTensor('float32', [size, size]);
    for (const session of sessions) {
      using binding = session.createBinding();
      binding.bindInput('A', a);
      binding.bindInput('X', x);
      binding.bindOutput('Y', y);
      binding.bindOutput('Z', z);
      binding.runSync();
      assert.deepEqual(y.data, matmul(a.data, large, size));
      assert.deepEqual(z.data, large);
    }
    for (const session of sessions) session.release();
  });
});

test('weights are read in place', async () => {
  const tensor = hostTensor('float32', [3], Float32Array.of(1, 2, 3));
  const add = model({
    inputs: [value('X', [3])],
    outputs: [value('Y', [3])],
    nodes: [node('Add', ['X', 'W'], ['Y'])],
    initializers: [absentWeight('W', [3])],
  });
  using session = await createSession(add, { initializers: new Map([['W', tensor]]) });
  using binding = session.createBinding();
  const y = hostTensor('float32', [3]);
  binding.bindInput('X', hostTensor('float32', [3]));
  binding.bindOutput('Y', y);
  tensor.data[1] = 50;
  binding.runSync();
  assert.deepEqual(y.data, Float32Array.of(1, 50, 3));
});

test('weights of the wrong shape, type or name are refused', async () => {
  const wrong = {
    shape: new Map([['W', hostTensor('float32', [K, 1])]]),
    type: new Map([['W', hostTensor('int32', [K, K])]]),
    name: new Map([['Q', hostTensor('float32', [K, K])]]),
    absent: new Map(),
  };
  for (const initializers of Object.values(wrong)) {
    await assert.rejects(createSession(weightModel(K, K), { initializers }), OrtError);
  }
});

test('weights in a mapped file can be used at an offset, after the file was released', async () => {
  const bytes = new Uint8Array(64 + weights.byteLength);
  bytes.set(new Uint8Array(weights.buffer), 64);
  await withFile(bytes, async (name) => {
    const file = mapFile(name);
    assert.equal(file.byteLength, bytes.length);
    const tensor = file.tensor('float32', [K, K], 64);
    using session = await createSession(weightModel(K, K), {
      initializers: new Map([['W', tensor]]),
    });
    tensor.release();
    file.release();
    assert.throws(() => file.tensor('float32', [1], 0), AssertionError);
    globalThis.gc?.();
    await new Promise((resolve) => setImmediate(resolve));
    await assertMultiplies(session);
  });
});

test('a mapped tensor stays inside its file, aligned, and has no data', async () => {
  await withFile(new Uint8Array(100), async (name) => {
    using file = mapFile(name);
    assert.equal(file.tensor('float32', [25], 0).view([5], 20).shape[0], 5);
    assert.throws(() => file.tensor('float32', [25], 4), /exceed 100 bytes/);
    assert.throws(() => file.tensor('uint8', [1], -1), AssertionError);
    assert.throws(() => file.tensor('float32', [1], 2), /not aligned/);
    assert.throws(() => file.tensor('uint8', [1], 0).data, /mapped file/);
  });
});

test('an empty file has no bytes, and a missing one is an error', async () => {
  await withFile(new Uint8Array(0), async (name) => {
    using file = mapFile(name);
    assert.equal(file.tensor('float32', [0, 4], 0).shape[1], 4);
    assert.throws(() => file.tensor('uint8', [1], 0), AssertionError);
    assert.throws(() => mapFile(`${name}.absent`), { code: 'ENOENT' });
    assert.throws(() => mapFile(path.dirname(name)), Error);
  });
});
