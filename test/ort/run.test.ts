// Runs of bindings: results, a free event loop, termination, and memory shared by input and output.
import assert from 'node:assert/strict';
import test from 'node:test';
import { AssertionError } from '../../src/common/assert.ts';
import { RunOptions } from '../../src/ort/binding.ts';
import { OrtError, runtimeVersion } from '../../src/ort/runtime.ts';
import { createSession } from '../../src/ort/session.ts';
import { hostTensor } from '../../src/ort/tensor.ts';
import {
  FLOAT,
  INT64,
  loopModel,
  matmul,
  matmulModel,
  model,
  node,
  value,
  wholeNumbers,
} from './models.ts';

test('the library has the version of the package', () => {
  assert.equal(runtimeVersion(), '1.30.0');
});

test('a session lists its inputs and outputs', async () => {
  using session = await createSession(matmulModel(3, 2));
  assert.deepEqual(session.inputs, [
    { name: 'A', type: 'float32', shape: ['M', 3] },
    { name: 'B', type: 'float32', shape: [3, 2] },
  ]);
  assert.deepEqual(session.outputs, [{ name: 'Y', type: 'float32', shape: ['M', 2] }]);
});

test('a matmul equals the reference, asynchronous and synchronous, at several shapes', async () => {
  using session = await createSession(matmulModel(64, 48));
  using binding = session.createBinding();
  const b = wholeNumbers(64 * 48, 2);
  binding.bindInput('B', hostTensor('float32', [64, 48], b));
  for (const rows of [1, 5, 33, 0]) {
    const a = wholeNumbers(rows * 64, rows);
    const y = hostTensor('float32', [rows, 48]);
    binding.bindInput('A', hostTensor('float32', [rows, 64], a));
    binding.bindOutput('Y', y);
    const expected = matmul(a, b, 64);
    await binding.run();
    assert.deepEqual(y.data, expected);
    y.data.fill(-1);
    binding.runSync();
    assert.deepEqual(y.data, expected);
  }
});

test('sessions that share an arena compute the same as others, one after another', async () => {
  const a = wholeNumbers(5 * 64, 1);
  const b = wholeNumbers(64 * 48, 2);
  using first = await createSession(matmulModel(64, 48), { sharesArena: true });
  using second = await createSession(matmulModel(64, 48), { sharesArena: true });
  for (const session of [first, second, first]) {
    using binding = session.createBinding();
    const y = hostTensor('float32', [5, 48]);
    binding.bindInput('A', hostTensor('float32', [5, 64], a));
    binding.bindInput('B', hostTensor('float32', [64, 48], b));
    binding.bindOutput('Y', y);
    await binding.run();
    assert.deepEqual(y.data, matmul(a, b, 64));
  }
});

test('every element type goes in and out unchanged', async () => {
  const codes = {
    float32: 1,
    uint8: 2,
    int8: 3,
    int32: 6,
    int64: 7,
    bool: 9,
    float16: 10,
  } as const;
  for (const [type, code] of Object.entries(codes) as [keyof typeof codes, number][]) {
    const identity = model({
      inputs: [value('X', ['N'], code)],
      outputs: [value('Y', ['N'], code)],
      nodes: [node('Identity', ['X'], ['Y'])],
    });
    using session = await createSession(identity);
    using binding = session.createBinding();
    const x = hostTensor(type, [3]);
    const y = hostTensor(type, [3]);
    x.data[1] = (type === 'int64' ? 1n : 1) as never;
    binding.bindInput('X', x);
    binding.bindOutput('Y', y);
    binding.runSync();
    assert.equal(session.inputs[0]!.type, type);
    assert.deepEqual(y.data, x.data);
  }
});

test('a tensor is input and output of one run', async () => {
  const increment = model({
    inputs: [value('X', [4]), value('D', [4])],
    outputs: [value('Y', [4])],
    nodes: [node('Add', ['X', 'D'], ['Y'])],
  });
  using session = await createSession(increment);
  using binding = session.createBinding();
  const state = hostTensor('float32', [4]);
  binding.bindInput('X', state);
  binding.bindInput('D', hostTensor('float32', [4], Float32Array.of(1, 2, 3, 4)));
  binding.bindOutput('Y', state);
  for (let step = 0; step < 10; step++) await binding.run();
  assert.deepEqual(state.data, Float32Array.of(10, 20, 30, 40));
});

