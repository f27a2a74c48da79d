// Infers the shapes of a graph's values as far as gradient rules need them. Shapes that cannot be inferred (such as a Reshape
// to a shape known at run time) are declared by the graph's builder.
import { assert } from '../../src/common/assert.ts';
import type { Dims, GraphBuilder, GraphNode, Value } from '../../src/onnx/graph-builder.ts';

/** Value → its dimensions. A named dimension is a size known at run time. */
export type Shapes = ReadonlyMap<string, Dims>;

type InputDims = (index: number) => Dims;
type Inference = (node: GraphNode, input: InputDims) => readonly Dims[];

const sameAsFirst: Inference = (_, input) => [input(0)];
const elementwise: Inference = (node, input) => [broadcast(node.opType, input(0), input(1))];

const INFERENCE: Readonly<Record<string, Inference>> = {
  Add: elementwise,
  Sub: elementwise,
  Mul: elementwise,
  Div: elementwise,
  Max: elementwise,
  Gemm: (node, input) => [matmul(node, input, [])],
  MatMul: (node, input) => [matmul(node, input, input(0).slice(0, -2))],
  FusedMatMul: (node, input) => [matmul(node, input, input(0).slice(0, -2))],
  QuickGelu: sameAsFirst,
  Gelu: sameAsFirst,
  Tanh: sameAsFirst,
  RotaryEmbedding: sameAsFirst,
  SimplifiedLayerNormalization: (_, input) => [input(0), [...input(0).slice(0, -1), 1]],
  Softmax: sameAsFirst,
  ReduceL2: (_, input) => [input(0).slice(0, -1)],
  Transpose: ({ attributes }, input) => [
    (attributes['perm'] as readonly number[]).map((axis) => input(0)[axis]!),
  ],
};

/** Returns the dims that can be inferred from the graph's inputs and the declared values. */
export function inferShapes(g: GraphBuilder, declared: ReadonlyMap<Value, Dims>): Shapes {
  const shapes = new Map<string, Dims>(declared);
  for (const { name, dims } of [...g.inputs, ...g.constants]) shapes.set(name, dims);
  for (const node of g.nodes) {
    const infer = INFERENCE[node.opType];
    const first = shapes.get(node.inputs[0]!);
    if (!infer || !first || node.outputs.every((name) => shapes.has(name))) continue;
    const outputs = infer(node, (index) => knownDims(shapes, node.inputs[index]!));
    outputs.forEach((dims, i) => {
      const name = node.outputs[i];
      if (name && !shapes.has(name)) shapes.set(name, dims);
    });
  }
  return shapes;
}

/** Returns the dims of a value. Asserts that they are known. */
export function knownDims(shapes: Shapes, value: string): Dims {
  const dims = shapes.get(value);
  assert(dims, `autodiff: the shape of ${value} is neither inferred nor declared`);
  return dims;
}

/** Whether two values have the same dims. */
export function sameDims(a: Dims, b: Dims): boolean {
  return a.length === b.length && a.every((dim, axis) => dim === b[axis]);
}

/** NumPy's rule, aligned at the last axis. */
function broadcast(opType: string, a: Dims, b: Dims): Dims {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const x = a[axis - rank + a.length] ?? 1;
    const y = b[axis - rank + b.length] ?? 1;
    assert(x === y || x === 1 || y === 1, `autodiff: ${opType} of [${a}] and [${b}]`);
    return x === 1 ? y : x;
  });
}

function matmul({ attributes }: GraphNode, input: InputDims, batch: Dims): Dims {
  const a = input(0).slice(-2);
  const b = input(1).slice(-2);
  return [...batch, a[attributes['transA'] ? 1 : 0]!, b[attributes['transB'] ? 0 : 1]!];
}
