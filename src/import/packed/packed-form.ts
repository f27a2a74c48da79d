// The interface of the formats that store a linear's quantized weight in several tensors, and checked access to these tensors.
import { FileError } from '../../common/errors.ts';
import { type DType, type TensorInfo, type TensorSource, toFloat32 } from '../../common/tensor.ts';
import { checkShape } from '../checkpoint.ts';

/** The types that scales may have. */
export const SCALE_DTYPES = ['F32', 'F16', 'BF16'] as const;

/** A format for the quantized weight of a linear. `module` is the layer's name, such as `model.layers.0.mlp.up_proj`. */
export interface PackedForm {
  /** The end of a tensor name that every layer in this format has, and no other layer. */
  readonly marker: string;
  /** The ends of the names of all tensors that the weight replaces. */
  readonly parts: readonly string[];
  /** Returns [out, in]. Throws `FileError` naming the tensor at fault. */
  shape(source: TensorSource, module: string): readonly [number, number];
  /** Returns the weight [out, in] in float32. Throws `FileError` naming the tensor at fault. */
  read(source: TensorSource, module: string): Float32Array;
}

/** Returns the type and shape of a tensor that must have one of the types. Throws `FileError`. */
export function expectInfo(
  source: TensorSource,
  name: string,
  dtypes: readonly DType[],
): TensorInfo {
  const info = source.infos.get(name);
  if (!info) throw new FileError(name, 'is missing from the checkpoint');
  if (dtypes.includes(info.dtype)) return info;
  throw new FileError(name, `has dtype ${info.dtype} instead of ${dtypes.join(' or ')}`);
}

/** Returns the shape of a matrix that must have one of the types. Throws `FileError`. */
export function expectMatrix(
  source: TensorSource,
  name: string,
  dtypes: readonly DType[],
): readonly [number, number] {
  const [rows, cols, ...rest] = expectInfo(source, name, dtypes).shape;
  if (rows !== undefined && cols !== undefined && rest.length === 0) return [rows, cols];
  throw new FileError(name, 'is not a matrix');
}

/** Reads scales, which must be finite and match the shape, if given. Throws `FileError`. */
export function readScales(
  source: TensorSource,
  name: string,
  shape = expectInfo(source, name, SCALE_DTYPES).shape,
): Float32Array {
  checkShape(name, expectInfo(source, name, SCALE_DTYPES).shape, shape);
  const scales = toFloat32(source.read(name));
  if (scales.every(Number.isFinite)) return scales;
  throw new FileError(name, 'contains a value that is not finite');
}

/** Reads 32-bit integers as unsigned. Throws `FileError` if the shape differs. */
export function readWords(
  source: TensorSource,
  name: string,
  shape: readonly number[],
): Uint32Array {
  checkShape(name, expectInfo(source, name, ['I32']).shape, shape);
  const { data } = source.read(name);
  const { buffer, byteOffset, byteLength } =
    data.byteOffset % Uint32Array.BYTES_PER_ELEMENT === 0 ? data : new Uint8Array(data);
  return new Uint32Array(buffer, byteOffset, byteLength / Uint32Array.BYTES_PER_ELEMENT);
}
