// Our own operator for linears in per-token form, against plain code.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { GraphBuilder, LORIKEET } from '../../src/onnx/graph-builder.ts';
import { ownInstructions } from '../../src/ort/own-operators.ts';
import { createSession, createSessionSync } from '../../src/ort/session.ts';
import { hostTensor, type OrtTensor } from '../../src/ort/tensor.ts';
import { packRowInt8, quantizeRowInt8 } from '../../src/quant/row-int8.ts';
import { seededRandom } from '../fixtures.ts';

const skip = ownInstructions() === undefined && 'our own operators do not run on this machine';

interface Shape {
  readonly tokens: number;
  readonly inputs: number;
  readonly outputs: number;
  readonly groups: number;
  readonly floats: number;
  readonly hasBias: boolean;
}

/** A linear [out, in] with smoothing, float inputs and a bias. */
interface Linear extends Shape {
  readonly x: Float32Array;
  readonly weights: Float32Array;
  readonly factors: Float32Array;
  readonly floatInputs: readonly number[];
  readonly floatValues: Float32Array;
  readonly bias: Float32Array;
}

function randomLinear(shape: Shape, seed: number): Linear {
  const random = seededRandom(seed);
  const { tokens, inputs, outputs, floats } = shape;
  const values = (length: number) => Float32Array.from({ length }, random);
  const factors = values(inputs).map((v) => Math.abs(v) + 0.1);
  const floatInputs = Array.from({ length: floats }, (_, i) => (7 * i) % inputs);
  for (const i of floatInputs) factors[i] = 0;
  return {
    ...shape,
    factors,
    floatInputs,
    x: values(tokens * inputs),
    weights: values(outputs * inputs),
    floatValues: values(floats * outputs),
    bias: values(outputs),
  };
}

/** The plain twin: rounded values, multiplied in float64. */
function plainLinear(linear: Linear): number[] {
  const { tokens, inputs, outputs, groups, x, factors, floatInputs, floatValues } = linear;
  const width = inputs / groups;
  const { data, scales } = quantizeRowInt8([linear.weights], inputs);
  const y: number[] = [];
  for (let t = 0; t < tokens; t++) {
    const row = Array.from({ length: inputs }, (_, i) =>
      Math.fround(x[t * inputs + i]! * factors[i]!),
    );
    const rounded = row.map((value, i) => {
      const first = i - (i % width);
      const largest = row
        .slice(first, first + width)
        .reduce((max, v) => Math.max(max, Math.abs(v)), 0);
      return largest === 0 ? 0 : Math.round((value * 127) / largest) * (largest / 127);
    });
    for (let o = 0; o < outputs; o++) {
      let sum = linear.hasBias ? linear.bias[o]! : 0;
      for (let i = 0; i < inputs; i++)
        sum += rounded[i]! * (data[i * outputs + o]! - 128) * scales[o]!;
      for (const [f, i] of floatInputs.entries())
        sum += x[t * inputs + i]! * floatValues[f * outputs + o]!;
      y.push(sum);
    }
  }
  return y;
}

/** Runs the operator over x, or over some of its rows. */
async function ownLinear(linear: Linear, rows = linear.x, threads = 2): Promise<Float32Array> {
  const { inputs, outputs, groups, floats } = linear;
  const { data, scales } = quantizeRowInt8([linear.weights], inputs);
  const packed = packRowInt8(data, inputs);
  const tokens = rows.length / inputs;
  const blocks = Math.ceil(outputs / 16);
  const tensors: Record<string, OrtTensor> = {
    x: hostTensor('float32', [tokens, inputs], rows.slice()),
    weights: hostTensor('uint8', [blocks, inputs / 4, 16, 4], Uint8Array.from(packed)),
    scales: hostTensor('float32', [outputs], Float32Array.from(scales)),
    factors: hostTensor('float32', [inputs], linear.factors.slice()),
    ...(floats && {
      indices: hostTensor('int64', [floats], BigInt64Array.from(linear.floatInputs, BigInt)),
      values: hostTensor('float32', [floats, outputs], linear.floatValues.slice()),
    }),
    ...(linear.hasBias && { bias: hostTensor('float32', [outputs], linear.bias.slice()) }),
  };
  const g = new GraphBuilder();
  const operands = ['x', 'weights', 'scales', 'factors', 'indices', 'values', 'bias'].map(
    (name) => {
      const tensor = tensors[name];
      return tensor && g.input(name, tensor.type, tensor.shape);
    },
  );
  const y = g.node('RowLinear', operands, { groups, activation: 0 }, LORIKEET);
  g.output(y, 'float32', [tokens, outputs]);
  const options = { intraOpThreads: threads, usesOwnOperators: true };
  using session = await createSession(g.toBytes(), options);
  using binding = session.createBinding();
  for (const [name, tensor] of Object.entries(tensors)) binding.bindInput(name, tensor);
  const output = hostTensor('float32', [tokens, outputs]);
  binding.bindOutput(y, output);
  binding.runSync();
  return output.data;
}

