// Simulates a device by replacing functions of the runtime: sessions that ask for the provider use the CPU, and the
// device's memory is host memory under its name.
import type { TestContext } from 'node:test';
import type { OrtFunction } from '../../src/ort/api.ts';
import type { CValue, NativeFunction } from '../../src/ort/ffi.ts';
import { OrtError, ortFunctions } from '../../src/ort/runtime.ts';
import type { Provider } from '../../src/settings/provider.ts';

interface DeviceCall {
  readonly name: OrtFunction;
  readonly args: readonly CValue[];
}

/** The calls to a simulated device, and its memory. */
export interface SimulatedDevice {
  /** The calls of the replaced functions, in order. */
  readonly calls: readonly DeviceCall[];
  /** The shapes and types (`ONNXTensorElementDataType`) of its current allocations. */
  held(): { type: number; shape: number[] }[];
}

/** A pointer that is passed back but never dereferenced. */
const PROVIDER_OPTIONS = 0xcdan;

/** Simulates the provider until the test ends. */
export function simulateDevice(
  t: TestContext,
  provider: Exclude<Provider, 'cpu'>,
  { lacksFloat16 = false } = {},
): SimulatedDevice {
  const functions = ortFunctions();
  const calls: DeviceCall[] = [];
  const replace = (
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
  replace('CreateMemoryInfo', (real, [name, ...rest]) =>
    real(name === memoryName ? 'Cpu' : name!, ...rest),
  );
  for (const name of ['CreateAllocator', 'ReleaseAllocator'] as const) {
    replace(name, (real, args) => real(...args));
  }
  const held = new Map<bigint, { type: number; shape: number[] }>();
  replace('CreateTensorAsOrtValue', (real, args) => {
    const status = real(...args);
    const [, dims, , type, cell] = args;
    const value = (cell as BigUint64Array)[0]!;
    held.set(value, { type: Number(type), shape: Array.from(dims as BigInt64Array, Number) });
    return status;
  });
  replace('ReleaseValue', (real, [value]) => {
    held.delete(value as bigint);
    return real(value!);
  });
  let refusals = lacksFloat16 ? 1 : 0; // float16 is asked for first
  const append = () => {
    if (refusals-- > 0) throw new OrtError('FAIL', 'the device has no float16');
    return null;
  };
  replace('SessionOptionsAppendExecutionProvider', append);
  replace('SessionOptionsAppendExecutionProvider_CUDA_V2', append);
  replace('CreateCUDAProviderOptions', (_, [cell]) => {
    (cell as BigUint64Array)[0] = PROVIDER_OPTIONS;
    return null;
  });
  replace('ReleaseCUDAProviderOptions', () => null);
  return { calls, held: () => [...held.values()] };
}
