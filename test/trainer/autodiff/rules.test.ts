// Every row of the rule table against finite differences of the operator itself.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MICROSOFT, type Value } from '../../../src/onnx/graph-builder.ts';
import { hostTensor } from '../../../src/ort/tensor.ts';
import { gradientRules, lowRankRule } from '../../../trainer/autodiff/rules.ts';
import { worstDifference } from '../../engine/runner.ts';
import { type GraphCase, gradientsOf } from './finite-differences.ts';

/** Gradients here are around 1; float32 differences at a step of 0.01 are right to a few 1e-4. */
const LIMIT = 1e-3;

const binary = (op: string, a: readonly number[], b: readonly number[], y = a): GraphCase => ({
  inputs: { a, b },
  output: y,
  build: (g, input) => g.node(op, [input('a'), input('b')]),
});

const product = (op: string, transA: number, transB: number, batch: number[] = []): GraphCase => ({
  inputs: {
    a: [...batch, ...(transA ? [4, 3] : [3, 4])],
    b: [...batch, ...(transB ? [5, 4] : [4, 5])],
  },
  output: [...batch, 3, 5],
  build: (g, input) => {
    const attributes = { transA, transB, alpha: { float: 0.5 } };
    const domain = op === 'Gemm' ? '' : MICROSOFT;
    return g.node(op, [input('a'), input('b')], attributes, domain);
  },
});

const gemmWith = (c: readonly number[]): GraphCase => ({
  inputs: { a: [3, 4], b: [5, 4], c },
  output: [3, 5],
  build: (g, input) => g.node('Gemm', [input('a'), input('b'), input('c')], { transB: 1 }),
});

const angles = Float32Array.from({ length: 8 * 2 }, (_, i) => i * 0.37);
const rotary: GraphCase = {
  inputs: { x: [2, 3, 8] },
  fixed: {
    positions: hostTensor('int64', [2, 3], BigInt64Array.of(0n, 1n, 2n, 4n, 0n, 7n)),
    cos: hostTensor('float32', [8, 2], angles.map(Math.cos)),
    sin: hostTensor('float32', [8, 2], angles.map(Math.sin)),
  },
  output: [2, 3, 8],
  build: (g, input) => {
    const inputs = ['x', 'positions', 'cos', 'sin'].map(input);
    return g.node('RotaryEmbedding', inputs, { num_heads: 2 }, MICROSOFT);
  },
};

const rmsNorm: GraphCase = {
  inputs: { x: [3, 6], w: [6] },
  output: [3, 6],
  build: (g, input) => {
    const attributes = { axis: -1, epsilon: { float: 1e-5 }, stash_type: 1 };
    const [y] = g.nodeWithOutputs(
      'SimplifiedLayerNormalization',
      [input('x'), input('w')],
      attributes,
      { outputs: [true, true] },
    );
    return y!;
  },
};

const unary = (op: string, attributes = {}, domain = ''): GraphCase => ({
  inputs: { x: [2, 3, 4] },
  output: [2, 3, 4],
  build: (g, input) => g.node(op, [input('x')], attributes, domain),
});

const CASES: Record<keyof typeof gradientRules, Record<string, GraphCase>> = {
  Add: {
    'of equal shapes': binary('Add', [3, 4], [3, 4]),
    'of a row to a matrix': binary('Add', [3, 4], [4]),
    'of a value to itself': {
      inputs: { x: [3, 4] },
      output: [3, 4],
      build: (g, input) => g.node('Add', [input('x'), input('x')]),
    },
  },
  Mul: {
    'of equal shapes': binary('Mul', [3, 4], [3, 4]),
    'of a matrix and a row': binary('Mul', [3, 4], [4]),
    'of a value with itself': {
      inputs: { x: [3, 4] },
      output: [3, 4],
      build: (g, input) => g.node('Mul', [input('x'), input('x')]),
    },
  },
  Gemm: {
    plain: product('Gemm', 0, 0),
    'with a transposed': product('Gemm', 1, 0),
    'with b transposed': product('Gemm', 0, 1),
    'with both transposed': product('Gemm', 1, 1),
    'plus a matrix': gemmWith([3, 5]),
    'plus a row': gemmWith([5]),
  },
  MatMul: { batched: binary('MatMul', [2, 3, 4], [2, 4, 5], [2, 3, 5]) },
  FusedMatMul: {
    plain: product('FusedMatMul', 0, 0, [2]),
    'with a transposed': product('FusedMatMul', 1, 0, [2]),
    'with b transposed': product('FusedMatMul', 0, 1, [2, 2]),
    'with both transposed': product('FusedMatMul', 1, 1, [2]),
  },
  QuickGelu: { silu: unary('QuickGelu', { alpha: { float: 1 } }, MICROSOFT) },
  Gelu: { 'by tanh': unary('Gelu', { approximate: 'tanh' }) },
  Tanh: { 'of any shape': unary('Tanh') },
  Slice: {
    'of columns': {
      inputs: { x: [3, 7] },
      output: [3, 4],
      build: (g, input, { declare }) => {
        const bounds = [2, 6, 1].map((bound) => g.int64([bound]));
        const y = g.node('Slice', [input('x'), ...bounds]);
        declare(y, [3, 4]);
        return y;
      },
    },
  },
  SimplifiedLayerNormalization: { 'of rows': rmsNorm },
  RotaryEmbedding: { 'at positions in no order': rotary },
  Softmax: { 'over the last axis': unary('Softmax', { axis: -1 }) },
  Reshape: {
    'to a matrix': {
      inputs: { x: [2, 3, 4] },
      output: [6, 4],
      build: (g, input, { declare }) => {
        const y: Value = g.node('Reshape', [input('x'), g.int64([-1, 4])]);
        declare(y, [6, 4]);
        return y;
      },
    },
  },
  Transpose: {
    'of three axes': {
      inputs: { x: [2, 3, 4] },
      output: [4, 2, 3],
      build: (g, input) => g.node('Transpose', [input('x')], { perm: [2, 0, 1] }),
    },
  },
};

test('a merged low-rank update has the gradients of the sum of its two products', async () => {
  const shapes = { x: [5, 4], w: [6, 4], a: [2, 4], b: [6, 2] };
  const scaling = 1.5;
  const merged = await gradientsOf({
    inputs: { x: shapes.x, a: shapes.a, b: shapes.b },
    fixed: { w: hostTensor('float32', shapes.w, new Float32Array(24).fill(0.3)) },
    output: [5, 6],
    build: (g, input, { setRule }) => {
      const [x, a, b] = [input('x'), input('a'), input('b')];
      const weight = g.node('Gemm', [b, a, input('w')], { alpha: { float: scaling } });
      const y = g.node('Gemm', [x, weight], { transB: 1 });
      setRule(y, lowRankRule({ x, a, b, scaling }));
      return y;
    },
  });
  for (const { analytic, numeric } of merged.values()) {
    assert.ok(worstDifference(analytic, numeric) < LIMIT);
  }
});

test('every rule has a case', () => {
  assert.deepEqual(Object.keys(CASES).sort(), Object.keys(gradientRules).sort());
});

for (const [op, cases] of Object.entries(CASES)) {
  for (const [name, graphCase] of Object.entries(cases)) {
    test(`${op} ${name}: the gradient is that of finite differences`, async () => {
      for (const [input, { analytic, numeric }] of await gradientsOf(graphCase)) {
        const difference = worstDifference(analytic, numeric);
        assert.ok(difference < LIMIT, `${input}: off by ${difference}`);
      }
    });
  }
}
