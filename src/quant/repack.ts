// Weights as the runtime's 8-bit matmul wants them (ONNX Runtime's MatMulNBits, bits 8, block 64, zero point 128):
// blocks run along a row, so rows must be whole blocks. NF4 codes become the nearest of 256 levels; the scale at which
// the codebook rounds best costs 0.006 nats of WikiText-2 NLL. It knows no graph and no files.
import { assert } from '../common/assert.ts';
import { blockAbsmax, NF4_BLOCK, NF4_CODEBOOK } from './nf4.ts';

export interface Int8Blocks {
  /** [rows, cols / 64, 64], zero point 128. */
  readonly data: Uint8Array;
  /** [rows * cols / 64]: weight = (data - 128) * scale. */
  readonly scales: Float32Array;
}

const INT8_ZERO_POINT = 128;

/** Levels per unit of the codebook: the scale with the least squared rounding error of its 16 values. */
const CODEBOOK_LEVELS = 112.03;
const LARGEST_LEVEL = 127;

const LEVEL_OF_CODE = Uint8Array.from(
  NF4_CODEBOOK,
  (value) => Math.round(value * CODEBOOK_LEVELS) + INT8_ZERO_POINT,
);

/** A packed byte → its two levels, as one little-endian 16-bit store. */
const LEVELS_OF_BYTE = Uint16Array.from(
  { length: 256 },
  (_, byte) => LEVEL_OF_CODE[byte >> 4]! | (LEVEL_OF_CODE[byte & 15]! << 8),
);

/** Expands NF4 [rows, cols]; cols must be a multiple of 64, else flat blocks straddle rows. */
export function repackInt8(
  packed: Uint8Array,
  absmax: Float32Array,
  rows: number,
  cols: number,
): Int8Blocks {
  assertWholeBlocks(cols);
  assert(packed.length * 2 === rows * cols, 'repackInt8: two codes a byte');
  assert(absmax.length * NF4_BLOCK === rows * cols, 'repackInt8: one absmax a block');
  const levels = new Uint16Array(packed.length);
  for (let i = 0; i < levels.length; i++) levels[i] = LEVELS_OF_BYTE[packed[i]!]!;
  const scales = absmax.map((value) => value / CODEBOOK_LEVELS);
  return { data: new Uint8Array(levels.buffer), scales };
}

/** Rounds values [rows, cols] symmetrically to 255 levels a block, for the head and the embedding. */
export function quantizeInt8Rows(values: Float32Array, rows: number, cols: number): Int8Blocks {
  assertWholeBlocks(cols);
  assert(values.length === rows * cols, 'quantizeInt8Rows: rows of cols values');
  const absmax = blockAbsmax(values);
  const data = new Uint8Array(values.length);
  for (let block = 0; block < absmax.length; block++) {
    const inverse = absmax[block]! > 0 ? LARGEST_LEVEL / absmax[block]! : 0;
    const start = block * NF4_BLOCK;
    for (let i = start; i < start + NF4_BLOCK; i++) {
      data[i] = Math.round(values[i]! * inverse) + INT8_ZERO_POINT;
    }
  }
  return { data, scales: absmax.map((value) => value / LARGEST_LEVEL) };
}

function assertWholeBlocks(cols: number): void {
  assert(cols % NF4_BLOCK === 0, `rows of ${cols} are not whole blocks of ${NF4_BLOCK}`);
}