test('a view is a part of its tensor, slot by slot', async () => {
  using session = await createSession(matmulModel(8, 4));
  using binding = session.createBinding();
  const slots = hostTensor('float32', [6, 2, 8], wholeNumbers(6 * 2 * 8)); // [slots, rows, k]
  const b = wholeNumbers(8 * 4, 9);
  const outputs = hostTensor('float32', [6, 2, 4]);
  binding.bindInput('B', hostTensor('float32', [8, 4], b));
  for (let slot = 0; slot < 6; slot++) {
    binding.bindInput('A', slots.view([2, 8], slot * 16));
    binding.bindOutput('Y', outputs.view([2, 4], slot * 8));
    await binding.run();
  }
  assert.deepEqual(outputs.data, matmul(slots.data, b, 8));
  const prefix = slots.view([3, 2, 8]);
  prefix.data[0] = 77;
  assert.equal(slots.data[0], 77);
});

test('the event loop is free while a run is in flight, and terminate ends the run', async () => {
  using session = await createSession(loopModel());
  using binding = session.createBinding();
  using options = new RunOptions();
  const trips = hostTensor('int64', [], BigInt64Array.of(2n ** 40n)); // hours of work
  binding.bindInput('trips', trips);
  binding.bindInput('X', hostTensor('float32', [1], Float32Array.of(1)));
  binding.bindOutput('Y', hostTensor('float32', [1]));
  const run = binding.run(options);
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  options.terminate();
  await assert.rejects(
    run,
    (error) => error instanceof OrtError && /terminate/i.test(error.message),
  );

  trips.data[0] = 5n;
  await assert.rejects(binding.run(options), OrtError); // still set
  options.reset();
  await binding.run(options);
});

test('one binding runs once at a time; two bindings run side by side', async () => {
  using session = await createSession(loopModel());
  using options = new RunOptions();
  const bindings = [0, 1].map(() => {
    const binding = session.createBinding();
    binding.bindInput('trips', hostTensor('int64', [], BigInt64Array.of(2n ** 40n)));
    binding.bindInput('X', hostTensor('float32', [1]));
    binding.bindOutput('Y', hostTensor('float32', [1]));
    return binding;
  });
  const runs = bindings.map((binding) => binding.run(options));
  const first = bindings[0]!;
  await assert.rejects(first.run(), AssertionError);
  assert.throws(() => first.runSync(), AssertionError);
  assert.throws(() => first.bindInput('X', hostTensor('float32', [1])), AssertionError);
  assert.throws(() => first.clear(), AssertionError);
  assert.throws(() => first.release(), AssertionError);
  assert.throws(() => options.release(), AssertionError);
  options.terminate();
  await Promise.all(runs.map((run) => assert.rejects(run, OrtError)));
  for (const binding of bindings) binding.release();
});

test('a session that is released during a run lets it end, then refuses more', async () => {
  const session = await createSession(matmulModel(64, 64));
  using binding = session.createBinding();
  const a = wholeNumbers(256 * 64);
  const b = wholeNumbers(64 * 64, 4);
  const y = hostTensor('float32', [256, 64]);
  binding.bindInput('A', hostTensor('float32', [256, 64], a));
  binding.bindInput('B', hostTensor('float32', [64, 64], b));
  binding.bindOutput('Y', y);
  const run = binding.run();
  session.release();
  await run;
  assert.deepEqual(y.data, matmul(a, b, 64));
  await assert.rejects(binding.run(), AssertionError);
  assert.throws(() => session.createBinding(), AssertionError);
});

test('an index out of range is an error of ONNX Runtime, not a crash', async () => {
  const pick = model({
    inputs: [value('X', ['N']), value('I', ['G'], INT64)],
    outputs: [value('Y', ['G'], FLOAT)],
    nodes: [node('Gather', ['X', 'I'], ['Y'])],
  });
  using session = await createSession(pick);
  using binding = session.createBinding();
  binding.bindInput('X', hostTensor('float32', [3], Float32Array.of(5, 6, 7)));
  binding.bindInput('I', hostTensor('int64', [2], BigInt64Array.of(2n, 0n)));
  const y = hostTensor('float32', [2]);
  binding.bindOutput('Y', y);
  binding.runSync();
  assert.deepEqual(y.data, Float32Array.of(7, 5));
  binding.bindInput('I', hostTensor('int64', [2], BigInt64Array.of(9n, 0n)));
  await assert.rejects(binding.run(), /indices element out of data bounds/);
});
