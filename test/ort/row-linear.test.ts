// Our own operator for linears in per-token form, against plain code.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { hostTensor } from '../../src/ort/tensor.ts';
import { seededRandom } from '../fixtures.ts';
import {
  ACTIVATIONS,
  type Adapters,
  type Linear,
  linearInputs,
  ownLinear,
  plainAdapted,
  plainLinear,
  randomAdapters,
  randomLinear,
  rowsOf,
  skip,
} from './linears.ts';
import { assertSameBits, runNode } from './one-node.ts';

const shapes = fc
  .record({
    tokens: fc.integer({ min: 1, max: 40 }),
    quads: fc.integer({ min: 1, max: 12 }),
    outputs: fc.integer({ min: 1, max: 70 }),
    groups: fc.integer({ min: 1, max: 4 }),
    floats: fc.integer({ min: 0, max: 3 }),
    hasBias: fc.boolean(),
    activation: fc.integer({ min: 0, max: 2 }),
  })
  .map(({ quads, groups, ...rest }) => {
    // With an activation, inputs are a multiple of 16.
    const inputs = (rest.activation ? 16 : 4) * quads * groups;
    return { ...rest, inputs, groups };
  });

const seeds = fc.integer({ min: 1, max: 1e6 });

/** A linear with adapters in some of the rows. Their parts have different widths. */
const adapted = fc
  .record({
    tokens: fc.integer({ min: 1, max: 40 }),
    blocks: fc.integer({ min: 1, max: 5 }),
    groups: fc.constantFrom(1, 2, 4),
    floats: fc.integer({ min: 0, max: 3 }),
    hasBias: fc.boolean(),
    activation: fc.integer({ min: 0, max: 2 }),
    slots: fc.integer({ min: 2, max: 6 }),
    ranks: fc.constantFrom(1, 2, 4, 7, 8, 16, 24),
    parts: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 3 }),
    hasVectors: fc.boolean(),
    seed: seeds,
  })
  .map(({ blocks, parts, activation, seed, ...rest }): Linear => {
    const partEnds = parts.map((_, p) => 16 * parts.slice(0, p + 1).reduce((a, b) => a + b));
    const shape = { ...rest, inputs: 16 * blocks * rest.groups, outputs: partEnds.at(-1)! };
    const linear = randomLinear(shape, seed, activation);
    return { ...linear, adapters: randomAdapters(shape, { ...rest, partEnds }, seed + 1) };
  });

function assertClose(got: Float32Array, want: readonly number[], tolerance: number): void {
  const largest = want.reduce((max, v) => Math.max(max, Math.abs(v)), 0);
  assert.equal(got.length, want.length);
  want.forEach((value, i) => {
    const isClose = Math.abs(got[i]! - value) <= tolerance * largest;
    if (!isClose) assert.fail(`${got[i]} instead of ${value} at ${i}, largest ${largest}`);
  });
}

test('the operator computes what plain code computes', { skip }, () => {
  fc.assert(
    fc.property(shapes, seeds, (shape, seed) => {
      const linear = randomLinear(shape, seed, shape.activation);
      const got = ownLinear(linear);
      const want = plainLinear(linear);
      // A value between two levels may fall on either side: 1 of 127 levels of an input times a weight, both about 1 at most.
      want.forEach((value, i) => {
        assert.ok(Math.abs(got[i]! - value) < 0.01 + 1e-5 * Math.abs(value), `${i}`);
      });
    }),
    { numRuns: 60 },
  );
});

/** A linear that returns its float inputs. */
function identity(size: number, x: Float32Array<ArrayBuffer>, activation: number): Linear {
  const shape = { inputs: size, outputs: size, groups: 1, floats: size, hasBias: false };
  const tokens = x.length / size / (activation ? 2 : 1);
  const floatValues = new Float32Array(size * size);
  for (let i = 0; i < size; i++) floatValues[i * size + i] = 1;
  return {
    ...randomLinear({ ...shape, tokens }, 1, activation),
    x,
    factors: new Float32Array(size),
    floatInputs: Array.from({ length: size }, (_, i) => i),
    floatValues,
  };
}

