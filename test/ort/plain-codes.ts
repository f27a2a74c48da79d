// Rounds LoRA updates to 8 bits as our own operators do, in plain code.
import type { LoraPair } from '../../adapters/peft/weights.ts';
import type { LoraCodes } from '../../src/model/lora-codes.ts';

const { fround } = Math;
const LARGEST_LEVEL = 127;
const BLOCK = 16;

/** Returns the operands of an update: A [rank, in], the scales [rank], and B [out / 16, ranks, 16]. */
export function plainCodes({ rank, a, b }: LoraPair, ranks: number): Record<LoraCodes, number[]> {
  const rows = Array.from({ length: rank }, (_, r) => ({
    a: roundRow(Array.from({ length: a.length / rank }, (_, i) => a[i * rank + r]!)),
    b: roundRow([...b.slice((r * b.length) / rank, ((r + 1) * b.length) / rank)]),
  }));
  const blocks = b.length / rank / BLOCK;
  return {
    codesA: rows.flatMap((row) => row.a.codes),
    scales: rows.map((row) => fround(row.a.scale * row.b.scale)),
    codesB: Array.from({ length: blocks * ranks * BLOCK }, (_, i) => {
      const [block, row] = [Math.floor(i / BLOCK / ranks), Math.floor(i / BLOCK) % ranks];
      return rows[row]?.b.codes[block * BLOCK + (i % BLOCK)] ?? 0;
    }),
  };
}

function roundRow(values: readonly number[]): { scale: number; codes: number[] } {
  const largest = Math.max(...values.map(Math.abs));
  const scale = fround(largest / LARGEST_LEVEL);
  const inverse = scale > 1e-38 ? fround(1 / scale) : 0;
  return { scale, codes: values.map((value) => nearestEven(fround(value * inverse))) };
}

function nearestEven(value: number): number {
  const rounded = Math.round(value);
  const isTie = Math.abs(value - Math.trunc(value)) === 0.5;
  return (isTie ? 2 * Math.round(value / 2) : rounded) + 0; // no negative zero
}
