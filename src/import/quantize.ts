// Views of a checkpoint's tensors with the linears of the decoder blocks packed as NF4, unchanged, or expanded. All other
// tensors keep their dtype and bits. One tensor is in memory at a time. Scales are computed when the view is created, because a
// file's header needs their lengths; codes are computed when read.
import { FileError } from '../common/errors.ts';
import {
  DTYPE_BYTES,
  decodeFloats,
  elementCount,
  fromFloat32,
  type Tensor,
  type TensorInfo,
  type TensorSource,
} from '../common/tensor.ts';
import type { WritableTensors } from '../formats/safetensors.ts';
import { doubleQuantize } from '../quant/double-quant.ts';
import { blockAbsmax, dequantizeNf4, NF4_BLOCK, packNf4 } from '../quant/nf4.ts';
import {
  companionNames,
  isNf4,
  nf4Companions,
  nf4Shape,
  packedInfo,
  readNf4,
} from './bitsandbytes.ts';
import { isLinearWeight } from './checkpoint.ts';

/** Options of `quantizedView`. */
interface QuantizeOptions {
  readonly doubleQuantization: boolean;
  /** Called with the size of each linear after it is read. Reports progress, or throws to stop. */
  readonly onLinear: (byteLength: number) => Promise<void>;
}

/** Returns a view of the tensors `names` with packed linears. Throws `FileError` for non-finite values. */
export async function quantizedView(
  source: TensorSource,
  names: Iterable<string>,
  { doubleQuantization, onLinear }: QuantizeOptions,
): Promise<WritableTensors> {
  const infos = new Map<string, TensorInfo>();
  const companions = new Map<string, Tensor>();
  const toPack = new Set<string>();
  for (const name of names) {
    const info = source.infos.get(name)!;
    infos.set(name, info);
    if (!isLinearWeight(name)) continue;
    const tensor = source.read(name);
    await onLinear(tensor.data.length);
    const absmax = finiteAbsmax(name, tensor);
    const scales = doubleQuantization ? doubleQuantize(absmax) : absmax;
    infos.set(name, packedInfo(info.shape));
    toPack.add(name);
    for (const [key, companion] of nf4Companions(name, info, scales)) {
      infos.set(key, companion);
      companions.set(key, companion);
    }
  }
  return {
    infos,
    read(name) {
      const companion = companions.get(name);
      if (companion) return companion;
      const tensor = source.read(name);
      if (!toPack.has(name)) return tensor;
      return { ...packedInfo(tensor.shape), data: packTensor(tensor) };
    },
  };
}

/** Returns an unchanged view of the tensors `names` of a checkpoint that is already packed. */
export function keptView(source: TensorSource, names: Iterable<string>): WritableTensors {
  const infos = new Map<string, TensorInfo>();
  for (const name of names) {
    for (const key of [name, ...companionNames(source, name)]) {
      infos.set(key, source.infos.get(key)!);
    }
  }
  return { infos, read: (name) => source.read(name) };
}

/** Returns a view of the tensors `names` with packed linears expanded to fp32, without loss. */
export function denseView(source: TensorSource, names: Iterable<string>): WritableTensors {
  const infos = new Map<string, TensorInfo>();
  for (const name of names) {
    const isPacked = isLinearWeight(name) && isNf4(source, name);
    const info = source.infos.get(name)!;
    infos.set(name, isPacked ? { dtype: 'F32', shape: nf4Shape(source, name) } : info);
  }
  return {
    infos,
    read(name) {
      if (!isLinearWeight(name) || !isNf4(source, name)) return source.read(name);
      const { packed, absmax, rows, cols } = readNf4(source, name);
      return fromFloat32(dequantizeNf4(packed, absmax, rows * cols), [rows, cols], 'F32');
    },
  };
}

/** The number of weights in memory as float32 at a time. A multiple of the quantization block. */
const PIECE_WEIGHTS = 2 ** 20;

/** Yields a tensor's weights piece by piece, reusing the same memory. */
function* piecesOf({ dtype, shape, data }: Tensor): Generator<[start: number, Float32Array]> {
  const count = elementCount(shape);
  const bytes = DTYPE_BYTES[dtype];
  const values = new Float32Array(Math.min(PIECE_WEIGHTS, count));
  for (let start = 0; start < count; start += PIECE_WEIGHTS) {
    const length = Math.min(PIECE_WEIGHTS, count - start);
    const piece = data.subarray(start * bytes, (start + length) * bytes);
    decodeFloats({ dtype, shape: [length], data: piece }, values);
    yield [start, values.subarray(0, length)];
  }
}

function packTensor(tensor: Tensor): Uint8Array {
  const packed = new Uint8Array(Math.ceil(elementCount(tensor.shape) / 2));
  for (const [start, values] of piecesOf(tensor)) {
    packed.set(packNf4(values, blockAbsmax(values)), start / 2);
  }
  return packed;
}

/** Returns the largest magnitude of each block of a float tensor. Throws `FileError` if a value is not finite. */
export function finiteAbsmax(name: string, tensor: Tensor): Float32Array {
  const absmax = new Float32Array(Math.ceil(elementCount(tensor.shape) / NF4_BLOCK));
  for (const [start, values] of piecesOf(tensor)) {
    absmax.set(blockAbsmax(values), start / NF4_BLOCK);
  }
  if (absmax.includes(Number.POSITIVE_INFINITY)) {
    throw new FileError(
      name,
      'contains a value that is not finite, so the checkpoint is damaged. Download it again',
    );
  }
  return absmax;
}
