import assert from 'node:assert/strict';
import test from 'node:test';
import { AssertionError } from '../../src/common/assert.ts';
import { dequantizeNf4, NF4_CODEBOOK, quantizeNf4 } from '../../src/quant/nf4.ts';
import { type Int8Blocks, quantizeInt8Rows, repackInt8 } from '../../src/quant/repack.ts';

const ROWS = 5;
const COLS = 128;
const values = Float32Array.from(
  { length: ROWS * COLS },
  (_, i) => Math.sin(i * 1.7) * (1 + (i % 9)),
);

function expand({ data, scales }: Int8Blocks): number[] {
  return Array.from(data, (level, i) => (level - 128) * scales[Math.floor(i / 64)]!);
}

test('int8 levels are within half a level of the NF4 values', () => {
  const { packed, absmax } = quantizeNf4(values);
  const exact = dequantizeNf4(packed, absmax, values.length);
  const expanded = expand(repackInt8(packed, absmax, ROWS, COLS));
  for (let i = 0; i < exact.length; i++) {
    const level = absmax[Math.floor(i / 64)]! / 112.03;
    assert.ok(Math.abs(expanded[i]! - exact[i]!) <= level * 0.501, `${i}`);
  }
});

test('the levels of the codebook are fixed', () => {
  const row = new Float32Array(64);
  row.set(NF4_CODEBOOK);
  const { packed, absmax } = quantizeNf4(row);
  const { data } = repackInt8(packed, absmax, 1, 64);
  const levels = [16, 50, 69, 84, 96, 107, 118, 128, 137, 146, 156, 166, 177, 191, 209, 240];
  assert.deepEqual([...data.subarray(0, 16)], levels);
});

test('rounding to int8 is off by at most half a level, and a block of zeros stays zero', () => {
  const withZeros = values.slice().fill(0, 64, 128);
  const blocks = quantizeInt8Rows(withZeros, ROWS, COLS);
  expand(blocks).forEach((value, i) => {
    const scale = blocks.scales[Math.floor(i / 64)]!;
    assert.ok(Math.abs(value - withZeros[i]!) <= scale * 0.501, `${i}`);
  });
  assert.ok(blocks.data.subarray(64, 128).every((level) => level === 128));
});

test('rows that are not whole blocks fail an assertion', () => {
  const { packed, absmax } = quantizeNf4(new Float32Array(2 * 96));
  assert.throws(() => repackInt8(packed, absmax, 2, 96), AssertionError);
  assert.throws(() => quantizeInt8Rows(new Float32Array(2 * 96), 2, 96), AssertionError);
});
