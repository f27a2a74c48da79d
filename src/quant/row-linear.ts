// Computes a linear in per-token form, with as many float inputs as it takes to be precise. Pure: arrays in, arrays out.
import { LARGEST_LEVEL, quantizeRowInt8, type RowInt8, type RowPacking } from './row-int8.ts';
import { type LinearInputs, type SmoothedLinear, smoothLinear } from './smoothing.ts';

/** SmolLM2-135M's linears have 0.006 to 0.027. */
const MAX_ERROR = 0.1;
/** About as many outputs, evenly spaced, show the error of all. */
const MEASURED_OUTPUTS = 32;

/** A linear in per-token form, see `RowInt8` and `SmoothedLinear`. */
export type RowInt8Linear = RowInt8 & Omit<SmoothedLinear, 'matrices'>;

/** How a linear is rounded. */
interface RowLinearOptions {
  /** The smallest number of float inputs. */
  readonly floats: number;
  /** The number of groups of inputs that are rounded with separate scales. */
  readonly groups: number;
  readonly packing: RowPacking;
}

/**
 * Smooths and rounds matrices [out, in], stacked along their outputs. Doubles the number of float inputs until the products with
 * the samples are precise.
 * @param readMatrices returns new copies
 */
export function quantizeRowLinear(
  readMatrices: () => readonly Float32Array[],
  { maxima, samples }: LinearInputs,
  { floats, groups, packing }: RowLinearOptions,
): RowInt8Linear {
  for (let count = floats; ; count *= 2) {
    const { matrices, ...smoothed } = smoothLinear(readMatrices(), maxima, count);
    const linear = { ...smoothed, ...quantizeRowInt8(matrices, maxima.length, packing) };
    const rows = samples.map((x) => roundedRow(x, linear.factors, groups));
    if (count >= maxima.length || meanError(linear, matrices, rows) <= MAX_ERROR) return linear;
  }
}

/** A row of inputs, smoothed, and as the codes' values. */
interface RoundedRow {
  readonly x: Float32Array;
  readonly smooth: Float32Array;
  readonly rounded: Float32Array;
}

function roundedRow(x: Float32Array, factors: Float32Array, groups: number): RoundedRow {
  const smooth = x.map((value, i) => value * factors[i]!);
  const rounded = smooth.slice();
  const width = x.length / groups;
  for (let start = 0; start < x.length; start += width) {
    const group = rounded.subarray(start, start + width);
    const step = group.reduce((max, value) => Math.max(max, Math.abs(value)), 0) / LARGEST_LEVEL;
    for (let i = 0; i < width; i++) group[i] = step && Math.round(group[i]! / step) * step;
  }
  return { x, smooth, rounded };
}

/** Returns the error of the rows' products relative to the exact ones, averaged over the rows. */
function meanError(
  { scales, floatInputs, floatValues }: RowInt8Linear,
  smoothed: readonly Float32Array[],
  rows: readonly RoundedRow[],
): number {
  const outputs = scales.length;
  const step = Math.ceil(outputs / MEASURED_OUTPUTS);
  const errors = rows.map(({ x, smooth, rounded }) => {
    let [error, whole, first] = [0, 0, 0];
    for (const matrix of smoothed) {
      for (let start = 0; start < matrix.length; start += step * x.length) {
        const output = first + start / x.length;
        const scale = scales[output]!;
        let [exact, sum] = [0, 0];
        for (let i = 0; i < x.length; i++) {
          exact += smooth[i]! * matrix[start + i]!;
          sum += rounded[i]! * (scale && Math.round(matrix[start + i]! / scale));
        }
        error += (sum * scale - exact) ** 2;
        for (const [k, input] of floatInputs.entries())
          exact += x[Number(input)]! * floatValues[k * outputs + output]!;
        whole += exact ** 2;
      }
      first += matrix.length / x.length;
    }
    return Math.sqrt(error / (whole || 1));
  });
  return errors.reduce((sum, error) => sum + error, 0) / rows.length;
}
