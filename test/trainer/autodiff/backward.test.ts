import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Dims, GraphBuilder, type Value } from '../../../src/onnx/graph-builder.ts';
import { appendBackward, pruneNodes } from '../../../trainer/autodiff/backward.ts';
import { inferShapes } from '../../../trainer/autodiff/shapes.ts';
import { worstDifference } from '../../engine/runner.ts';
import { gradientsOf } from './finite-differences.ts';

function differentiate(g: GraphBuilder, y: Value, wanted: Value[], declared?: Map<Value, Dims>) {
  const shapes = inferShapes(g, declared ?? new Map());
  return appendBackward(g, shapes, { seeds: new Map([[y, 'seed' as Value]]), wanted });
}

test('an operator without a rule is refused by name', () => {
  const g = new GraphBuilder();
  const x = g.input('x', 'float32', [2, 2]);
  const y = g.node('Erf', [x]);
  assert.throws(() => differentiate(g, y, [x]), /operator Erf has no gradient rule/);
});

test('an operator without a rule is no obstacle where nothing is asked of it', () => {
  const g = new GraphBuilder();
  const x = g.input('x', 'float32', [2, 2]);
  const other = g.input('other', 'float32', [2, 2]);
  const aside = g.node('Erf', [other]);
  const y = g.node('Add', [x, aside]);
  assert.equal(differentiate(g, y, [x], new Map([[aside, [2, 2]]])).size, 1);
});

test('a value on which nothing depends is refused by name', () => {
  const g = new GraphBuilder();
  const x = g.input('x', 'float32', [2]);
  const lost = g.input('lost', 'float32', [2]);
  const y = g.node('Add', [x, x]);
  assert.throws(() => differentiate(g, y, [x, lost]), /nothing of the loss depends on lost/);
});

test('products that broadcast their batches, and unknown shapes, are refused', () => {
  const g = new GraphBuilder();
  const a = g.input('a', 'float32', [2, 3, 4]);
  const b = g.input('b', 'float32', [4, 5]);
  assert.throws(() => differentiate(g, g.node('MatMul', [a, b]), [a, b]), /MatMul broadcasts/);

  const h = new GraphBuilder();
  const x = h.input('x', 'float32', [2, 3]);
  const flat = h.node('Reshape', [x, h.int64([-1])]);
  const y = h.node('Mul', [flat, flat]);
  assert.throws(() => differentiate(h, y, [x]), /neither inferred nor declared/);
});

test('gradients of a value with many uses, through a chain of products, add up', async () => {
  const gradients = await gradientsOf({
    inputs: { x: [3, 4], w: [4, 4] },
    output: [3, 4],
    build: (g, input) => {
      const [x, w] = [input('x'), input('w')];
      const once = g.node('Gemm', [x, w], { transB: 1 });
      const twice = g.node('Gemm', [once, w], {});
      return g.node('Add', [g.node('Mul', [twice, x]), g.node('Gemm', [x, w])]);
    },
  });
  for (const { analytic, numeric } of gradients.values()) {
    assert.ok(worstDifference(analytic, numeric) < 1e-3);
  }
});

test('nodes that no output needs are dropped, and what computes given values', () => {
  const g = new GraphBuilder();
  const x = g.input('x', 'float32', [2]);
  const a = g.node('Erf', [x]);
  const b = g.node('Neg', [a]);
  g.node('Abs', [a]);
  const types = (given: Set<string>) => pruneNodes(g.nodes, [b], given).map((n) => n.opType);
  assert.deepEqual(types(new Set()), ['Erf', 'Neg']);
  assert.deepEqual(types(new Set([a])), ['Neg']);
});
