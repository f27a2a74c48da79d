// Double quantization: stores the absmax values of NF4 blocks, minus their mean, in 8 bits with one scale per 256 values. The
// bytes equal bitsandbytes' output. In total this takes 4.127 bits per weight instead of 4.5.
import { assert } from '../common/assert.ts';

/** The number of absmax values per scale. */
export const NESTED_BLOCK = 256;

/** Quantized absmax values of one matrix. */
export interface NestedAbsmax {
  /** [blocks]: indices into the dynamic map. */
  readonly codes: Uint8Array;
  /** [ceil(blocks / 256)]: the scales. */
  readonly nestedAbsmax: Float32Array;
  /** The mean of all absmax values, in fp32. */
  readonly offset: number;
}

/**
 * The signed 8-bit dynamic map in ascending order (arXiv 1511.04561): for each exponent i, 2^i values in [10^(i-7),
 * 10^(i-6)] of both signs, and also 0 and 1.
 */
export const DYNAMIC_MAP = createDynamicMap();

/** Quantizes the absmax [blocks] of one matrix. */
export function doubleQuantize(absmax: Float32Array): NestedAbsmax {
  const offset = torchMean(absmax);
  const codes = new Uint8Array(absmax.length);
  const nestedAbsmax = new Float32Array(Math.ceil(absmax.length / NESTED_BLOCK));
  const centred = absmax.map((value) => value - offset);
  for (let block = 0; block < nestedAbsmax.length; block++) {
    const start = block * NESTED_BLOCK;
    const values = centred.subarray(start, start + NESTED_BLOCK);
    const largest = values.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
    nestedAbsmax[block] = largest;
    if (largest === 0) continue; // all are equal: bitsandbytes leaves code 0 with the scale 0
    const inverse = Math.fround(1 / largest);
    for (let i = 0; i < values.length; i++) {
      codes[start + i] = dynamicCode(Math.fround(values[i]! * inverse));
    }
  }
  return { codes, nestedAbsmax, offset };
}

/** Restores the absmax [blocks] in fp32. `map` is the checkpoint's map, if it has one. */
export function restoreAbsmax(nested: NestedAbsmax, map: Float32Array = DYNAMIC_MAP): Float32Array {
  const { codes, nestedAbsmax, offset } = nested;
  const blockCount = Math.ceil(codes.length / NESTED_BLOCK);
  assert(nestedAbsmax.length === blockCount, 'restoreAbsmax: one scale per 256 blocks');
  const absmax = new Float32Array(codes.length);
  for (let i = 0; i < codes.length; i++) {
    const scale = nestedAbsmax[Math.floor(i / NESTED_BLOCK)]!;
    absmax[i] = Math.fround(map[codes[i]!]! * scale) + offset;
  }
  return absmax;
}

/**
 * Returns the code of a value in [-1, 1]. bitsandbytes looks it up in a table of 65,536 cells, so the result is the code
 * nearest to the middle of the value's cell. Near the midpoint of two codes, this is not always the code nearest to the value.
 */
function dynamicCode(value: number): number {
  const position = Math.fround(Math.fround(value + 1) * HALF_CELLS);
  const cell = Math.min(2 * HALF_CELLS, Math.floor(Math.fround(position + 0.5)));
  return nearestCode(cell / HALF_CELLS - 1);
}

const HALF_CELLS = 32_767.5;

/** There are no ties: the middle of a cell is never equally near to two codes. */
function nearestCode(value: number): number {
  let low = 0;
  let high = DYNAMIC_MAP.length - 1;
  while (low + 1 < high) {
    const middle = (low + high) >> 1;
    if (DYNAMIC_MAP[middle]! <= value) low = middle;
    else high = middle;
  }
  return DYNAMIC_MAP[high]! - value < value - DYNAMIC_MAP[low]! ? high : low;
}

function createDynamicMap(): Float32Array {
  const values = [0, 1];
  for (let exponent = 0; exponent < 7; exponent++) {
    const bounds = linspace(0.1, 1, 2 ** exponent + 1);
    const scale = Math.fround(10 ** (exponent - 6));
    for (let i = 0; i + 1 < bounds.length; i++) {
      const mean = Math.fround(bounds[i]! + bounds[i + 1]!) / 2;
      values.push(mean * scale, -mean * scale);
    }
  }
  return Float32Array.from(values).sort();
}

/** torch.linspace in fp32, with torch's fused multiply-add: the first half counts from the start, the second from the end. */
function linspace(start: number, end: number, count: number): Float32Array {
  const first = Math.fround(start);
  const step = Math.fround(Math.fround(end - first) / (count - 1));
  return Float32Array.from({ length: count }, (_, i) =>
    i < count >> 1 ? first + step * i : end - step * (count - 1 - i),
  );
}

// The mean of a float32 vector, rounded as in torch's reduction on the CPU (ATen/native/cpu/SumKernel.cpp: 8 lanes, four
// accumulators, cascaded partial sums). The offset of double quantization is such a mean. It is stored and affects codes, so
// another order of additions would produce other bytes than bitsandbytes.

/** Floats per vector. A shorter input is summed without vectors. */
const LANES = 8;
const ACCUMULATORS = 4;
const LEVELS = 4;

/** Returns the fp32 mean of a non-empty vector, in the order of a single thread. torch splits inputs above 32,768 values. */
export function torchMean(values: Float32Array): number {
  const lanes = values.length < LANES ? 1 : LANES;
  const vectorEnd = values.length - (values.length % lanes);
  const sum = new Float32Array(1);
  addRows(sum, values.subarray(vectorEnd));
  addRows(sum, laneSums(values.subarray(0, vectorEnd), lanes));
  return Math.fround(sum[0]! / values.length);
}

/** Returns the column sums of a matrix [n, lanes]. Rows are dealt to four accumulators; the remainder goes to the first. */
function laneSums(values: Float32Array, lanes: number): Float32Array {
  const width = ACCUMULATORS * lanes;
  const end = values.length - (values.length % width);
  const partial = cascadeSum(values.subarray(0, end), width);
  const sums = partial.subarray(0, lanes);
  addRows(sums, values.subarray(end));
  addRows(sums, partial.subarray(lanes));
  return sums;
}

/** Returns the column sums of a matrix [n, width] by a cascade of partial sums, which keeps the rounding error small. */
function cascadeSum(values: Float32Array, width: number): Float32Array {
  const rowCount = values.length / width;
  const levelPower = Math.max(4, Math.floor(ceilLog2(rowCount) / LEVELS));
  const step = 1 << levelPower;
  const levels = Array.from({ length: LEVELS }, () => new Float32Array(width));
  let row = 0;
  for (; row + step <= rowCount; row += step) {
    addRows(levels[0]!, values.subarray(row * width, (row + step) * width));
    for (let level = 1; level < LEVELS; level++) {
      addRows(levels[level]!, levels[level - 1]!);
      levels[level - 1]!.fill(0);
      if (((row + step) & ((step - 1) << (level * levelPower))) !== 0) break;
    }
  }
  addRows(levels[0]!, values.subarray(row * width));
  for (let level = 1; level < LEVELS; level++) addRows(levels[0]!, levels[level]!);
  return levels[0]!;
}

/** Adds the rows of a matrix [n, sums.length] to `sums`, one after the other. */
function addRows(sums: Float32Array, rows: Float32Array): void {
  for (let start = 0; start < rows.length; start += sums.length) {
    for (let i = 0; i < sums.length; i++) sums[i] = sums[i]! + rows[start + i]!;
  }
}

function ceilLog2(count: number): number {
  return count <= 2 ? 1 : Math.ceil(Math.log2(count));
}
