// The plain twin of native/rounding.c, and the values that records stand for.
import { fromFloat32, toFloat32 } from '../../src/common/tensor.ts';

const STEPS = [15, 14, 13, 12, 11, 10, 9, 8, 16, 17, 18];

interface Levels {
  readonly scale: number;
  readonly lowest: number;
}

function half(value: number): number {
  return toFloat32(fromFloat32(Float32Array.of(value), [1], 'F16'))[0]!;
}

function codesOf(values: readonly number[], { scale, lowest }: Levels): number[] {
  return values.map((value) =>
    scale > 0 ? Math.min(15, Math.max(0, Math.round((value - lowest) / scale))) : 0,
  );
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

function fitted(values: readonly number[], levels: Levels): Levels {
  const codes = codesOf(values, levels);
  const count = values.length;
  const spread = count * sum(codes.map((c) => c * c)) - sum(codes) ** 2;
  const products = sum(codes.map((c, i) => c * values[i]!));
  const scale = (count * products - sum(codes) * sum(values)) / spread;
  return scale > 0 ? { scale, lowest: (sum(values) - scale * sum(codes)) / count } : levels;
}

/** Returns the smallest squared error of a span of 32 values among the levels that are tried. */
export function plainError(values: readonly number[], steps: readonly number[] = STEPS): number {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const errors = steps.map((count) => {
    let levels: Levels = { scale: (high - low) / count, lowest: low };
    for (let fit = 0; fit < 2; fit++) levels = fitted(values, levels);
    const { scale, lowest } = { scale: half(levels.scale), lowest: half(levels.lowest) };
    const codes = codesOf(values, { scale, lowest });
    return sum(values.map((value, i) => (value - codes[i]! * scale - lowest) ** 2));
  });
  return Math.min(...errors);
}

/** The values [outputs, inputs] that records stand for. */
export function expandRecords(records: Uint8Array<ArrayBuffer>, inputs: number): Float64Array {
  const spans = inputs / 32;
  const outputs = (records.length / 320 / spans) * 16;
  const floats = (at: number) =>
    toFloat32({ dtype: 'F16', shape: [16], data: records.subarray(at, at + 32) });
  const values = new Float64Array(outputs * inputs);
  for (let start = 0, record = 0; start < records.length; start += 320, record++) {
    const [block, span] = [Math.floor(record / spans), record % spans];
    const [scales, lowest] = [floats(start), floats(start + 32)];
    for (let o = 0; o < 16; o++)
      for (let i = 0; i < 32; i++) {
        // A byte holds an input of a quad, and the same of the next quad in its high half.
        const byte = records[start + 64 + Math.floor(i / 8) * 64 + o * 4 + (i % 4)]!;
        const code = i % 8 < 4 ? byte & 15 : byte >> 4;
        values[(block * 16 + o) * inputs + span * 32 + i] = code * scales[o]! + lowest[o]!;
      }
  }
  return values;
}
