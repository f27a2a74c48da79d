// The plain twin of src/quant/int4.ts: one block at a time, in arrays of numbers.
import type { Int4Blocks } from '../../src/quant/int4.ts';

const BLOCK = 32;
const RANGES = [1, 0.94, 0.88, 0.82];

interface PlainBlock {
  readonly values: number[];
  readonly error: number;
}

/** Rounds 32 values to sixteen even levels, of all ranges the one with the smallest squared error. */
export function plainBlock(values: readonly number[], ranges = RANGES): PlainBlock {
  const low = Math.min(0, ...values);
  const high = Math.max(0, ...values);
  if (low === high) return { values: values.map(() => 0), error: 0 };
  const candidates = ranges.map((range): PlainBlock => {
    const scale = Math.fround((range * (high - low)) / 15);
    const zero = Math.round((-range * low) / scale);
    const rounded = values.map((value) => {
      const code = Math.min(15, Math.max(0, Math.floor(value / scale + zero + 0.5)));
      return (code - zero) * scale;
    });
    return { values: rounded, error: squaredError(values, rounded) };
  });
  return candidates.reduce((best, one) => (one.error < best.error ? one : best));
}

/** The values [rows, cols] that the blocks stand for. */
export function plainExpand({ data, scales, zeroPoints }: Int4Blocks, cols: number): number[] {
  const blocks = cols / BLOCK;
  const nibble = (bytes: Uint8Array, i: number) =>
    (bytes[Math.floor(i / 2)]! >> (4 * (i % 2))) & 15;
  return Array.from({ length: data.length * 2 }, (_, i) => {
    const [row, col] = [Math.floor(i / cols), i % cols];
    const block = Math.floor(col / BLOCK);
    const zeros = zeroPoints.subarray(row * Math.ceil(blocks / 2));
    return (nibble(data, i) - nibble(zeros, block)) * scales[row * blocks + block]!;
  });
}

export function squaredError(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, i) => sum + (value - b[i]!) ** 2, 0);
}
