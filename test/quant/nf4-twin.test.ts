import assert from 'node:assert/strict';
import test from 'node:test';
import { blockAbsmax, dequantizeNf4, NF4_CODEBOOK, quantizeNf4 } from '../../src/quant/nf4.ts';
import { plainNf4Codes } from './plain-nf4.ts';

function unpack(packed: Uint8Array, count: number): number[] {
  return Array.from({ length: count }, (_, i) =>
    i % 2 ? packed[i >> 1]! & 15 : packed[i >> 1]! >> 4,
  );
}

test('the table finds the same code as a search over the midpoints', () => {
  let state = 1;
  for (const count of [1, 2, 63, 64, 65, 127, 1000, 4096]) {
    const values = Float32Array.from({ length: count }, () => {
      state = (Math.imul(state, 1103515245) + 12345) | 0;
      return state / 2 ** 31;
    });
    assert.deepEqual(unpack(quantizeNf4(values).packed, count), plainNf4Codes(values));
  }
});

test('values on, just below and just above each midpoint take the lower, lower and upper code', () => {
  for (let code = 0; code < 15; code++) {
    const midpoint = Math.fround(NF4_CODEBOOK[code]! + NF4_CODEBOOK[code + 1]!) / 2;
    const values = Float32Array.of(1, midpoint, midpoint - 2 ** -25, midpoint + 2 ** -23);
    const codes = unpack(quantizeNf4(values).packed, 4);
    assert.deepEqual(codes, [15, code, code, code + 1]);
  }
});

test('each value of the codebook is restored exactly', () => {
  const { packed, absmax } = quantizeNf4(NF4_CODEBOOK);
  assert.deepEqual(dequantizeNf4(packed, absmax, 16), NF4_CODEBOOK);
});

test('a block that holds a NaN or an infinity has an infinite absmax', () => {
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    const values = new Float32Array(192).fill(0.5);
    values[70] = bad;
    assert.deepEqual([...blockAbsmax(values)], [0.5, Number.POSITIVE_INFINITY, 0.5]);
  }
});
