// A device's part of the runtime's functions, played by the CPU: sessions that ask for the provider get none, and its
// memory is the host's under the device's name. What is not played is the CPU provider's own work.
import type { TestContext } from 'node:test';
import type { OrtFunction } from '../../src/ort/api.ts';
import type { CValue, NativeFunction } from '../../src/ort/ffi.ts';
import { OrtError, ortFunctions } from '../../src/ort/runtime.ts';
import type { Provider } from '../../src/settings/provider.ts';

export interface PlayedCall {
  readonly name: OrtFunction;
  readonly args: readonly CValue[];
}

/** What became of the provider's part. */
export interface Played {
  /** Calls of functions that a device answers in its own way, as they come. */
  readonly calls: readonly PlayedCall[];
  /** Shapes and types (`ONNXTensorElementDataType`) of the memory that it holds now. */
  held(): { type: number; shape: number[] }[];
}

/** A pointer that is handed back and never followed. */
const PROVIDER_OPTIONS = 0xcdan;

/**
 * Plays the provider until the test ends.
 */
export function playDevice(
  t: TestContext,
  provider: Exclude<Provider, 'cpu'>,
  { lacksFloat16 = false } = {},
): Played {
  const functions = ortFunctions();
  const calls: PlayedCall[] = [];
  const play = (
    name: OrtFunction,
    act: (real: NativeFunction['sync'], args: CValue[]) => CValue,
  ) => {
    const real = functions[name];
    const sync = (...args: CValue[]) => {
      calls.push({ name, args });
      return act(real.sync, args);
    };
    functions[name] = { sync, async: async (...args) => sync(...args) };
    t.after(() => {
      functions[name] = real;
    });
  };
  const memoryName = { webgpu: 'WebGPU_Buf', cuda: 'Cuda' }[provider];
  play('CreateMemoryInfo', (real, [name, ...rest]) =>
    real(name === memoryName ? 'Cpu' : name!, ...rest),
  );
  for (const name of ['CreateAllocator', 'ReleaseAllocator'] as const) {
    play(name, (real, args) => real(...args));
  }
  const held = new Map<bigint, { type: number; shape: number[] }>();
  play('CreateTensorAsOrtValue', (real, args) => {
    const status = real(...args);
    const [, dims, , type, cell] = args;
    const value = (cell as BigUint64Array)[0]!;
    held.set(value, { type: Number(type), shape: Array.from(dims as BigInt64Array, Number) });
    return status;
  });
  play('ReleaseValue', (real, [value]) => {
    held.delete(value as bigint);
    return real(value!);
  });
  let refusals = lacksFloat16 ? 1 : 0; // float16 is asked for first
  const append = () => {
    if (refusals-- > 0) throw new OrtError('FAIL', 'the device has no float16');
    return null;
  };
  play('SessionOptionsAppendExecutionProvider', append);
  play('SessionOptionsAppendExecutionProvider_CUDA_V2', append);
  play('CreateCUDAProviderOptions', (_, [cell]) => {
    (cell as BigUint64Array)[0] = PROVIDER_OPTIONS;
    return null;
  });
  play('ReleaseCUDAProviderOptions', () => null);
  return { calls, held: () => [...held.values()] };
}
