// What an artifact holds of a checkpoint: a view of its tensors in which the linears of the decoder blocks are packed as
// NF4, stay as they are, or are expanded. Everything else keeps its dtype and bits. One tensor is in memory at a time: scales are computed when the
// view is made (a file's header needs their lengths), codes when they are read.
import { FileError } from '../common/errors.ts';
import {
  fromFloat32,
  type Tensor,
  type TensorInfo,
  type TensorSource,
  toFloat32,
} from '../common/tensor.ts';
import type { WritableTensors } from '../formats/safetensors.ts';
import { doubleQuantize } from '../quant/double-quant.ts';
import { blockAbsmax, dequantizeNf4, packNf4 } from '../quant/nf4.ts';
import {
  companionNames,
  isNf4,
  nf4Companions,
  nf4Shape,
  packedInfo,
  readNf4,
} from './bitsandbytes.ts';
import { isLinearWeight } from './checkpoint.ts';

export interface QuantizeOptions {
  readonly doubleQuantization: boolean;
  /** Called with the bytes of each linear once it is read: the place to report progress and to stop. */
  readonly onLinear: (byteLength: number) => Promise<void>;
}

/** The tensors `names` with the linears packed. */
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
    const absmax = finiteAbsmax(name, toFloat32(tensor));
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
      const values = toFloat32(tensor);
      return { ...packedInfo(tensor.shape), data: packNf4(values, blockAbsmax(values)) };
    },
  };
}

/** The tensors `names` of a checkpoint that is packed already, to the byte. */
export function keptView(source: TensorSource, names: Iterable<string>): WritableTensors {
  const infos = new Map<string, TensorInfo>();
  for (const name of names) {
    for (const kept of [name, ...companionNames(source, name)]) {
      infos.set(kept, source.infos.get(kept)!);
    }
  }
  return { infos, read: (name) => source.read(name) };
}

/** The tensors `names` with their own bits; a linear that is packed is expanded to fp32, which is exact. */
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

function finiteAbsmax(name: string, values: Float32Array): Float32Array {
  const absmax = blockAbsmax(values);
  if (absmax.includes(Number.POSITIVE_INFINITY)) {
    throw new FileError(name, 'holds a value that is not finite');
  }
  return absmax;
}
