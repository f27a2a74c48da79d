// Device memory: tensors that stay on the device across runs, and copies between them.
import assert from 'node:assert/strict';
import test from 'node:test';
import { AssertionError } from '../../src/common/assert.ts';
import { deviceTensor } from '../../src/ort/providers.ts';
import { createSession } from '../../src/ort/session.ts';
import { hostTensor } from '../../src/ort/tensor.ts';
import { model, node, value } from './models.ts';

const needsDriver = process.env['VK_ICD_FILENAMES']
  ? false
  : 'needs a Vulkan driver (VK_ICD_FILENAMES)';

/** `N = S + D`, `Y = S + D`, all `[n]`. */
function sumModel(): Uint8Array {
  return model({
    inputs: [value('S', ['n']), value('D', ['n'])],
    outputs: [value('N', ['n']), value('Y', ['n'])],
    nodes: [node('Add', ['S', 'D'], ['N']), node('Add', ['S', 'D'], ['Y'])],
  });
}

test('a session on the CPU has no device tensors', async () => {
  using session = await createSession(sumModel());
  assert.throws(() => deviceTensor(session, 'float32', [4]), AssertionError);
});

test('a tensor stays on the device from run to run', { skip: needsDriver }, async () => {
  const session = await createSession(sumModel(), { provider: 'webgpu' });
  const states = [deviceTensor(session, 'float32', [4]), deviceTensor(session, 'float32', [4])];
  assert.throws(() => states[0]!.data, /on a device/);
  const binding = session.createBinding();
  const step = hostTensor('float32', [4], Float32Array.of(1, 2, 3, 4));
  const y = hostTensor('float32', [4]);
  binding.bindInput('D', step);
  binding.bindOutput('Y', y);
  binding.bindInput('S', hostTensor('float32', [4]));
  for (let i = 0; i < 5; i++) {
    binding.bindOutput('N', states[i % 2]!);
    await binding.run();
    binding.bindInput('S', states[i % 2]!);
  }
  assert.deepEqual(y.data, Float32Array.of(5, 10, 15, 20));
  for (const state of states) state.release();
  session.release();
  globalThis.gc?.();
  await new Promise((resolve) => setImmediate(resolve));
  binding.release(); // lets go of the states, whose memory goes back through the session's allocator
});

test('a view of a device tensor starts at its beginning', { skip: needsDriver }, async () => {
  const session = await createSession(sumModel(), { provider: 'webgpu' });
  const whole = deviceTensor(session, 'float32', [4]);
  assert.throws(() => whole.view([2], 2), /begins where its memory does/);
  const binding = session.createBinding();
  const bind = (d: number[], y = hostTensor('float32', [d.length])) => {
    binding.bindInput('D', hostTensor('float32', [d.length], Float32Array.from(d)));
    binding.bindOutput('Y', y);
    return y;
  };
  bind([1, 2, 3, 4]);
  binding.bindInput('S', hostTensor('float32', [4]));
  binding.bindOutput('N', whole);
  await binding.run();
  const front = whole.view([2]);
  const y = bind([10, 10]);
  binding.bindInput('S', front);
  binding.bindOutput('N', hostTensor('float32', [2]));
  await binding.run();
  assert.deepEqual([...y.data], [11, 12]);
  binding.release();
  whole.releaseMemory();
  assert.throws(() => whole.view([1]), AssertionError);
  front.release(); // the last tensor over the memory
});

test('a run reads a host tensor as it was when it was bound', { skip: needsDriver }, async () => {
  const session = await createSession(sumModel(), { provider: 'webgpu' });
  const binding = session.createBinding();
  const d = hostTensor('float32', [1], Float32Array.of(1));
  const y = hostTensor('float32', [1]);
  binding.bindInput('S', hostTensor('float32', [1]));
  binding.bindInput('D', d);
  binding.bindOutput('N', hostTensor('float32', [1]));
  binding.bindOutput('Y', y);
  d.data[0] = 2;
  await binding.run();
  assert.deepEqual([y.data[0], binding.readsInPlace(d)], [1, false]);
  binding.bindInput('D', d);
  await binding.run();
  assert.equal(y.data[0], 2);
  assert.ok(binding.readsInPlace(deviceTensor(session, 'float32', [1])));
});