for (const activation of [1, 2]) {
  test(`activation ${activation} is precise for all sizes of its input`, { skip }, () => {
    const random = seededRandom(7);
    const size = 32;
    const extremes = [0, -0, 1e-42, 1e-30, 87.9, 88.8, 104, 710, 1e5, 1e13, 3e19, 3e38];
    const gates = Array.from({ length: 64 * size }, (_, i) => {
      const extreme = extremes[i >> 1];
      if (extreme !== undefined) return i % 2 ? extreme : -extreme;
      return random() * [1, 10, 30, 100][i % 4]!;
    });
    const x = Float32Array.from({ length: 128 * size }, (_, i) => {
      const [row, column] = [Math.floor(i / (2 * size)), i % (2 * size)];
      return column < size ? gates[row * size + column]! : 0.9 * random();
    });
    const got = ownLinear(identity(size, x, activation));
    gates.forEach((_, i) => {
      const [row, column] = [Math.floor(i / size), i % size];
      const gate = x[row * 2 * size + column]!;
      const up = x[row * 2 * size + size + column]!;
      const want = ACTIVATIONS[activation]!(gate) * up;
      const isClose = Math.abs(got[i]! - want) <= 1e-6 * Math.abs(gate * up) + 1e-38;
      assert.ok(isClose, `activation(${gate}) * ${up}: ${got[i]} instead of ${want}`);
    });
  });
}

test('adapters add what plain code adds, to the rows that have one', { skip }, () => {
  fc.assert(
    fc.property(adapted, (linear) => {
      const { adapters, ...plain } = linear;
      const got = ownLinear(linear);
      const base = ownLinear(plain);
      assertClose(got, plainAdapted(linear, base), 2e-6 * Math.sqrt(linear.inputs));
      adapters!.rowSlots.forEach((slot, t) => {
        const [from, to] = [t * linear.outputs, (t + 1) * linear.outputs];
        if (slot === 0) assertSameBits(got.slice(from, to), base.slice(from, to), `row ${t}`);
      });
    }),
    { numRuns: 80 },
  );
});

const SHAPE = { tokens: 23, inputs: 96, outputs: 80, groups: 2, floats: 3, hasBias: true };
const ADAPTERS = { slots: 4, ranks: 8, partEnds: [48, 64, 80], hasVectors: true };

test('vectors change outputs without updates', { skip }, () => {
  const shape = { ...SHAPE, tokens: 9 };
  const linear = randomLinear(shape, 12);
  const adapters = randomAdapters(shape, ADAPTERS, 13);
  const updates = { a: undefined, lora_scales: undefined, b: undefined, part_ends: undefined };
  const y = hostTensor('float32', [9, 80]);
  runNode({
    opType: 'RowLinear',
    attributes: { groups: SHAPE.groups, activation: 0, bits: 8 },
    inputs: { ...linearInputs({ ...linear, adapters }), ...updates },
    outputs: { y },
  });
  const none = { ...adapters, scales: adapters.scales.map(() => 0) };
  assertClose(y.data, plainAdapted({ ...linear, adapters: none }, ownLinear(linear)), 1e-6);
});

/** A linear of every kind: without and with an activation, without and with adapters. */
function everyKind(seed: number): readonly (readonly [name: string, linear: Linear])[] {
  return [0, 1, 2].flatMap((activation) => {
    const linear = randomLinear(SHAPE, seed, activation);
    const adapters = randomAdapters(SHAPE, ADAPTERS, seed + 1);
    return [
      [`activation ${activation}`, linear] as const,
      [`activation ${activation}, adapters`, { ...linear, adapters }] as const,
    ];
  });
}