const shapes = fc
  .record({
    tokens: fc.integer({ min: 1, max: 21 }),
    quads: fc.integer({ min: 1, max: 12 }),
    outputs: fc.integer({ min: 1, max: 70 }),
    groups: fc.integer({ min: 1, max: 4 }),
    wanted: fc.integer({ min: 0, max: 5 }),
    hasBias: fc.boolean(),
  })
  .map(({ quads, groups, wanted, ...rest }) => {
    const inputs = 4 * quads * groups;
    return { ...rest, inputs, groups, floats: Math.min(wanted, 3) };
  });

test('the operator computes what plain code computes', { skip }, async () => {
  await fc.assert(
    fc.asyncProperty(shapes, fc.integer({ min: 1, max: 1e6 }), async (shape, seed) => {
      const linear = randomLinear(shape, seed);
      const got = await ownLinear(linear);
      const want = plainLinear(linear);
      // A value between two levels may fall on either side: 1 of 127 levels of an input times a weight, both about 1 at most.
      want.forEach((value, i) => {
        assert.ok(Math.abs(got[i]! - value) < 0.01 + 1e-5 * Math.abs(value), `${i}`);
      });
    }),
    { numRuns: 60 },
  );
});

test("a row's bits depend neither on the other rows nor on the threads", { skip }, async () => {
  const shape = { tokens: 23, inputs: 96, outputs: 77, groups: 2, floats: 3, hasBias: true };
  const linear = randomLinear(shape, 4);
  const all = await ownLinear(linear);
  assert.deepEqual(await ownLinear(linear, linear.x, 1), all);
  for (let t = 0; t < shape.tokens; t++) {
    const row = linear.x.slice(t * shape.inputs, (t + 1) * shape.inputs);
    const alone = await ownLinear(linear, row);
    assert.deepEqual(alone, all.slice(t * shape.outputs, (t + 1) * shape.outputs), `row ${t}`);
  }
});

test('a row with a NaN or an infinity is NaN, one of zeros is zero, and others are unaffected', {
  skip,
}, async () => {
  const shape = { tokens: 12, inputs: 64, outputs: 40, groups: 2, floats: 2, hasBias: false };
  const linear = randomLinear(shape, 5);
  const healthy = await ownLinear(linear);
  const rows = linear.x.slice();
  rows[1 * 64 + 50] = Number.NaN;
  rows[3 * 64] = Number.POSITIVE_INFINITY; // a float input
  rows.fill(0, 6 * 64, 7 * 64);
  rows.fill(1e-42, 8 * 64, 9 * 64); // subnormal: 127 / 1e-42 is infinite
  const got = await ownLinear(linear, rows);
  for (let t = 0; t < shape.tokens; t++) {
    const row = got.slice(t * 40, (t + 1) * 40);
    if (t === 1 || t === 3) assert.ok(row.every(Number.isNaN), `row ${t}`);
    else if (t === 6) assert.ok(row.every((value) => value === 0));
    else if (t === 8) assert.ok(row.every((value) => Math.abs(value) < 1e-38));
    else assert.deepEqual(row, healthy.slice(t * 40, (t + 1) * 40), `row ${t}`);
  }
});

test('products of the largest values are exact', { skip }, async () => {
  const shape = { tokens: 9, inputs: 1536, outputs: 33, groups: 1, floats: 0, hasBias: false };
  const linear = randomLinear(shape, 6);
  linear.x.fill(127);
  linear.weights.fill(-127);
  linear.factors.fill(1);
  assert.ok((await ownLinear(linear)).every((value) => value === -1536 * 127 * 127));
});

test('shapes that do not fit are an error of the run, not a crash', { skip }, () => {
  const shapes = {
    x: ['float32', 1, 8],
    weights: ['uint8', 1, 2, 16, 4],
    scales: ['float32', 16],
    factors: ['float32', 8],
    indices: ['int64', 2],
    values: ['float32', 2, 16],
    bias: ['float32', 16],
  } as const;
  const wrong: Partial<Record<keyof typeof shapes, readonly number[]>>[] = [
    { x: [1, 12] },
    { weights: [2, 2, 16, 4] },
    { scales: [17] },
    { factors: [4] },
    { values: [2, 8] },
    { values: [1, 16] },
    { bias: [15] },
  ];
  for (const change of wrong) {
    const g = new GraphBuilder();
    const tensors = Object.entries(shapes).map(([name, [type, ...dims]]) => {
      const shape = change[name as keyof typeof shapes] ?? dims;
      return [g.input(name, type, shape), hostTensor(type, shape)] as const;
    });
    const operands = tensors.map(([value]) => value);
    const y = g.node('RowLinear', operands, { groups: 1, activation: 0 }, LORIKEET);
    g.output(y, 'float32', [1, 16]);
    using session = createSessionSync(g.toBytes(), { usesOwnOperators: true, isQuiet: true });
    using binding = session.createBinding();
    for (const [name, tensor] of tensors) binding.bindInput(name, tensor);
    binding.bindOutput(y, hostTensor('float32', [1, 16]));
    assert.throws(
      () => binding.runSync(),
      /shapes of its inputs do not fit/,
      JSON.stringify(change),
    );
  }
});
