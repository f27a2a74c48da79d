// The providers that a model can be served on: what each is for the engine, as one row. What each is for the
// runtime (its name, its memory's name, how it is asked for) is src/ort's.

interface ProviderRow {
  /** Forms of the base's weights that it has operators for; the first where none is asked for. */
  readonly weights: readonly ('int8' | 'nf4' | 'f32')[];
  /** Where weights, cache and adapter slots live. */
  readonly memory: 'host' | 'device';
  /** What values between operators are; the first that the device can compute with. */
  readonly floats: readonly ('float32' | 'float16')[];
  /** What to do where it cannot be had. */
  readonly advice: string;
}

export const PROVIDERS = {
  cpu: {
    weights: ['int8', 'nf4', 'f32'],
    memory: 'host',
    floats: ['float32'],
    advice: 'reinstall lorikeet',
  },
  webgpu: {
    weights: ['int8', 'f32'], // its 4-bit operator knows no NF4
    memory: 'device',
    floats: ['float16', 'float32'],
    advice: 'it needs a GPU with a Vulkan, Metal or D3D12 driver; or --provider cpu',
  },
  cuda: {
    weights: ['nf4', 'int8', 'f32'],
    memory: 'device',
    floats: ['float16'], // its attention has no 32-bit kernel
    advice:
      "it needs an NVIDIA driver, CUDA 12, cuDNN 9 and the runtime's CUDA library (docs/gpu.md); or --provider cpu",
  },
} as const satisfies Record<string, ProviderRow>;

export type Provider = keyof typeof PROVIDERS;
/** Element type of values between operators. */
export type FloatType = ProviderRow['floats'][number];

export const PROVIDER_NAMES = Object.keys(PROVIDERS) as Provider[];
