// The execution providers by our names: how to add one to a session, and the runtime's name of its memory.
import type { Provider } from '../settings/provider.ts';
import { ortCall, ortGet, ortVoid } from './runtime.ts';

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
