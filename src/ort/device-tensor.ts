// Tensors in a device's memory, by the allocator of a session. Knows the names that providers give their memory.
import { assert } from '../assert.ts';
import { Handle, releaseWhenForgotten } from './handle.ts';
import { ortGet, ortVoid } from './runtime.ts';
import type { Provider, Session } from './session.ts';
import { checkShape, dimsOf, OrtTensor, type OrtType, typeCode } from './tensor.ts';

/** Provider → its memory's name for `CreateMemoryInfo`. */
const MEMORY_NAMES: Partial<Record<Provider, string>> = { webgpu: 'WebGPU_Buf', cuda: 'Cuda' };
/** `OrtAllocatorType` and `OrtMemType`. */
const DEVICE_ALLOCATOR = 0;
const DEFAULT_MEMORY = 0;

/**
 * A tensor that stays on the session's device, e.g. a cache that is input and output of every run. Its content is
 * undefined at first; it has no `data` and no `view`. The session's native memory lives until the collector has
 * found the last of its device tensors. Asserts that the session's provider is a device.
 */
export function deviceTensor<T extends OrtType>(
  session: Session,
  type: T,
  shape: readonly number[],
): OrtTensor<T> {
  checkShape(shape);
  const memoryName = MEMORY_NAMES[session.provider];
  assert(memoryName, `device tensor: the provider ${session.provider} has no device memory`);
  const info = ortGet('CreateMemoryInfo', memoryName, DEVICE_ALLOCATOR, 0, DEFAULT_MEMORY);
  try {
    const allocator = new Handle(
      'device allocator',
      ortGet('CreateAllocator', session.handle.pointer, info),
      { free: (pointer) => ortVoid('ReleaseAllocator', pointer), parents: [session.handle] },
    );
    // A bound tensor is freed by its last binding, through the allocator: only the collector knows when.
    const owner = {};
    releaseWhenForgotten(owner, allocator);
    const args = [allocator.pointer, dimsOf(shape), shape.length, typeCode(type)];
    const handle = new Handle('device tensor', ortGet('CreateTensorAsOrtValue', ...args), {
      free: (pointer) => ortVoid('ReleaseValue', pointer),
      kept: owner,
    });
    return new OrtTensor({ type, shape: [...shape] }, handle);
  } finally {
    ortVoid('ReleaseMemoryInfo', info);
  }
}
