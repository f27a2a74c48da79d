// Device memory: a tensor that stays on the device across runs.
import assert from 'node:assert/strict';
import test from 'node:test';
import { AssertionError } from '../../src/assert.ts';
import { deviceTensor } from '../../src/ort/device-tensor.ts';
import { createSession } from '../../src/ort/session.ts';
import { hostTensor } from '../../src/ort/tensor.ts';
import { model, node, value } from './models.ts';

const needsDriver = process.env['VK_ICD_FILENAMES']
  ? false
  : 'needs a Vulkan driver (VK_ICD_FILENAMES)';

/** `S' = S + D`, `Y = S + D`, all `[4]`. */
function sumModel(): Uint8Array {
  return model({
    inputs: [value('S', [4]), value('D', [4])],
    outputs: [value('N', [4]), value('Y', [4])],
    nodes: [node('Add', ['S', 'D'], ['N']), node('Add', ['S', 'D'], ['Y'])],
  });
}

test('a session on the CPU has no device tensors', async () => {
  using session = await createSession(sumModel());
  assert.throws(() => deviceTensor(session, 'float32', [4]), AssertionError);
});

test('a state stays on the device from run to run', { skip: needsDriver }, async () => {
  const session = await createSession(sumModel(), { provider: 'webgpu' });
  const states = [deviceTensor(session, 'float32', [4]), deviceTensor(session, 'float32', [4])];
  assert.throws(() => states[0]!.data, /on a device/);
  assert.throws(() => states[0]!.view([1]), /on a device/);
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
  binding.release(); // frees the states, through the session's allocator
});
