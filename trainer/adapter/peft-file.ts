// Converts a trained adapter to PEFT's file and back. As in peft, a PiSSA adapter becomes a plain one of twice the rank, from
// the trained factors and the initial ones: W + s (B A - B₀ A₀) = W + s [B | -B₀] [A ; A₀].
import { assert } from '../../src/common/assert.ts';
import { type FloatDType, fromFloat32, type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import type { PeftSettings } from '../job/peft-settings.ts';
import type { Parameter } from '../types.ts';

/** The fields of a parameter that decide how it is stored. */
export type StoredParameter = Pick<Parameter, 'name' | 'shape' | 'data' | 'neutral' | 'startedAs'>;

/** Returns a parameter's tensor for the file. Values are rounded to nearest, ties to even. */
export function toStored(parameter: StoredParameter, dtype: FloatDType): Tensor {
  const { shape, data, neutral, startedAs } = parameter;
  if (!startedAs) return fromFloat32(data, shape, dtype);
  const [rows, cols] = shape as [number, number];
  const both = new Float32Array(2 * data.length);
  if (startedAs === 'a') {
    both.set(data);
    both.set(neutral!, data.length);
    return fromFloat32(both, [2 * rows, cols], dtype);
  }
  for (let row = 0; row < rows; row++) {
    const [from, to] = [row * cols, 2 * row * cols];
    both.set(data.subarray(from, from + cols), to);
    for (let i = 0; i < cols; i++) both[to + cols + i] = -neutral![from + i]!;
  }
  return fromFloat32(both, [rows, 2 * cols], dtype);
}

/** Reads a parameter back, together with its initial values. Inverse of `toStored`, except for rounding. */
export function fromStored(
  { name, shape, data, neutral, startedAs }: StoredParameter,
  tensor: Tensor,
) {
  const values = toFloat32(tensor);
  assert(values.length === (startedAs ? 2 : 1) * data.length, `${name} has another size`);
  if (!startedAs) return data.set(values);
  const [rows, cols] = shape as [number, number];
  if (startedAs === 'a') {
    data.set(values.subarray(0, data.length));
    neutral!.set(values.subarray(data.length));
    return;
  }
  for (let row = 0; row < rows; row++) {
    const [to, from] = [row * cols, 2 * row * cols];
    data.set(values.subarray(from, from + cols), to);
    for (let i = 0; i < cols; i++) neutral![to + i] = -values[from + cols + i]!;
  }
}

/** Returns the settings of the stored file. A doubled rank keeps its scaling. */
export function storedSettings(peft: PeftSettings): PeftSettings {
  if (peft.init_lora_weights === true) return peft;
  const factor = peft.use_rslora ? Math.SQRT2 : 2;
  return {
    ...peft,
    init_lora_weights: true,
    r: 2 * peft.r,
    lora_alpha: factor * peft.lora_alpha,
    rank_pattern: multiplied(peft.rank_pattern, 2),
    alpha_pattern: multiplied(peft.alpha_pattern, factor),
  };
}

function multiplied(values: Readonly<Record<string, number>>, factor: number) {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, factor * value]));
}
