// Prepares a linear for the per-token form of int8, based on its inputs. Smoothing (SmoothQuant, Xiao et al. 2022) divides each
// input by a factor and multiplies the weights by it. The inputs become similar in size, and one scale per token row suits them
// all. Inputs that still stand out stay floats. Pure: arrays in, arrays out.
import { assert } from '../common/assert.ts';

/** Splits a large input between activations and weights. With 1, the weights take all of it. */
const ALPHA = 0.6;
/** For inputs and weights that were zero throughout the calibration. */
const SMALLEST = 1e-5;

/** The inputs of a linear over a calibration text. */
export interface LinearInputs {
  /** [in]: the largest magnitudes. */
  readonly maxima: Float32Array;
  /** [in] each: the inputs of some tokens. */
  readonly samples: readonly Float32Array[];
}

/** A linear [out, in], prepared. x W = (x * factors) (smoothed) + x[floatInputs] floatValues. */
export interface SmoothedLinear {
  /** The matrices [out, in], smoothed in place. Columns of float inputs are zero. */
  readonly matrices: readonly Float32Array[];
  /** [in] */
  readonly factors: Float32Array;
  /** [count] */
  readonly floatInputs: BigInt64Array;
  /** [count, out] */
  readonly floatValues: Float32Array;
}

/**
 * Smooths matrices [out, in], stacked along their outputs, in place.
 * @param maxima [in]: the largest magnitude of each input over a calibration text
 * @param floatCount the number of inputs that stay floats
 */
export function smoothLinear(
  matrices: readonly Float32Array[],
  maxima: Float32Array,
  floatCount: number,
): SmoothedLinear {
  const width = maxima.length;
  const weights = columnMaxima(matrices, width);
  const multipliers = Float32Array.from(maxima, (max, i) => {
    return Math.max(max, SMALLEST) ** ALPHA / Math.max(weights[i]!, SMALLEST) ** (1 - ALPHA);
  });
  const factors = multipliers.map((multiplier) => 1 / multiplier);
  const indices = largestIndices(
    maxima.map((max, i) => max * factors[i]!),
    floatCount,
  );
  const floatValues = takeColumns(matrices, width, indices);
  for (const i of indices) {
    factors[i] = 0;
    multipliers[i] = 0;
  }
  for (const values of matrices) {
    for (let start = 0; start < values.length; start += width) {
      for (let i = 0; i < width; i++) values[start + i]! *= multipliers[i]!;
    }
  }
  return { matrices, factors, floatInputs: BigInt64Array.from(indices, BigInt), floatValues };
}

function columnMaxima(matrices: readonly Float32Array[], width: number): Float32Array {
  const maxima = new Float32Array(width);
  for (const values of matrices) {
    assert(values.length % width === 0, `rows of ${width} values`);
    for (let start = 0; start < values.length; start += width) {
      for (let i = 0; i < width; i++) {
        const magnitude = Math.abs(values[start + i]!);
        if (magnitude > maxima[i]!) maxima[i] = magnitude;
      }
    }
  }
  return maxima;
}

/** Returns the indices of the largest values, in ascending order. */
function largestIndices(values: Float32Array, count: number): number[] {
  const order = Array.from(values.keys()).sort((a, b) => values[b]! - values[a]!);
  return order.slice(0, count).sort((a, b) => a - b);
}

/** Returns columns of stacked matrices [out, in], as [count, out]. */
function takeColumns(
  matrices: readonly Float32Array[],
  width: number,
  indices: readonly number[],
): Float32Array {
  const outputs = matrices.reduce((sum, values) => sum + values.length, 0) / width;
  const taken = new Float32Array(indices.length * outputs);
  let at = 0;
  for (const i of indices) {
    for (const values of matrices)
      for (let from = i; from < values.length; from += width) taken[at++] = values[from]!;
  }
  return taken;
}
