// The plain twin of attention over a KV cache: loops in float64. It checks what a run wrote to the cache, and attends to just that,
// because a rotated key may lie within rounding of the edge between two codes.
import assert from 'node:assert/strict';
import type { Attended, Attention } from './attention.ts';
import { assertSameBits } from './one-node.ts';

/** Asserts that a run computed what plain code computes, and changed nothing in the cache but the new positions. */
export function assertPlain(a: Attention, got: Attended): void {
  const { heads, kvHeads, headDim, tokens, capacity, window } = a;
  const kept = [got.keys.slice(), got.values.slice()] as const;
  a.pasts.forEach((past, b) => {
    for (let g = 0; g < kvHeads; g++) {
      const slot = (b * kvHeads + g) * capacity;
      for (let s = 0; s < tokens; s++) {
        const at = (slot + past + s) * headDim;
        const row = ((b * tokens + s) * kvHeads + g) * headDim;
        assertStored(a, {
          want: rotated(a, a.key, row, past + s),
          got: got.keys,
          at,
          g,
          half: 'key',
        });
        const value = Array.from(a.value.subarray(row, row + headDim));
        assertStored(a, { want: value, got: got.values, at, g, half: 'value' });
        kept[0].set(a.keys.subarray(at, at + headDim), at);
        kept[1].set(a.values.subarray(at, at + headDim), at);
      }
      const [keys, values] = [
        decoded(a, got.keys, a.keyScales, slot, g, past + tokens),
        decoded(a, got.values, a.valueScales, slot, g, past + tokens),
      ];
      const group = heads / kvHeads;
      for (let s = 0; s < tokens; s++) {
        const end = past + s + 1;
        const from = window ? Math.max(0, end - window) : 0;
        for (let h = g * group; h < (g + 1) * group; h++) {
          const row = ((b * tokens + s) * heads + h) * headDim;
          const query = rotated(a, a.query, row, past + s);
          const { y, error } = attended(a, query, { keys, values, from, end });
          for (const [i, want] of y.entries()) {
            const value = got.y[row + i]!;
            if (Math.abs(value - want) <= error) continue;
            assert.fail(`sequence ${b}, token ${s}, head ${h}, ${i}: ${value}, not ${want}`);
          }
        }
      }
    }
  });
  assertSameBits(kept[0], a.keys, 'other positions of the keys');
  assertSameBits(kept[1], a.values, 'other positions of the values');
}

interface Stored {
  readonly want: readonly number[];
  readonly got: Float32Array | Int8Array;
  readonly at: number;
  readonly g: number;
  readonly half: 'key' | 'value';
}

/** Asserts that new keys or values are in the cache. Only keys are rounded before they are stored. */
function assertStored(a: Attention, { want, got, at, g, half }: Stored): void {
  const isRotated = half === 'key' && a.rotary > 0;
  const scales = half === 'key' ? a.keyScales : a.valueScales;
  for (const [i, value] of want.entries()) {
    const stored = got[at + i]!;
    const steps = Math.max(-128, Math.min(127, Math.fround(value / scales[g * a.headDim + i]!)));
    const isRight = a.isInt8
      ? isRotated
        ? Math.abs(stored - steps) <= 0.5 + 1e-4
        : stored === roundEven(steps)
      : Math.abs(stored - value) <= (isRotated ? 3e-7 * a.magnitude : 0);
    if (!isRight) assert.fail(`${half} ${i} of KV head ${g}: ${stored} for ${value}`);
  }
}

/** Rounds half to even, as the CPU does. */
function roundEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** Rotates the first channels of a head, each with the one half of them further on. */
function rotated(a: Attention, data: Float32Array, row: number, position: number): number[] {
  const half = a.rotary / 2;
  return Array.from(data.subarray(row, row + a.headDim), (value, i) => {
    if (i >= a.rotary) return value;
    const angle = position * half + (i % half);
    const other = i < half ? -data[row + i + half]! : data[row + i - half]!;
    return value * a.cos[angle]! + other * a.sin[angle]!;
  });
}

/** The first positions of a KV head's cache as numbers, [positions, headDim]. */
function decoded(
  { headDim, isInt8 }: Attention,
  cache: Float32Array | Int8Array,
  scales: Float32Array,
  ...[slot, g, positions]: [slot: number, g: number, positions: number]
): Float64Array {
  const scale = (i: number) => (isInt8 ? scales[g * headDim + (i % headDim)]! : 1);
  return Float64Array.from(
    cache.subarray(slot * headDim, (slot + positions) * headDim),
    (value, i) => value * scale(i),
  );
}

interface Seen {
  readonly keys: Float64Array;
  readonly values: Float64Array;
  readonly from: number;
  readonly end: number;
}

/** The mean of the values, and the possible error of a computation in float32. */
function attended(a: Attention, query: readonly number[], { keys, values, from, end }: Seen) {
  let most = 0;
  const scores = Array.from({ length: end - from }, (_, j) => {
    let [sum, magnitude] = [0, 0];
    query.forEach((q, i) => {
      const product = a.scale * q * keys[(from + j) * a.headDim + i]!;
      sum += product;
      magnitude += Math.abs(product);
    });
    most = Math.max(most, magnitude);
    return a.softcap ? a.softcap * Math.tanh(sum / a.softcap) : sum;
  });
  const max = Math.max(...scores);
  const weights = scores.map((score) => Math.exp(score - max));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const y = new Float64Array(a.headDim);
  let largest = 0;
  weights.forEach((weight, j) => {
    const row = (from + j) * a.headDim;
    for (let i = 0; i < a.headDim; i++) {
      y[i]! += (weight / total) * values[row + i]!;
      largest = Math.max(largest, Math.abs(values[row + i]!));
    }
  });
  return { y, error: 1e-6 * (4 + most) * largest };
}
