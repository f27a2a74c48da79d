// The per-token form of int8 weights: one scale per output, and the values transposed to [in, out], as ONNX Runtime's
// MatMulIntegerToFloat reads them. It multiplies activations that have one scale per token row. Sums of integers are exact, so
// a row's product does not depend on other rows. Pure: arrays in, arrays out.
import { assert } from '../common/assert.ts';
import { largestMagnitude } from './nf4.ts';

/** A matrix [out, in] in per-token form: weight[o][i] = (data[i * out + o] - 128) * scales[o]. */
export interface RowInt8 {
  /** [in, out], from 1 to 255 */
  readonly data: Uint8Array;
  /** [out] */
  readonly scales: Float32Array;
}

/** Outputs in a block of packed weights, and inputs of one output that lie next to each other (`native/kernels.h`). */
export const PACKED_BLOCK = { outputs: 16, inputs: 4 } as const;

/** Levels on each side of zero. */
export const LARGEST_LEVEL = 127;
/** The code of zero. */
export const ZERO_POINT = 128;
/** A tile is read along the inputs and written along the outputs. Both fit in the L1 cache. */
const TILE = 64;

/**
 * Rounds matrices [out, in] symmetrically per output, and stacks them along their outputs. An output with a non-finite value
 * gets an infinite scale, which makes its products non-finite.
 */
export function quantizeRowInt8(matrices: readonly Float32Array[], inFeatures: number): RowInt8 {
  const width = matrices.reduce((sum, values) => sum + values.length / inFeatures, 0);
  assert(Number.isInteger(width), `quantizeRowInt8: rows of ${inFeatures} values`);
  const data = new Uint8Array(inFeatures * width);
  const scales = new Float32Array(width);
  let first = 0;
  for (const values of matrices) {
    const rows = values.length / inFeatures;
    const inverses = new Float64Array(rows);
    for (let row = 0; row < rows; row++) {
      const largest = largestMagnitude(values, row * inFeatures, (row + 1) * inFeatures);
      scales[first + row] = largest / LARGEST_LEVEL;
      inverses[row] = largest > 0 ? LARGEST_LEVEL / largest : 0;
    }
    transposeRounded(values, inverses, { data, width, first, inFeatures });
    first += rows;
  }
  return { data, scales };
}

/**
 * Packs codes [in, out] for our own operator: [ceil(out / 16), in / 4, 16, 4]. Missing outputs are zeros. `inFeatures` is a
 * multiple of 4.
 */
export function packRowInt8(data: Uint8Array, inFeatures: number): Uint8Array {
  const { outputs, inputs } = PACKED_BLOCK;
  const width = data.length / inFeatures;
  const blockBytes = inFeatures * outputs;
  const packed = new Uint8Array(Math.ceil(width / outputs) * blockBytes).fill(ZERO_POINT);
  for (let first = 0; first < width; first += outputs) {
    const count = Math.min(outputs, width - first);
    const block = packed.subarray((first / outputs) * blockBytes);
    for (let i = 0; i < inFeatures; i++) {
      const to = (i - (i % inputs)) * outputs + (i % inputs);
      const from = i * width + first;
      for (let o = 0; o < count; o++) block[to + o * inputs] = data[from + o]!;
    }
  }
  return packed;
}

/** The columns of data [in, width] that a matrix fills, from `first` on. */
interface Destination {
  readonly data: Uint8Array;
  readonly width: number;
  readonly first: number;
  readonly inFeatures: number;
}

function transposeRounded(
  values: Float32Array,
  inverses: Float64Array,
  { data, width, first, inFeatures }: Destination,
): void {
  const tile = new Uint8Array(TILE * TILE);
  for (let row = 0; row < inverses.length; row += TILE) {
    const rows = Math.min(TILE, inverses.length - row);
    for (let col = 0; col < inFeatures; col += TILE) {
      const cols = Math.min(TILE, inFeatures - col);
      for (let r = 0; r < rows; r++) {
        const inverse = inverses[row + r]!;
        const start = (row + r) * inFeatures + col;
        for (let c = 0; c < cols; c++) {
          // All codes are positive, so truncation rounds to nearest.
          tile[r * TILE + c] = (values[start + c]! * inverse + (ZERO_POINT + 0.5)) | 0;
        }
      }
      for (let c = 0; c < cols; c++) {
        const start = (col + c) * width + first + row;
        for (let r = 0; r < rows; r++) data[start + r] = tile[r * TILE + c]!;
      }
    }
  }
}
