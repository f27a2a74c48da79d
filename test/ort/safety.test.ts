// Mistakes throw errors that name the cause, and never crash the process.
import assert from 'node:assert/strict';
import test from 'node:test';
import { AssertionError } from '../../src/common/assert.ts';
import { RunOptions } from '../../src/ort/binding.ts';
import { OrtError } from '../../src/ort/runtime.ts';
import { createSession, PrepackedWeights } from '../../src/ort/session.ts';
import { hostTensor } from '../../src/ort/tensor.ts';
import { matmul, matmulModel, weightModel, wholeNumbers } from './models.ts';

function refuses(action: () => unknown, text: RegExp): void {
  assert.throws(action, (error) => error instanceof AssertionError && text.test(error.message));
}

test('a released object is refused, and a second release does nothing', async () => {
  const session = await createSession(matmulModel(2, 2));
  const binding = session.createBinding();
  const tensor = hostTensor('float32', [2, 2]);
  const options = new RunOptions();
  for (const owner of [tensor, binding, session, options]) {
    owner.release();
    owner.release();
    owner[Symbol.dispose]();
  }
  refuses(() => tensor.data, /tensor was released/);
  refuses(() => tensor.view([1]), /tensor was released/);
  refuses(() => binding.bindInput('A', hostTensor('float32', [2, 2])), /binding was released/);
  refuses(() => binding.runSync(), /binding was released/);
  refuses(() => binding.clear(), /binding was released/);
  await assert.rejects(binding.run(), AssertionError);
  refuses(() => session.createBinding(), /session was released/);
  refuses(() => options.terminate(), /run options was released/);
  refuses(() => options.reset(), /run options was released/);
});

test('released tensors, options and weights are refused as arguments', async () => {
  using session = await createSession(matmulModel(2, 2));
  using binding = session.createBinding();
  const gone = hostTensor('float32', [2, 2]);
  gone.release();
  refuses(() => binding.bindInput('A', gone), /tensor was released/);
  const y = hostTensor('float32', [2, 2]);
  for (const name of ['A', 'B']) binding.bindInput(name, hostTensor('float32', [2, 2]));
  binding.bindOutput('Y', y);
  const options = new RunOptions();
  options.release();
  await assert.rejects(binding.run(options), AssertionError);
  binding.runSync(); // the refusal left it idle
  const prepacked = new PrepackedWeights();
  prepacked.release();
  await assert.rejects(createSession(matmulModel(2, 2), { prepacked }), AssertionError);
  const initializers = new Map([['W', gone]]);
  await assert.rejects(createSession(weightModel(2, 2), { initializers }), AssertionError);
});

test('a bound tensor may be released: the binding keeps its memory', async () => {
  using session = await createSession(matmulModel(8, 8));
  using binding = session.createBinding();
  const a = hostTensor('float32', [4, 8], wholeNumbers(32));
  const b = hostTensor('float32', [8, 8], wholeNumbers(64, 2));
  const y = hostTensor('float32', [4, 8]);
  const result = y.data;
  const expected = matmul(a.data, b.data, 8);
  binding.bindInput('A', a);
  binding.bindInput('B', b);
  binding.bindOutput('Y', y);
  for (const tensor of [a, b, y]) tensor.release();
  await binding.run();
  assert.deepEqual(result, expected);
});

test('a wrong name, type, rank or size is refused with the name', async () => {
  using session = await createSession(matmulModel(3, 2));
  using binding = session.createBinding();
  refuses(() => binding.bindInput('Z', hostTensor('float32', [1, 3])), /no input Z/);
  refuses(() => binding.bindInput('Y', hostTensor('float32', [1, 2])), /no input Y/);
  refuses(() => binding.bindOutput('A', hostTensor('float32', [1, 3])), /no output A/);
  refuses(
    () => binding.bindInput('A', hostTensor('float16', [1, 3])),
    /A: is float32, not float16/,
  );
  refuses(
    () => binding.bindInput('A', hostTensor('float32', [3])),
    /A: has the shape \[M,3\], not \[3\]/,
  );
  refuses(() => binding.bindInput('B', hostTensor('float32', [3, 3])), /B: has the shape \[3,2\]/);
  refuses(() => binding.bindOutput('Y', hostTensor('int32', [1, 2])), /Y: is float32/);
  refuses(() => binding.runSync(), /A is not bound/);
});

test('an output too small for the free dimension is refused by ONNX Runtime', async () => {
  using session = await createSession(matmulModel(3, 2));
  using binding = session.createBinding();
  binding.bindInput('A', hostTensor('float32', [5, 3]));
  binding.bindInput('B', hostTensor('float32', [3, 2]));
  binding.bindOutput('Y', hostTensor('float32', [4, 2]));
  await assert.rejects(binding.run(), (error) => error instanceof OrtError && error.code !== 'OK');
  binding.bindOutput('Y', hostTensor('float32', [5, 2]));
  await binding.run();
  binding.clear();
  refuses(() => binding.runSync(), /A is not bound/);
});

test('wrong data and shapes are refused', () => {
  refuses(() => hostTensor('float32', [2], new Float32Array(3)), /3 elements for the shape \[2\]/);
  refuses(
    () => hostTensor('float32', [2], new Int32Array(2) as never),
    /float32 needs a Float32Array/,
  );
  refuses(() => hostTensor('float32', [-1]), /shape \[-1\]/);
  refuses(() => hostTensor('float32', [1.5]), /shape \[1.5\]/);
  refuses(() => hostTensor('float32', [2 ** 40, 2 ** 40]), /shape/);
  const shared = new Uint8Array(new SharedArrayBuffer(4));
  refuses(() => hostTensor('uint8', [4], shared as never), /shared memory/);
  refuses(() => hostTensor('uint8', [4], Buffer.from('four') as never), /Buffer pool/);
});

test('a view that exceeds its tensor is refused', () => {
  const tensor = hostTensor('int32', [4, 3]);
  const part = tensor.view([2, 3], 6);
  assert.equal(part.data.length, 6);
  assert.equal(tensor.view([0, 3], 12).data.length, 0);
  refuses(() => tensor.view([2, 3], 7), /exceeds a tensor of 12/);
  refuses(() => tensor.view([13]), /exceeds/);
  refuses(() => part.view([7]), /exceeds a tensor of 6/);
  refuses(() => tensor.view([1], -1), /offset -1/);
  refuses(() => tensor.view([1], 0.5), /offset 0.5/);
});

test('a broken model throws with the text of ONNX Runtime', async () => {
  const broken = new Uint8Array(100).fill(7);
  await assert.rejects(createSession(broken), { name: 'OrtError', code: 'INVALID_PROTOBUF' });
  await assert.rejects(createSession(new Uint8Array(0)), OrtError);
  const absent = createSession('no-such-model.onnx');
  await assert.rejects(absent, { code: 'NO_SUCHFILE', message: /no-such-model\.onnx/ });
  const whole = matmulModel(2, 2);
  for (let end = 1; end < whole.length; end += 7) {
    // A truncated model is an error, or a smaller valid model, and never a crash.
    await createSession(whole.slice(0, end)).then(
      (session) => session.release(),
      () => {},
    );
  }
});
