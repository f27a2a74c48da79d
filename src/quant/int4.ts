// Converts weights to the layout of ONNX Runtime's 4-bit matmul (MatMulNBits with 4 bits, block size 32): sixteen evenly spaced
// levels between the bounds of each block. Blocks run along a row. Pure: arrays in, arrays out.
import { assert } from '../common/assert.ts';

/** The number of weights that share a scale and a zero point. */
const INT4_BLOCK = 32;

/** A matrix in 4 bits: weight = (code - zero point) * scale. */
export interface Int4Blocks {
  /** [rows, cols / 32, 16]: two codes per byte, the first in the low nibble. */
  readonly data: Uint8Array;
  /** [rows * cols / 32] */
  readonly scales: Float32Array;
  /** [rows, ceil(cols / 64)]: two zero points per byte, the first in the low nibble. */
  readonly zeroPoints: Uint8Array;
}

const LARGEST_CODE = 15;
/** The shares of a block's range to try. Cutting off the ends makes the steps between them smaller. */
const RANGES = [1, 0.94, 0.88, 0.82];

/**
 * Rounds values [rows, cols] to the levels with the smallest squared error among the tried ones. Asserts that cols is a
 * multiple of 32. Zero is always a level, so a block of zeros stays zero.
 */
export function quantizeInt4(values: Float32Array, rows: number, cols: number): Int4Blocks {
  assert(values.length === rows * cols, 'quantizeInt4: rows * cols values');
  assert(cols % INT4_BLOCK === 0, `rows of ${cols} are not whole blocks of ${INT4_BLOCK}`);
  const blocksPerRow = cols / INT4_BLOCK;
  const zeroBytes = Math.ceil(blocksPerRow / 2);
  const data = new Uint8Array((rows * cols) / 2);
  const scales = new Float32Array(rows * blocksPerRow);
  const zeroPoints = new Uint8Array(rows * zeroBytes);
  for (let block = 0; block < scales.length; block++) {
    const start = block * INT4_BLOCK;
    const levels = chooseLevels(values, start);
    packBlock(data, values, { start, ...levels });
    scales[block] = levels.scale;
    const [row, i] = [Math.floor(block / blocksPerRow), block % blocksPerRow];
    zeroPoints[row * zeroBytes + (i >> 1)]! |= levels.zeroPoint << (4 * (i & 1));
  }
  return { data, scales, zeroPoints };
}

interface Levels {
  readonly scale: number;
  readonly zeroPoint: number;
}

function chooseLevels(values: Float32Array, start: number): Levels {
  let low = 0;
  let high = 0;
  for (let i = start; i < start + INT4_BLOCK; i++) {
    const value = values[i]!;
    if (value < low) low = value;
    else if (value > high) high = value;
  }
  if (low === high) return { scale: 0, zeroPoint: 0 };
  let best = { scale: 0, zeroPoint: 0 };
  let smallest = Number.POSITIVE_INFINITY;
  for (const range of RANGES) {
    const scale = Math.fround((range * (high - low)) / LARGEST_CODE);
    const zeroPoint = Math.round((-range * low) / scale);
    const error = squaredError(values, start, scale, zeroPoint);
    if (error < smallest) {
      smallest = error;
      best = { scale, zeroPoint };
    }
  }
  return best;
}

function squaredError(
  values: Float32Array,
  start: number,
  scale: number,
  zeroPoint: number,
): number {
  const inverse = 1 / scale;
  let sum = 0;
  for (let i = start; i < start + INT4_BLOCK; i++) {
    const value = values[i]!;
    const difference = value - (code(value * inverse, zeroPoint) - zeroPoint) * scale;
    sum += difference * difference;
  }
  return sum;
}

function packBlock(
  data: Uint8Array,
  values: Float32Array,
  { start, scale, zeroPoint }: Levels & { start: number },
): void {
  const inverse = scale > 0 ? 1 / scale : 0;
  for (let i = start; i < start + INT4_BLOCK; i += 2) {
    const first = code(values[i]! * inverse, zeroPoint);
    data[i >> 1] = first | (code(values[i + 1]! * inverse, zeroPoint) << 4);
  }
}

/** Rounds half up, which is a single instruction for a positive number. */
function code(scaled: number, zeroPoint: number): number {
  const rounded = scaled + zeroPoint + 0.5;
  return rounded < 0 ? 0 : rounded >= LARGEST_CODE ? LARGEST_CODE : rounded | 0;
}
