// 4-bit weights of our own operator: how they are rounded, and products with them, against plain code.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { roundOnAllCores } from '../../src/engine/int8-form.ts';
import { seededRandom } from '../fixtures.ts';
import { expandRecords, plainError } from '../quant/plain-records.ts';
import {
  type Linear,
  ownLinear,
  plainAdapted,
  plainLinear,
  randomAdapters,
  randomLinear,
  rowsOf,
  skip,
} from './linears.ts';
import { assertSameBits } from './one-node.ts';

function squaredError(a: readonly number[], b: readonly number[]): number {
  return a.reduce((total, value, i) => total + (value - b[i]!) ** 2, 0);
}

/** Values of 16 to 48 outputs and one to three spans, of very different sizes. */
const matrices = fc
  .record({
    blocks: fc.integer({ min: 1, max: 3 }),
    spans: fc.integer({ min: 1, max: 3 }),
    size: fc.constantFrom(1, 0.02, 30, 1e-3),
    seed: fc.integer({ min: 1, max: 1e6 }),
  })
  .map(({ blocks, spans, size, seed }) => {
    const random = seededRandom(seed);
    const inputs = 32 * spans;
    // Cubes have long tails, as weights have.
    const values = Array.from({ length: 16 * blocks * inputs }, () => size * random() ** 3);
    return { inputs, values: values.map(Math.fround) };
  });

test('every span is as close to its values as its plain twin', { skip }, () =>
  fc.assert(
    fc.asyncProperty(matrices, async ({ inputs, values }) => {
      const records = await roundOnAllCores(Float32Array.from(values), inputs);
      const rounded = [...expandRecords(records, inputs)];
      for (let start = 0; start < values.length; start += 32) {
        const span = values.slice(start, start + 32);
        const error = squaredError(span, rounded.slice(start, start + 32));
        const expected = plainError(span);
        assert.ok(error <= 1.02 * expected + 1e-12, `${error} instead of ${expected}`);
        assert.ok(error <= 1.001 * plainError(span, [15]) + 1e-12);
      }
    }),
    { numRuns: 20 },
  ),
);

test('values on a grid of sixteen levels are exact, whichever of its levels occur', {
  skip,
}, async () => {
  for (const used of [16, 12, 10, 2, 1]) {
    const first = 16 - used;
    const values = Float32Array.from({ length: 16 * 64 }, (_, i) => {
      const o = Math.floor(i / 64);
      return (first + ((i * 7) % used)) * 0.25 * (o + 1) - 2;
    });
    const records = await roundOnAllCores(values, 64);
    assert.deepEqual([...expandRecords(records, 64)], [...values], `${used} levels`);
  }
});

test('a value that is not finite makes its output not finite, and no other', { skip }, async () => {
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e38]) {
    const values = Float32Array.from({ length: 16 * 32 }, (_, i) => Math.sin(i));
    values[3 * 32 + 5] = value;
    const rounded = expandRecords(await roundOnAllCores(values, 32), 32);
    for (let o = 0; o < 16; o++) {
      const row = rounded.subarray(o * 32, (o + 1) * 32);
      assert.equal(row.every(Number.isFinite), o !== 3, `${value}, output ${o}`);
      if (o === 3) assert.ok(!row.some(Number.isFinite));
    }
  }
});

/** A linear with 4-bit weights, and adapters in some of the rows. */
const linears = fc
  .record({
    tokens: fc.integer({ min: 1, max: 40 }),
    spans: fc.integer({ min: 1, max: 5 }),
    hasBias: fc.boolean(),
    activation: fc.integer({ min: 0, max: 2 }),
    slots: fc.integer({ min: 2, max: 6 }),
    ranks: fc.constantFrom(1, 4, 7, 16),
    parts: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 3 }),
    hasVectors: fc.boolean(),
    seed: fc.integer({ min: 1, max: 1e6 }),
  })
  .map(({ spans, parts, activation, seed, ...rest }) => {
    const partEnds = parts.map((_, p) => 16 * parts.slice(0, p + 1).reduce((a, b) => a + b));
    const shape = { ...rest, inputs: 32 * spans, outputs: partEnds.at(-1)!, groups: 1, floats: 0 };
    const linear = randomLinear(shape, seed, activation);
    return { ...linear, adapters: randomAdapters(shape, { ...rest, partEnds }, seed + 1) };
  });

