import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { AssertionError } from '../../src/common/assert.ts';
import { quantizeInt4 } from '../../src/quant/int4.ts';
import { dequantizeNf4, quantizeNf4 } from '../../src/quant/nf4.ts';
import { plainBlock, plainExpand, squaredError } from './plain-int4.ts';

/** Rows of one to five blocks: an odd number leaves half of the last byte of zero points unused. */
const matrices = fc
  .record({ rows: fc.integer({ min: 1, max: 4 }), blocks: fc.integer({ min: 1, max: 5 }) })
  .chain(({ rows, blocks }) =>
    fc
      .array(fc.float({ noNaN: true, min: -4, max: 4 }), {
        minLength: rows * blocks * 32,
        maxLength: rows * blocks * 32,
      })
      .map((values) => ({ rows, cols: blocks * 32, values })),
  );

test('every block is as close to its values as its plain twin', () => {
  fc.assert(
    fc.property(matrices, ({ rows, cols, values }) => {
      const expanded = plainExpand(quantizeInt4(Float32Array.from(values), rows, cols), cols);
      for (let start = 0; start < values.length; start += 32) {
        const block = values.slice(start, start + 32);
        const error = squaredError(block, expanded.slice(start, start + 32));
        const { error: expected } = plainBlock(block);
        assert.ok(error <= expected * (1 + 1e-4) + 1e-12, `${error} instead of ${expected}`);
        assert.ok(error <= plainBlock(block, [1]).error * (1 + 1e-4) + 1e-12);
      }
    }),
  );
});

test('values on sixteen even levels, with zero among them, are exact', () => {
  for (const zero of [0, 3, 8, 15]) {
    const levels = Float32Array.from({ length: 96 }, (_, i) => ((i % 16) - zero) * 0.5);
    assert.deepEqual(plainExpand(quantizeInt4(levels, 1, 96), 96), [...levels]);
  }
});

test('a block of zeros stays zero beside others', () => {
  const values = Float32Array.from({ length: 2 * 96 }, (_, i) => Math.sin(i)).fill(0, 32, 64);
  const blocks = quantizeInt4(values, 2, 96);
  assert.ok(
    plainExpand(blocks, 96)
      .slice(32, 64)
      .every((value) => value === 0),
  );
  assert.equal(blocks.scales[1], 0);
  assert.equal(blocks.zeroPoints.length, 2 * 2);
});

test('NF4 is rounded with less error than its values would be between their bounds', () => {
  let state = 1;
  const normal = () => {
    let sum = -6;
    for (let i = 0; i < 12; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      sum += state / 2 ** 32;
    }
    return sum;
  };
  // 96 columns: every second block of 64 spans two rows.
  const [rows, cols] = [40, 96];
  const { packed, absmax } = quantizeNf4(Float32Array.from({ length: rows * cols }, normal));
  const values = [...dequantizeNf4(packed, absmax, rows * cols)];
  const rounded = plainExpand(quantizeInt4(Float32Array.from(values), rows, cols), cols);
  const blocks = Array.from({ length: values.length / 32 }, (_, i) => i * 32);
  const plain = blocks.flatMap((at) => plainBlock(values.slice(at, at + 32), [1]).values);
  assert.ok(squaredError(values, rounded) < 0.95 * squaredError(values, plain));
});

test('rows that are not whole blocks fail an assertion', () => {
  assert.throws(() => quantizeInt4(new Float32Array(2 * 48), 2, 48), AssertionError);
});
