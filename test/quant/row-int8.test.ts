import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AssertionError } from '../../src/common/assert.ts';
import { quantizeRowInt8, type RowInt8, ZERO_POINT } from '../../src/quant/row-int8.ts';

/** The plain twin: one value at a time, without tiles. */
function plainRowInt8(matrices: readonly Float32Array[], inFeatures: number): RowInt8 {
  const rows = matrices.flatMap((values) =>
    Array.from({ length: values.length / inFeatures }, (_, row) => [
      ...values.subarray(row * inFeatures, (row + 1) * inFeatures),
    ]),
  );
  const largest = rows.map((row) => row.reduce((max, value) => Math.max(max, Math.abs(value)), 0));
  const data = new Uint8Array(inFeatures * rows.length);
  rows.forEach((row, o) => {
    row.forEach((value, i) => {
      const level = largest[o] === 0 ? 0 : Math.round(value * (127 / largest[o]!));
      data[i * rows.length + o] = ZERO_POINT + level;
    });
  });
  return { data, scales: Float32Array.from(largest, (value) => value / 127) };
}

/** Codes [in, out] as [ceil(out / 16), in / 4, 16, 4]. */
function plainPacked({ data, scales: { length: outs } }: RowInt8, inFeatures: number): Uint8Array {
  const packed: number[] = [];
  for (let block = 0; block < outs; block += 16)
    for (let quad = 0; quad < inFeatures; quad += 4)
      for (let o = block; o < block + 16; o++)
        for (let i = quad; i < quad + 4; i++)
          packed.push(o < outs ? data[i * outs + o]! : ZERO_POINT);
  return Uint8Array.from(packed);
}

const count = fc.integer({ min: 1, max: 150 });
const value = fc.float({ min: -8, max: 8, noNaN: true });

test('tiles give the same levels and scales as one value at a time', () => {
  const shapes = fc.record({
    inFeatures: count,
    outs: fc.array(count, { minLength: 1, maxLength: 3 }),
  });
  fc.assert(
    fc.property(shapes, fc.array(value, { minLength: 7, maxLength: 97 }), (shape, values) => {
      const { inFeatures, outs } = shape;
      const matrices = outs.map((out, k) =>
        Float32Array.from({ length: out * inFeatures }, (_, i) => values[(i + k) % values.length]!),
      );
      assert.deepEqual(quantizeRowInt8(matrices, inFeatures), plainRowInt8(matrices, inFeatures));
    }),
    { numRuns: 50 },
  );
});

test('packed codes are the plain ones in another order', () => {
  for (const [inFeatures, outs] of [
    [4, [1]],
    [8, [16]],
    [64, [20, 5]],
    [132, [48, 16, 33]],
  ] as const) {
    const matrices = outs.map((out, k) =>
      Float32Array.from({ length: out * inFeatures }, (_, i) => Math.sin(i * 1.3 + k) * (i % 7)),
    );
    const plain = plainRowInt8(matrices, inFeatures);
    const packed = quantizeRowInt8(matrices, inFeatures, 'packed');
    assert.deepEqual(packed, { ...plain, data: plainPacked(plain, inFeatures) });
  }
});

test('a level is off by at most half a step, and an output of zeros stays zero', () => {
  const [rows, cols] = [3, 130];
  const values = Float32Array.from(
    { length: rows * cols },
    (_, i) => Math.sin(i * 1.7) * (1 + (i % 9)),
  );
  values.fill(0, cols, 2 * cols);
  const { data, scales } = quantizeRowInt8([values], cols);
  values.forEach((weight, i) => {
    const [o, input] = [Math.floor(i / cols), i % cols];
    const level = data[input * rows + o]! - ZERO_POINT;
    assert.ok(Math.abs(level) <= 127);
    assert.ok(Math.abs(level * scales[o]! - weight) <= scales[o]! * 0.5001, `${i}`);
  });
  assert.equal(scales[1], 0);
});

test('an output with a NaN or an infinity gets an infinite scale, the others keep theirs', () => {
  const { scales } = quantizeRowInt8([Float32Array.of(1, Number.NaN, 2, -4, -Infinity, 0)], 2);
  assert.deepEqual(
    [...scales],
    [Number.POSITIVE_INFINITY, Math.fround(4 / 127), Number.POSITIVE_INFINITY],
  );
});

test('values that are no whole rows fail an assertion', () => {
  assert.throws(() => quantizeRowInt8([new Float32Array(7)], 3), AssertionError);
});
