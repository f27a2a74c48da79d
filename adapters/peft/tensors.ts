// Takes tensors out of an adapter's file by name, and checks their shapes and values.
import { type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import { ADAPTER_LIMITS, parseSafetensors } from '../../src/formats/safetensors.ts';
import { invalidAdapter, MAX_WEIGHT, nonFinite, toInvalidAdapter } from './refusal.ts';

/** The tensors of a file by name. */
export type Tensors = ReadonlyMap<string, Tensor>;

/** Parses the tensors of an adapter. Throws `ServeError` (422) with the tensor or `header` as `param`. */
export function parseTensors(bytes: Uint8Array): Tensors {
  try {
    return parseSafetensors(bytes, ADAPTER_LIMITS).tensors;
  } catch (error) {
    throw toInvalidAdapter(error);
  }
}

/** Returns a tensor of this shape. Throws `ServeError` (422) if it is missing or its shape differs. */
export function expectTensor(tensors: Tensors, key: string, shape: readonly number[]): Tensor {
  const tensor = tensors.get(key);
  if (!tensor) throw invalidAdapter(key, 'is missing');
  if (tensor.shape.join() === shape.join()) return tensor;
  throw invalidAdapter(key, `shape [${tensor.shape}], expected [${shape}]`);
}

/**
 * Returns the values of a tensor of this shape. Throws `ServeError` (422) if it is missing, its shape differs, or a value is
 * NaN or too large.
 */
export function expectValues(
  tensors: Tensors,
  key: string,
  shape: readonly number[],
): Float32Array {
  return checkedValues(key, expectTensor(tensors, key, shape));
}

/** Returns the values of a tensor. Throws `ServeError` (422) if one is NaN or too large. */
export function checkedValues(key: string, tensor: Tensor): Float32Array {
  const values = toFloat32(tensor);
  for (const value of values) if (!(Math.abs(value) <= MAX_WEIGHT)) throw nonFinite(key, value); // NaN fails too
  return values;
}
