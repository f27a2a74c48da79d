// The mean of a float32 vector, with the same rounding as torch's reduction on the CPU (ATen/native/cpu/SumKernel.cpp:
// 8 lanes, four accumulators, cascaded partial sums). The offset of double quantization is such a mean. It is stored
// and it changes codes, so another order of additions would give other bytes than bitsandbytes.

/** Floats in one vector. A shorter input is summed without vectors. */
const LANES = 8;
const ACCUMULATORS = 4;
const LEVELS = 4;

/**
 * The mean in fp32 of a vector that is not empty, in the order of one thread. torch splits inputs above 32,768 values.
 */
export function torchMean(values: Float32Array): number {
  const lanes = values.length < LANES ? 1 : LANES;
  const vectorEnd = values.length - (values.length % lanes);
  const sum = new Float32Array(1);
  addRows(sum, values.subarray(vectorEnd));
  addRows(sum, laneSums(values.subarray(0, vectorEnd), lanes));
  return Math.fround(sum[0]! / values.length);
}

/** The column sums of a matrix [n, lanes]. Rows are dealt to four accumulators; the rest goes to the first one. */
function laneSums(values: Float32Array, lanes: number): Float32Array {
  const width = ACCUMULATORS * lanes;
  const end = values.length - (values.length % width);
  const partial = cascadeSum(values.subarray(0, end), width);
  const sums = partial.subarray(0, lanes);
  addRows(sums, values.subarray(end));
  addRows(sums, partial.subarray(lanes));
  return sums;
}

/** The column sums of a matrix [n, width], by a cascade of partial sums, which keeps the rounding error small. */
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
