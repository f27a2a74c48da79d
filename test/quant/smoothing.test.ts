import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { smoothLinear } from '../../src/quant/smoothing.ts';

/** Rows of x times a matrix [out, in], one value at a time. */
function product(x: readonly number[], matrix: Float32Array): number[] {
  return Array.from({ length: matrix.length / x.length }, (_, o) =>
    x.reduce((sum, value, i) => sum + value * matrix[o * x.length + i]!, 0),
  );
}

const value = fc.float({ min: -8, max: 8, noNaN: true });
const linears = fc.integer({ min: 1, max: 40 }).chain((width) =>
  fc.record({
    x: fc.array(value, { minLength: width, maxLength: width }),
    maxima: fc.array(fc.float({ min: 0, max: 500, noNaN: true }), {
      minLength: width,
      maxLength: width,
    }),
    matrices: fc.array(fc.array(value, { minLength: 3 * width, maxLength: 3 * width }), {
      minLength: 1,
      maxLength: 3,
    }),
    floatCount: fc.integer({ min: 0, max: width }),
  }),
);

test('the smoothed linear computes the same as the plain one', () => {
  fc.assert(
    fc.property(linears, ({ x, maxima, matrices, floatCount }) => {
      const plain = matrices.flatMap((matrix) => product(x, Float32Array.from(matrix)));
      const smoothed = smoothLinear(
        matrices.map((matrix) => Float32Array.from(matrix)),
        Float32Array.from(maxima),
        floatCount,
      );
      const scaled = x.map((value, i) => value * smoothed.factors[i]!);
      const taken = [...smoothed.floatInputs].map((i) => x[Number(i)]!);
      const found = smoothed.matrices.flatMap((matrix) => product(scaled, matrix));
      found.forEach((sum, o) => {
        const rest = taken.reduce(
          (total, value, k) => total + value * smoothed.floatValues[k * found.length + o]!,
          0,
        );
        assert.ok(Math.abs(sum + rest - plain[o]!) < 1e-3, `${sum} + ${rest}, not ${plain[o]}`);
      });
      assert.equal(smoothed.floatInputs.length, floatCount);
    }),
  );
});

test('the input that stands out most stays a float, and its column becomes zero', () => {
  const maxima = Float32Array.of(1, 2, 900, 1.5);
  const { factors, floatInputs, floatValues, matrices } = smoothLinear(
    [Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8)],
    maxima,
    1,
  );
  assert.deepEqual(floatInputs, BigInt64Array.of(2n));
  assert.deepEqual(floatValues, Float32Array.of(3, 7));
  assert.equal(factors[2], 0);
  assert.deepEqual([matrices[0]![2], matrices[0]![6]], [0, 0]);
});

test('smoothing brings the inputs closer together', () => {
  const maxima = Float32Array.of(0.1, 1, 10, 100);
  const { factors } = smoothLinear([new Float32Array(8).fill(0.5)], maxima, 0);
  const smoothed = maxima.map((max, i) => max * factors[i]!);
  assert.ok(Math.max(...smoothed) / Math.min(...smoothed) < 20);
});
