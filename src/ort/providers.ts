// The runtime's execution providers by our names: how a session is asked for one, and what it calls its memory.
import type { Provider } from '../settings/provider.ts';
import { ortCall, ortGet, ortVoid } from './runtime.ts';

interface NativeProvider {
  /** Its memory's name for `CreateMemoryInfo`; absent: the host's memory. */
  readonly memoryName?: string;
  /** Adds it to an `OrtSessionOptions *`. Throws `OrtError` where it cannot be had. */
  append(options: bigint): void;
}

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

/** Whether it computes in a memory of its own: host tensors are copied there, and back. */
export function hasDeviceMemory(provider: Provider): boolean {
  return NATIVE_PROVIDERS[provider].memoryName !== undefined;
}