test("a row's bits depend neither on the other rows nor on the threads", { skip }, () => {
  const check = (linear: Linear, name: string) => {
    const { tokens, outputs } = linear;
    const all = ownLinear(linear);
    assertSameBits(ownLinear(linear, 1), all, `${name}: one thread`);
    for (let t = 0; t < tokens; t++) {
      const want = all.slice(t * outputs, (t + 1) * outputs);
      assertSameBits(ownLinear(rowsOf(linear, t, t + 1)), want, `${name}: row ${t}`);
    }
  };
  for (const [name, linear] of everyKind(4)) check(linear, name);
  check(randomLinear({ ...SHAPE, outputs: 77 }, 4), 'outputs that are not whole blocks');
  fc.assert(
    fc.property(adapted, (linear) => check(linear, '')),
    { numRuns: 5 },
  );
});

test('rank rows with the scale 0 count for nothing', { skip }, () => {
  const [, linear] = everyKind(8)[1]!;
  const { a, b, scales, ranks, partEnds, slots } = linear.adapters!;
  const rankRows = partEnds.length * ranks;
  // The adapters of rank 5 in 8 ranks. First their other rank rows are zeros, then any codes.
  const padded = (keep: (r: number) => boolean): Adapters => ({
    ...linear.adapters!,
    scales: scales.map((v, j) => (j % ranks < 5 ? v || 1e-4 : 0)),
    a: a.map((v, i) => (keep(Math.floor(i / SHAPE.inputs) % ranks) ? v : 0)),
    b: b.map((v, i) => (keep(Math.floor(i / 16) % ranks) ? v : 0)),
  });
  assert.equal(a.length, slots * rankRows * SHAPE.inputs);
  const zeros = ownLinear({ ...linear, adapters: padded((r) => r < 5) });
  assertSameBits(ownLinear({ ...linear, adapters: padded(() => true) }), zeros, 'y');
});

test('a row with a NaN or an infinity is NaN, one of zeros is zero, and others are unaffected', {
  skip,
}, () => {
  const shape = { tokens: 12, inputs: 64, outputs: 40, groups: 2, floats: 2, hasBias: false };
  const linear = randomLinear(shape, 5);
  const healthy = ownLinear(linear);
  const x = linear.x.slice();
  x[1 * 64 + 50] = Number.NaN;
  x[3 * 64] = Number.POSITIVE_INFINITY; // a float input
  x.fill(0, 6 * 64, 7 * 64);
  x.fill(1e-42, 8 * 64, 9 * 64); // subnormal: 127 / 1e-42 is infinite
  const got = ownLinear({ ...linear, x });
  for (let t = 0; t < shape.tokens; t++) {
    const row = got.slice(t * 40, (t + 1) * 40);
    if (t === 1 || t === 3) assert.ok(row.every(Number.isNaN), `row ${t}`);
    else if (t === 6) assert.ok(row.every((value) => value === 0));
    else if (t === 8) assert.ok(row.every((value) => Math.abs(value) < 1e-38));
    else assert.deepEqual(row, healthy.slice(t * 40, (t + 1) * 40), `row ${t}`);
  }
});

test('a value that is not finite stays in its row, also in gates and with adapters', {
  skip,
}, () => {
  for (const [name, linear] of everyKind(6)) {
    const { tokens, outputs } = linear;
    const width = linear.x.length / tokens;
    const healthy = ownLinear(linear);
    for (const wrong of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const x = linear.x.slice();
      // A float input and others: of the gate, and of the up part if there is one.
      const columns = [0, 1, SHAPE.inputs - 1, width - SHAPE.inputs, width - 5];
      columns.forEach((column, i) => {
        // Negative infinity is nothing to the activation of a gate, but times zero it is a NaN.
        x[(2 + 3 * i) * width + column] = wrong;
      });
      const got = ownLinear({ ...linear, x });
      for (let t = 0; t < tokens; t++) {
        const row = got.slice(t * outputs, (t + 1) * outputs);
        const label = `${name}, ${wrong}: row ${t}`;
        const isWrong = t % 3 === 2 && t < 2 + 3 * columns.length;
        if (isWrong) assert.ok(row.every(Number.isNaN), `${label} is not NaN`);
        else assertSameBits(row, healthy.slice(t * outputs, (t + 1) * outputs), label);
      }
    }
  }
});

