// The execution providers by our names: how to add one to a session, and tensors in its memory.
import { assert } from '../common/assert.ts';
import type { Provider } from '../settings/provider.ts';
import { Handle, releaseWhenCollected } from './handle.ts';
import { ortCall, ortFree, ortGet, ortVoid } from './runtime.ts';
import {
  assertShape,
  bytesOf,
  dimsOf,
  type OrtTensor,
  type OrtType,
  tensorOver,
  typeCode,
} from './tensor.ts';

interface NativeProvider {
  /** The name of its memory for `CreateMemoryInfo`. Absent: it uses host memory. */
  readonly memoryName?: string;
  /** Adds it to an `OrtSessionOptions *`. Throws `OrtError` if it is not available. */
  append(options: bigint): void;
}

/** The execution providers. */
export const NATIVE_PROVIDERS: Record<Provider, NativeProvider> = {
  cpu: { append() {} },
  webgpu: {
    memoryName: 'WebGPU_Buf',
    append: (options) =>
      ortCall('SessionOptionsAppendExecutionProvider', options, 'WebGPU', null, null, 0),
  },
  cuda: {
    memoryName: 'Cuda',
    append(options) {
      const settings = ortGet('CreateCUDAProviderOptions');
      try {
        ortCall('SessionOptionsAppendExecutionProvider_CUDA_V2', options, settings);
      } finally {
        ortVoid('ReleaseCUDAProviderOptions', settings);
      }
    },
  },
};

/** Whether a provider computes in separate memory, so that host tensors are copied there and back. */
export function hasDeviceMemory(provider: Provider): boolean {
  return NATIVE_PROVIDERS[provider].memoryName !== undefined;
}

/** `OrtAllocatorType` and `OrtMemType`. */
const DEVICE_ALLOCATOR = 0;
const DEFAULT_MEMORY = 0;

/**
 * Allocates a tensor that stays on the session's device, such as a cache that is input and output of every run. Its content is
 * undefined, it has no `data`, and its views start at its first element. Its memory is freed by `releaseMemory`, or by the
 * garbage collector once nothing refers to it, including views and bindings. Asserts that the session's provider is a device.
 */
export function deviceTensor<T extends OrtType>(
  session: { readonly provider: Provider; readonly handle: Handle },
  type: T,
  shape: readonly number[],
): OrtTensor<T> {
  assertShape(shape);
  const info = memoryInfo(session.provider);
  const parents = [session.handle];
  const pointer = ortGet('CreateAllocator', session.handle.pointer, info);
  const free = ortFree('ReleaseAllocator');
  const allocator = new Handle('device allocator', pointer, { free, parents });
  try {
    const args = [allocator.pointer, dimsOf(shape), shape.length, typeCode(type)];
    const handle = new Handle('device memory', ortGet('CreateTensorAsOrtValue', ...args), {
      free: ortFree('ReleaseValue'),
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
