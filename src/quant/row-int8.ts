// The per-token form of int8 weights: one scale per output, for activations that have one scale per token row. Sums of integers
// are exact, so a row's product does not depend on other rows. Pure: arrays in, arrays out.
import { assert } from '../common/assert.ts';
import { largestMagnitude } from './nf4.ts';

/**
 * The order of the weights. `plain`: for the runtime's product (MatMulIntegerToFloat), one matrix for each group of inputs.
 * `packed`: for our own operator, which takes all groups at once.
 */
export type RowPacking = 'plain' | 'packed';

/** A matrix [out, in] in per-token form: weight = (code - 128) * scale. */
export interface RowInt8 {
  /** Codes from 1 to 255. Plain: [in, out]. Packed: [ceil(out / 16), in / 4, 16, 4]; missing outputs are zeros, which is code 128. */
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
 * gets an infinite scale, which makes its products non-finite. To be packed, `inFeatures` is a multiple of 4.
 */
export function quantizeRowInt8(
  matrices: readonly Float32Array[],
  inFeatures: number,
  packing: RowPacking = 'plain',
): RowInt8 {
  const width = matrices.reduce((sum, values) => sum + values.length / inFeatures, 0);
  assert(Number.isInteger(width), `quantizeRowInt8: rows of ${inFeatures} values`);
  const isPacked = packing === 'packed';
  const blocks = Math.ceil(width / PACKED_BLOCK.outputs);
  const stored = isPacked ? blocks * PACKED_BLOCK.outputs : width;
  const data = new Uint8Array(inFeatures * stored);
  if (stored > width) data.fill(ZERO_POINT, inFeatures * (stored - PACKED_BLOCK.outputs));
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
    const round = isPacked ? packRounded : transposeRounded;
    round(values, inverses, { data, width, first, inFeatures });
    first += rows;
  }
  return { data, scales };
}

/** The outputs, of `width`, that a matrix fills from `first` on. */
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

function packRounded(
  values: Float32Array,
  inverses: Float64Array,
  { data, first, inFeatures }: Destination,
): void {
  const quads = new Uint32Array(data.buffer);
  const { outputs, inputs } = PACKED_BLOCK; // the codes of four inputs are one number
  const bias = ZERO_POINT + 0.5; // as above
  for (let row = 0; row < inverses.length; row++) {
    const inverse = inverses[row]!;
    const end = (row + 1) * inFeatures;
    const within = (first + row) % outputs;
    let to = ((first + row - within) * inFeatures) / inputs + within;
    for (let i = row * inFeatures; i < end; i += inputs) {
      quads[to] =
        (values[i]! * inverse + bias) |
        0 |
        (((values[i + 1]! * inverse + bias) | 0) << 8) |
        (((values[i + 2]! * inverse + bias) | 0) << 16) |
        (((values[i + 3]! * inverse + bias) | 0) << 24);
      to += outputs;
    }
  }
}
