// Tensors as little-endian bytes in row-major order, with the dtype names of safetensors.
import { assert } from './assert.ts';
import { FileError } from './errors.ts';

/** dtype → bytes per element. */
export const DTYPE_BYTES = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  U8: 1,
  BOOL: 1,
} as const;

/** An element type, by its name in safetensors. */
export type DType = keyof typeof DTYPE_BYTES;
/** An element type of model weights. */
export type FloatDType = 'F32' | 'F16' | 'BF16';

/** A tensor's type and shape. */
export interface TensorInfo {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** A tensor in memory. */
export interface Tensor extends TensorInfo {
  /** `elementCount(shape) * DTYPE_BYTES[dtype]` bytes. May be a view at any alignment. */
  readonly data: Uint8Array;
}

/** A matrix of floats, row by row. */
export interface Matrix {
  readonly values: Float32Array;
  readonly rows: number;
  readonly cols: number;
}

/** Named tensors that are read one at a time, so that a model need not fit in memory. */
export interface TensorSource extends Disposable {
  readonly infos: ReadonlyMap<string, TensorInfo>;
  /** Throws `FileError` if there is no tensor of that name. */
  read(name: string): Tensor;
  /** Reads one row of a matrix, without the others if the tensor is stored in a file as it is. Throws like `read`. */
  readRow(name: string, row: number): Tensor;
  close(): void;
}

/** How a source reads rows and ends. */
interface SourceOptions<Info> {
  /** Absent: rows are cut out of the tensors that `readTensor` returns. */
  readonly readRow?: (name: string, info: Info, row: number) => Tensor;
  readonly close?: () => void;
}

/** Creates a source. `readTensor` gets only names of `infos`. */
export function createTensorSource<Info extends TensorInfo>(
  infos: ReadonlyMap<string, Info>,
  readTensor: (name: string, info: Info) => Tensor,
  { readRow, close = () => {} }: SourceOptions<Info> = {},
): TensorSource {
  const infoOf = (name: string): Info => {
    const info = infos.get(name);
    if (!info) throw new FileError(name, 'is missing from the weights');
    return info;
  };
  return {
    infos,
    read: (name) => readTensor(name, infoOf(name)),
    readRow(name, row) {
      const info = infoOf(name);
      if (readRow) return readRow(name, info, row);
      const { begin, byteLength, ...rest } = rowExtent(info, row);
      return { ...rest, data: readTensor(name, info).data.subarray(begin, begin + byteLength) };
    },
    close,
    [Symbol.dispose]: close,
  };
}

/** Returns the type and shape of a row of a matrix, and the position of its bytes in the matrix. */
export function rowExtent({ dtype, shape }: TensorInfo, row: number) {
  const [rows, cols] = shape as readonly [number, number];
  assert(shape.length === 2 && row < rows, `row ${row} is outside of [${shape}]`);
  const byteLength = cols * DTYPE_BYTES[dtype];
  return { dtype, shape: [cols], begin: row * byteLength, byteLength };
}

/** The product of the dimensions. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

/** Whether model weights can have the type. */
export function isFloat(dtype: DType): dtype is FloatDType {
  return dtype === 'F32' || dtype === 'F16' || dtype === 'BF16';
}

/** Converts F32, F16 or BF16 values to a new Float32Array. The conversion is exact. */
export function toFloat32(tensor: Tensor): Float32Array {
  const out = new Float32Array(elementCount(tensor.shape));
  decodeFloats(tensor, out);
  return out;
}

/** Like `toFloat32`, into the first elements of `into`. */
export function decodeFloats({ dtype, shape, data }: Tensor, into: Float32Array): void {
  assert(isFloat(dtype), `${dtype} is not a float type`);
  const count = elementCount(shape);
  if (dtype === 'F32') {
    asBytes(into).set(data.subarray(0, 4 * count));
    return;
  }
  const isAligned = data.byteOffset % Uint16Array.BYTES_PER_ELEMENT === 0;
  const { buffer, byteOffset } = isAligned ? data : new Uint8Array(data);
  const half = new Uint16Array(buffer, byteOffset, count);
  const bits = new Uint32Array(into.buffer, into.byteOffset, count);
  if (dtype === 'BF16') for (let i = 0; i < count; i++) bits[i] = half[i]! << 16;
  else {
    const table = halfTable();
    for (let i = 0; i < count; i++) bits[i] = table[half[i]!]!;
  }
}

let halfBits: Uint32Array | undefined;

/** The float32 bits of every half. A lookup takes a third of the conversion's time. */
function halfTable(): Uint32Array {
  halfBits ??= Uint32Array.from({ length: 2 ** 16 }, (_, half) => halfToFloatBits(half));
  return halfBits;
}

/** Converts to a tensor. Rounds to nearest, ties to even. F32 shares the memory of `values`. */
export function fromFloat32(
  values: Float32Array,
  shape: readonly number[],
  dtype: FloatDType,
): Tensor {
  if (dtype === 'F32') {
    return { dtype, shape, data: asBytes(values) };
  }
  const half = new Uint16Array(values.length);
  // Signed numbers fit V8's small integers, and a loop with one callee is compiled with it: a quarter of the time.
  const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
  if (dtype === 'BF16') for (let i = 0; i < half.length; i++) half[i] = floatBitsToBfloat(bits[i]!);
  else for (let i = 0; i < half.length; i++) half[i] = floatBitsToHalf(bits[i]! >>> 0);
  return { dtype, shape, data: new Uint8Array(half.buffer) };
}

/** Transposes a matrix [rows, cols] to [cols, rows]. */
export function transposed(
  values: Float32Array,
  [rows, cols]: readonly [number, number],
): Float32Array {
  const result = new Float32Array(values.length);
  for (let row = 0, from = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) result[col * rows + row] = values[from++]!;
  }
  return result;
}

/** Returns the size of a tensor in bytes. */
export function byteLength({ dtype, shape }: TensorInfo): number {
  return elementCount(shape) * DTYPE_BYTES[dtype];
}

/** The bytes of the array, without copying. */
export function asBytes(values: ArrayBufferView): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function floatBitsToBfloat(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40; // keep a NaN a NaN
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

function halfToFloatBits(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >>> 10) & 0x1f;
  let mantissa = half & 0x3ff;
  if (exponent === 0x1f) return sign | 0x7f800000 | (mantissa << 13);
  if (exponent !== 0) return sign | ((exponent + 112) << 23) | (mantissa << 13);
  if (mantissa === 0) return sign;
  let shift = 0;
  while ((mantissa & 0x400) === 0) {
    mantissa <<= 1;
    shift++;
  }
  return sign | ((113 - shift) << 23) | ((mantissa & 0x3ff) << 13);
}

function floatBitsToHalf(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // rounds past 65504
  if (magnitude >= 0x38800000) {
    const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
    return sign | ((rounded - 0x38000000) >>> 13);
  }
  if (magnitude < 0x33000000) return sign; // below half of the smallest subnormal
  const exponent = magnitude >>> 23;
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const shift = 126 - exponent;
  const kept = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (kept + (rest > half || (rest === half && (kept & 1) === 1) ? 1 : 0));
}
