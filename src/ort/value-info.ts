// The names, types and shapes of a session's inputs and outputs, and the check of tensors against them.
import { assert } from '../common/assert.ts';
import { stringAt } from './ffi.ts';
import { ortCall, ortGet, ortVoid } from './runtime.ts';
import { type OrtTensor, type OrtType, typeOfCode } from './tensor.ts';

/** An input or output of a session. */
export interface ValueInfo {
  readonly name: string;
  readonly type: OrtType;
  /** A fixed dimension is a number. Any other is its name, or -1 without a name. */
  readonly shape: readonly (number | string)[];
}

/** Reads the inputs or outputs of a session, in order. `session` is an `OrtSession *`. */
export function readValueInfos(session: bigint, side: 'Input' | 'Output'): ValueInfo[] {
  const count = Number(ortGet(`SessionGet${side}Count`, session));
  return Array.from({ length: count }, (_, index) => {
    const name = readValueName(session, side, index);
    const info = ortGet(`SessionGet${side}TypeInfo`, session, index);
    try {
      const tensorInfo = ortGet('CastTypeInfoToTensorInfo', info); // owned by `info`
      assert(tensorInfo, `${side} ${name} is not a tensor`);
      const code = Number(ortGet('GetTensorElementType', tensorInfo));
      const type = typeOfCode(code);
      assert(type, `${side} ${name} has the unknown element type ${code}`);
      return { name, type, shape: readShape(tensorInfo) };
    } finally {
      ortVoid('ReleaseTypeInfo', info);
    }
  });
}

function readValueName(session: bigint, side: 'Input' | 'Output', index: number): string {
  const allocator = ortGet('GetAllocatorWithDefaultOptions');
  const pointer = ortGet(`SessionGet${side}Name`, session, index, allocator);
  const name = stringAt(pointer);
  ortCall('AllocatorFree', allocator, pointer);
  return name;
}

function readShape(tensorInfo: bigint): (number | string)[] {
  const rank = Number(ortGet('GetDimensionsCount', tensorInfo));
  const dims = new BigInt64Array(rank);
  const names = new BigUint64Array(rank); // addresses of strings, owned by `tensorInfo`
  if (rank > 0) {
    ortCall('GetDimensions', tensorInfo, dims, rank);
    ortCall('GetSymbolicDimensions', tensorInfo, names, rank);
  }
  return Array.from(dims, (dim, axis) => (dim >= 0n ? Number(dim) : stringAt(names[axis]!) || -1));
}

/** Asserts that a tensor has the type, the rank and the fixed dimensions of a value. */
export function checkAgainst(info: ValueInfo, tensor: OrtTensor): void {
  const { name, type, shape } = info;
  assert(tensor.type === type, `${name}: is ${type}, not ${tensor.type}`);
  const fits =
    tensor.shape.length === shape.length &&
    shape.every((dim, axis) => typeof dim === 'string' || dim < 0 || dim === tensor.shape[axis]);
  assert(fits, `${name}: has the shape [${shape}], not [${tensor.shape}]`);
}
