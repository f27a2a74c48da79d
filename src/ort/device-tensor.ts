// Allocates tensors in the memory of a device, with the allocator of a session.
import { assert } from '../common/assert.ts';
import type { Provider } from '../settings/provider.ts';
import { Handle, releaseWhenCollected } from './handle.ts';
import { NATIVE_PROVIDERS } from './providers.ts';
import { ortGet, ortVoid } from './runtime.ts';
import type { Session } from './session.ts';
import {
  assertShape,
  bytesOf,
  dimsOf,
  type OrtTensor,
  type OrtType,
  tensorOver,
  typeCode,
} from './tensor.ts';

/** `OrtAllocatorType` and `OrtMemType`. */
const DEVICE_ALLOCATOR = 0;
const DEFAULT_MEMORY = 0;

/**
 * Allocates a tensor that stays on the session's device, such as a cache that is input and output of every run. Its content is
 * undefined, it has no `data`, and its views start at its first element. Its memory is freed by `releaseMemory`, or by the
 * garbage collector once nothing refers to it, including views and bindings. Asserts that the session's provider is a device.
 */
export function deviceTensor<T extends OrtType>(
  session: Session,
  type: T,
  shape: readonly number[],
): OrtTensor<T> {
  assertShape(shape);
  const info = memoryInfo(session.provider);
  const allocator = new Handle(
    'device allocator',
    ortGet('CreateAllocator', session.handle.pointer, info),
    { free: (pointer) => ortVoid('ReleaseAllocator', pointer), parents: [session.handle] },
  );
  try {
    const args = [allocator.pointer, dimsOf(shape), shape.length, typeCode(type)];
    const handle = new Handle('device memory', ortGet('CreateTensorAsOrtValue', ...args), {
      free: (pointer) => ortVoid('ReleaseValue', pointer),
      parents: [allocator],
    });
    const owner = {}; // every user of the memory refers to it
    releaseWhenCollected(owner, handle);
    const address = ortGet('GetTensorMutableData', handle.pointer);
    const memory = { owner, address, byteLength: bytesOf(type, shape), device: { info, handle } };
    return tensorOver(type, shape, { memory, byteOffset: 0 });
  } finally {
    allocator.release(); // the memory keeps it alive
  }
}

const infos = new Map<Provider, bigint>();

/** Returns the `OrtMemoryInfo *` of a provider's memory. */
function memoryInfo(provider: Provider): bigint {
  const { memoryName } = NATIVE_PROVIDERS[provider];
  assert(memoryName, `device tensor: the provider ${provider} has no device memory`);
  const info =
    infos.get(provider) ??
    ortGet('CreateMemoryInfo', memoryName, DEVICE_ALLOCATOR, 0, DEFAULT_MEMORY);
  infos.set(provider, info);
  return info;
}