test('products of the largest values are exact', { skip }, () => {
  const shape = { tokens: 9, inputs: 1536, outputs: 33, groups: 1, floats: 0, hasBias: false };
  const linear = randomLinear(shape, 6);
  linear.x.fill(127);
  linear.weights.fill(-127);
  linear.factors.fill(1);
  assert.ok(ownLinear(linear).every((value) => value === -1536 * 127 * 127));
});

test('shapes that do not fit are an error of the run, not a crash', { skip }, () => {
  const linear = randomLinear({ ...SHAPE, tokens: 5 }, 1);
  const adapters = randomAdapters({ ...SHAPE, tokens: 5 }, ADAPTERS, 2);
  const inputs = linearInputs({ ...linear, adapters });
  type Change = Readonly<Record<string, readonly number[] | bigint[] | undefined>>;
  const run = (changes: Change, activation = 0) => {
    const changed = { ...inputs };
    for (const [name, change] of Object.entries(changes)) {
      const isData = typeof change?.[0] === 'bigint';
      changed[name] =
        change &&
        (isData
          ? hostTensor('int64', [change.length], BigInt64Array.from(change as bigint[]))
          : hostTensor(inputs[name]!.type, change as readonly number[]));
    }
    const attributes = { groups: SHAPE.groups, activation, bits: 8 };
    const outputs = { y: hostTensor('float32', [5, 80]) };
    runNode({ opType: 'RowLinear', attributes, inputs: changed, outputs });
  };
  run({});
  run({ x: [5, 192] }, 1);
  run({ out_scale: undefined, out_bias: undefined });
  const wrong: readonly (readonly [Change, activation?: number])[] = [
    [{ x: [5, 192] }],
    [{ x: [5, 96] }, 2],
    [{ x: [5, 92] }],
    [{ x: [480] }],
    [{ weights: [6, 24, 16, 4] }],
    [{ weights: [5, 23, 16, 4] }],
    [{ scales: [79] }],
    [{ factors: [95] }],
    [{ values: [3, 8] }],
    [{ values: [2, 80] }],
    [{ values: undefined }],
    [{ indices: [1n, 2n, 96n] }],
    [{ indices: [-1n, 2n, 3n] }],
    [{ bias: [81] }],
    [{ row_slots: [4] }],
    [{ row_slots: [0n, 1n, 2n, 3n, 4n] }],
    [{ row_slots: [0n, 1n, -1n, 3n, 2n] }],
    [{ row_slots: [0n, 1n, 2n ** 40n, 3n, 2n] }],
    [{ row_slots: undefined }],
    [{ a: undefined }],
    [{ a: [4, 24, 95] }],
    [{ a: [4, 23, 96] }],
    [{ a: [3, 24, 96] }],
    [{ lora_scales: undefined }],
    [{ lora_scales: [4, 23] }],
    [{ lora_scales: [3, 24] }],
    [{ b: undefined }],
    [{ b: [4, 4, 8, 16] }],
    [{ b: [4, 5, 7, 16] }],
    [{ b: [3, 5, 8, 16] }],
    [{ b: [4, 5, 8, 8] }],
    [{ part_ends: undefined }],
    [{ part_ends: [48n, 80n] }],
    [{ part_ends: [48n, 64n, 96n] }],
    [{ part_ends: [48n, 64n, 64n] }],
    [{ part_ends: [64n, 48n, 80n] }],
    [{ part_ends: [-16n, 48n, 80n] }],
    [{ part_ends: [40n, 64n, 80n] }],
    [{ out_scale: undefined }],
    [{ out_bias: undefined }],
    [{ out_scale: [4, 64] }],
    [{ out_scale: [3, 80] }],
    [{ out_bias: [4, 96] }],
  ];
  for (const [change, activation] of wrong) {
    const name = Object.entries(change).map(([key, value]) => `${key} [${value}]`);
    assert.throws(() => run(change, activation), /shapes of its inputs do not fit/, name.join());
  }
});
