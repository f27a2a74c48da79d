// Converts weights to the layout of ONNX Runtime's 4-bit matmul (MatMulNBits with 4 bits, block size 32): sixteen evenly spaced
// levels between the bounds of each block. Blocks run along a row. Pure: arrays in, arrays out.
import { assert } from '../common/assert.ts';
import { NF4_BLOCK, NF4_CODEBOOK } from './nf4.ts';

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
  return fillBlocks(rows, cols, (block, data) => {
    const start = block * INT4_BLOCK;
    const levels = chooseLevels(values, start);
    packBlock(data, values, { start, ...levels });
    return levels;
  });
}

/** Calls `fill` for each block. It writes the block's codes and returns its levels. */
function fillBlocks(
  rows: number,
  cols: number,
  fill: (block: number, data: Uint8Array) => Levels,
): Int4Blocks {
  assert(cols % INT4_BLOCK === 0, `rows of ${cols} are not whole blocks of ${INT4_BLOCK}`);
  const blocksPerRow = cols / INT4_BLOCK;
  const zeroBytes = Math.ceil(blocksPerRow / 2);
  const data = new Uint8Array((rows * cols) / 2);
  const scales = new Float32Array(rows * blocksPerRow);
  const zeroPoints = new Uint8Array(rows * zeroBytes);
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < blocksPerRow; i++) {
      const block = row * blocksPerRow + i;
      const { scale, zeroPoint } = fill(block, data);
      scales[block] = scale;
      zeroPoints[row * zeroBytes + (i >> 1)]! |= zeroPoint << (4 * (i & 1));
    }
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

/** One way to round the NF4 codes of a block, for an absmax of 1. */
interface CodeLevels extends Levels {
  /** By NF4 code. */
  readonly squaredErrors: Float64Array;
  /** The two 4-bit codes for each byte of two NF4 codes. */
  readonly bytes: Uint8Array;
}

/** Offsets to try for the zero point, relative to the one that fits both bounds. */
const ZERO_SHIFTS = [-1, 0, 1];

/** The ways to try, by smallest and largest code: `16 * smallest + largest`. */
const levelsOfRange: (readonly CodeLevels[] | undefined)[] = [];

/**
 * Converts NF4 [rows, cols] without computing its values. A block has at most sixteen different values, so counting them is
 * enough. Asserts that cols is a multiple of 32.
 */
export function repackInt4(
  packed: Uint8Array,
  absmax: Float32Array,
  rows: number,
  cols: number,
): Int4Blocks {
  assert(packed.length * 2 === rows * cols, 'repackInt4: two codes per byte');
  return fillBlocks(rows, cols, (block, data) => {
    const start = (block * INT4_BLOCK) / 2;
    const { scale, zeroPoint, bytes } = chooseCodeLevels(packed, start);
    for (let i = start; i < start + INT4_BLOCK / 2; i++) data[i] = bytes[packed[i]!]!;
    // An NF4 block is two of these, even if it spans two rows.
    return { scale: scale * absmax[Math.floor((block * INT4_BLOCK) / NF4_BLOCK)]!, zeroPoint };
  });
}

const counts = new Int32Array(16);

function chooseCodeLevels(packed: Uint8Array, start: number): CodeLevels {
  counts.fill(0);
  for (let i = start; i < start + INT4_BLOCK / 2; i++) {
    const byte = packed[i]!;
    counts[byte >> 4]!++;
    counts[byte & 15]!++;
  }
  let smallest = 0;
  while (counts[smallest] === 0) smallest++;
  let largest = 15;
  while (counts[largest] === 0) largest--;
  const index = 16 * smallest + largest;
  levelsOfRange[index] ??= listCodeLevels(smallest, largest);
  const candidates = levelsOfRange[index];
  let best = candidates[0]!;
  let leastError = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const { squaredErrors } = candidate;
    let error = 0;
    for (let nf4 = smallest; nf4 <= largest; nf4++) {
      error += counts[nf4]! * squaredErrors[nf4]!;
    }
    if (error < leastError) {
      leastError = error;
      best = candidate;
    }
  }
  return best;
}

function listCodeLevels(smallest: number, largest: number): CodeLevels[] {
  const low = Math.min(0, NF4_CODEBOOK[smallest]!);
  const high = Math.max(0, NF4_CODEBOOK[largest]!);
  if (low === high) return [toCodeLevels({ scale: 0, zeroPoint: 0 })];
  return RANGES.flatMap((range) => {
    const scale = (range * (high - low)) / LARGEST_CODE;
    const middle = Math.round((-range * low) / scale);
    const zeroPoints = ZERO_SHIFTS.map((shift) => middle + shift).filter(
      (zeroPoint) => zeroPoint >= 0 && zeroPoint <= LARGEST_CODE,
    );
    return zeroPoints.map((zeroPoint) => toCodeLevels({ scale, zeroPoint }));
  });
}

function toCodeLevels({ scale, zeroPoint }: Levels): CodeLevels {
  const inverse = scale > 0 ? 1 / scale : 0;
  const codes = Array.from(NF4_CODEBOOK, (value) => code(value * inverse, zeroPoint));
  const squaredErrors = Float64Array.from(
    NF4_CODEBOOK,
    (value, nf4) => ((codes[nf4]! - zeroPoint) * scale - value) ** 2,
  );
  const bytes = Uint8Array.from(
    { length: 256 },
    (_, byte) => codes[byte >> 4]! | (codes[byte & 15]! << 4),
  );
  return { scale, zeroPoint, squaredErrors, bytes };
}