async function in4Bits<T extends Linear>(linear: T) {
  return { ...linear, records: await roundOnAllCores(linear.weights, linear.inputs) };
}

test('products and adapters are those of plain code', { skip }, () =>
  fc.assert(
    fc.asyncProperty(linears, async (eightBits) => {
      const linear = await in4Bits(eightBits);
      const { adapters, ...plain } = linear;
      const base = ownLinear(plain);
      plainLinear(plain).forEach((value, i) => {
        // An input between two levels may fall on either side: 1 of 127 levels times a weight, both about 1 at most.
        assert.ok(Math.abs(base[i]! - value) < 0.01 + 1e-5 * Math.abs(value), `${i}`);
      });
      const wanted = plainAdapted(linear, base);
      const largest = wanted.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
      ownLinear(linear).forEach((value, i) => {
        assert.ok(
          Math.abs(value - wanted[i]!) <= 2e-5 * largest,
          `${value} instead of ${wanted[i]}`,
        );
      });
    }),
    { numRuns: 40 },
  ),
);

test("a row's bits depend neither on the other rows nor on the threads", { skip }, async () => {
  const shape = { tokens: 23, inputs: 96, outputs: 80, groups: 1, floats: 0, hasBias: true };
  const size = { slots: 4, ranks: 8, partEnds: [48, 64, 80], hasVectors: true };
  for (const activation of [0, 1]) {
    const adapters = randomAdapters(shape, size, 5);
    const linear = await in4Bits({ ...randomLinear(shape, 4, activation), adapters });
    const all = ownLinear(linear);
    assertSameBits(ownLinear(linear, 1), all, 'one thread');
    for (let t = 0; t < shape.tokens; t++) {
      const want = all.slice(t * shape.outputs, (t + 1) * shape.outputs);
      assertSameBits(ownLinear(rowsOf(linear, t, t + 1)), want, `row ${t}`);
    }
  }
});

test('products of the largest codes are exact', { skip }, async () => {
  const shape = { tokens: 9, inputs: 1536, outputs: 32, groups: 1, floats: 0, hasBias: false };
  const linear = randomLinear(shape, 1);
  linear.x.fill(127);
  // Each span has the levels from 0 to 15, and all but one value has the largest.
  linear.weights.forEach((_, i) => {
    linear.weights[i] = i % 32 === 0 ? 0 : 15;
  });
  const want = (shape.inputs / 32) * 31 * 15 * 127;
  assert.ok(ownLinear(await in4Bits(linear)).every((value) => value === want));
});

test('a row with a NaN or an infinity is NaN, one of zeros is zero, others are unaffected', {
  skip,
}, async () => {
  const shape = { tokens: 6, inputs: 64, outputs: 32, groups: 1, floats: 0, hasBias: false };
  const linear = await in4Bits(randomLinear(shape, 3));
  const clean = ownLinear(linear);
  linear.x[64 + 40] = Number.NaN;
  linear.x[2 * 64 + 3] = Number.NEGATIVE_INFINITY;
  linear.x.fill(0, 3 * 64, 4 * 64);
  linear.x.fill(1e-42, 4 * 64, 5 * 64);
  const got = ownLinear(linear);
  const row = (t: number) => got.slice(t * 32, (t + 1) * 32);
  assert.ok(row(1).every(Number.isNaN) && row(2).every(Number.isNaN));
  assert.ok(row(3).every((value) => value === 0) && row(4).every(Number.isFinite));
  for (const t of [0, 5]) assertSameBits(row(t), clean.slice(t * 32, (t + 1) * 32), `row ${t}`);
});
