// The providers that can run a model, and what the engine needs to know about each. `src/ort/providers.ts` has what the runtime
// needs.

interface ProviderRow {
  /** Formats of the base's weights for which the provider has operators. The first is the default. */
  readonly weights: readonly ('int8' | 'int4' | 'nf4' | 'f32')[];
  /** The memory that holds weights, cache and adapter slots. */
  readonly memory: 'host' | 'device';
  /** Whether attention with a soft cap is right. */
  readonly capsAttention: boolean;
  /** Types of values between operators. The first one that the device supports is used. */
  readonly floats: readonly ('float32' | 'float16')[];
  /** Advice for users if the provider is not available. */
  readonly advice: string;
}

/** All providers by name. */
export const PROVIDERS = {
  cpu: {
    weights: ['int8', 'int4', 'nf4', 'f32'],
    memory: 'host',
    capsAttention: true,
    floats: ['float32'],
    advice: 'Reinstall lorikeet.',
  },
  webgpu: {
    weights: ['int8', 'f32'], // its 4-bit operator does not support NF4
    memory: 'device',
    capsAttention: false,
    floats: ['float16', 'float32'],
    advice:
      'It needs a GPU with a Vulkan, Metal or D3D12 driver. Install one, or use --provider cpu.',
  },
  cuda: {
    weights: ['nf4', 'int8', 'f32'],
    memory: 'device',
    capsAttention: true,
    floats: ['float16'], // its attention has no 32-bit kernel
    advice:
      "It needs an NVIDIA driver, CUDA 12, cuDNN 9 and the runtime's CUDA library. Install them (see docs/gpu.md), or use --provider cpu.",
  },
} as const satisfies Record<string, ProviderRow>;

/** The name of a provider. */
export type Provider = keyof typeof PROVIDERS;
/** The type of values between operators. */
export type FloatType = ProviderRow['floats'][number];

export const PROVIDER_NAMES = Object.keys(PROVIDERS) as Provider[];
