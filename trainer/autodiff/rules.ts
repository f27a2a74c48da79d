// The gradient rules, one per operator: they append the nodes that compute the inputs' gradients from the output's.
// `backward.ts` walks the graph.
import { assert } from '../../src/common/assert.ts';
import {
  type Attribute,
  type Dims,
  type GraphBuilder,
  type GraphNode,
  MICROSOFT,
  type Value,
} from '../../src/onnx/graph-builder.ts';
import { sameDims } from './shapes.ts';

/** A rule's view of its node, with methods that add gradients. d(x) is the derivative of the loss with respect to x. */
export interface RuleContext {
  readonly g: GraphBuilder;
  readonly node: GraphNode;
  /** d(first output), in that output's shape. All rules are for operators with one differentiable output. */
  readonly dy: Value;
  /** Whether d(value) is needed. */
  needs(value: Value): boolean;
  dims(value: Value): Dims;
  /** Adds to d(value). */
  add(value: Value, gradient: Value): void;
  /** Adds a matrix product alpha * op(a) op(b) to d(value), in one Gemm. */
  addGemm(value: Value, factors: Factors, attributes: Record<string, Attribute>): void;
}

type Factors = readonly [Value, Value];

/** Appends the gradients of a node's inputs. */
export type Rule = (context: RuleContext) => void;

export const gradientRules: Readonly<Record<string, Rule>> = {
  /** y = a + b */
  Add: (c) => {
    for (const input of [0, 1]) {
      const value = inputOf(c, input);
      if (c.needs(value)) c.add(value, sumTo(c, value, c.dy));
    }
  },

  /** y = a * b: da = dy * b */
  Mul: (c) => {
    for (const input of [0, 1]) {
      const value = inputOf(c, input);
      if (!c.needs(value)) continue;
      c.add(value, sumTo(c, value, c.g.node('Mul', [c.dy, inputOf(c, 1 - input)])));
    }
  },

  /** y = alpha * op(a) op(b) + c, all matrices (c may be a row that is added to each) */
  Gemm: (c) => {
    assert((c.node.attributes['beta'] ?? 1) === 1, 'autodiff: Gemm whose beta is not 1');
    productGradients(c, c.addGemm);
    addedGradient(c);
  },

  /** y = a b, batched */
  MatMul: (c) => batchedProduct(c),

  /** y = alpha * op(a) op(b), batched (com.microsoft) */
  FusedMatMul: (c) => batchedProduct(c),

  /** y = x * sigmoid(x) (com.microsoft, alpha 1): dx = dy * (s + y (1 - s)) */
  QuickGelu: (c) => {
    assert(floatAttribute(c.node, 'alpha', 1.702) === 1, 'autodiff: QuickGelu with alpha 1 only');
    const { g } = c;
    const s = g.node('Sigmoid', [inputOf(c, 0)]);
    const rest = g.node('Mul', [outputOf(c, 0), g.node('Sub', [g.float(1), s])]);
    c.add(inputOf(c, 0), g.node('Mul', [c.dy, g.node('Add', [s, rest])]));
  },

  /**
   * y = x * (1 + tanh(u)) / 2, u = a (x + b x³): with t = tanh(u), dx = dy * (1 + t + x (1 - t²) a (1 + 3 b x²)) / 2
   */
  Gelu: (c) => {
    assert(c.node.attributes['approximate'] === 'tanh', 'autodiff: Gelu by tanh only');
    const { g } = c;
    const x = inputOf(c, 0);
    const affine = (v: Value, slope: number, offset: number) =>
      g.node('Add', [g.node('Mul', [v, g.float(slope)]), g.float(offset)]);
    const square = g.node('Mul', [x, x]);
    const u = g.node('Mul', [x, affine(square, GELU_SCALE * GELU_CUBIC, GELU_SCALE)]);
    const t = g.node('Tanh', [u]);
    const slope = affine(square, 3 * GELU_SCALE * GELU_CUBIC, GELU_SCALE);
    const bend = g.node('Mul', [affine(g.node('Mul', [t, t]), -1, 1), g.node('Mul', [x, slope])]);
    const twice = g.node('Add', [affine(t, 1, 1), bend]);
    c.add(x, g.node('Mul', [c.dy, g.node('Mul', [twice, g.float(0.5)])]));
  },

  /** y = tanh(x): dx = dy * (1 - y²) */
  Tanh: (c) => {
    const { g } = c;
    const y = outputOf(c, 0);
    const slope = g.node('Sub', [g.float(1), g.node('Mul', [y, y])]);
    c.add(inputOf(c, 0), g.node('Mul', [c.dy, slope]));
  },

  /**
   * y = x * inv * w, inv = 1 / sqrt(mean(x²) + eps), the second output:
   * dx = inv * (dy w) - x * inv³ * mean(dy w x); dw = sum over rows of dy * x * inv
   */
  SimplifiedLayerNormalization: (c) => {
    const { g, dy } = c;
    const x = inputOf(c, 0);
    const inv = outputOf(c, 1); // [..., 1]
    if (c.needs(x)) {
      const scaled = g.node('Mul', [dy, inputOf(c, 1)]);
      const axes = g.int64([-1]);
      const mean = g.node('ReduceMean', [g.node('Mul', [scaled, x]), axes], { keepdims: 1 });
      const cubed = g.node('Mul', [g.node('Mul', [inv, inv]), inv]);
      const along = g.node('Mul', [x, g.node('Mul', [cubed, mean])]);
      c.add(x, g.node('Sub', [g.node('Mul', [scaled, inv]), along]));
    }
    const w = inputOf(c, 1);
    if (c.needs(w)) c.add(w, sumTo(c, w, g.node('Mul', [dy, g.node('Mul', [x, inv])])));
  },

  /** A rotation (com.microsoft): the gradient rotates back, by the negative angle. */
  RotaryEmbedding: (c) => {
    const [positions, cos, sin] = [1, 2, 3].map((input) => inputOf(c, input));
    const inputs = [c.dy, positions, cos, c.g.node('Neg', [sin])];
    c.add(inputOf(c, 0), c.g.node('RotaryEmbedding', inputs, { ...c.node.attributes }, MICROSOFT));
  },

  /** y = softmax(x) over the last axis: dx = y * (dy - sum(dy * y)) */
  Softmax: (c) => {
    assert(c.node.attributes['axis'] === -1, 'autodiff: Softmax over the last axis only');
    const { g } = c;
    const y = outputOf(c, 0);
    const sum = g.node('ReduceSum', [g.node('Mul', [c.dy, y]), g.int64([-1])], { keepdims: 1 });
    c.add(inputOf(c, 0), g.node('Mul', [y, g.node('Sub', [c.dy, sum])]));
  },

  Reshape: (c) => {
    c.add(inputOf(c, 0), c.g.node('Reshape', [c.dy, shapeOf(c, inputOf(c, 0))]));
  },

  /** y = columns of a matrix x: dx is dy padded with columns of zeros. */
  Slice: (c) => {
    const { g } = c;
    const [x, start, end, axes] = [0, 1, 2, 3].map((input) => inputOf(c, input));
    const width = c.dims(x!)[1];
    assert(typeof width === 'number', 'autodiff: Slice of the columns of a matrix only');
    const after = g.node('Sub', [g.int64([width]), end]);
    const pads = g.node('Concat', [start, after], { axis: 0 });
    c.add(x!, g.node('Pad', [c.dy, pads, undefined, axes]));
  },

  Transpose: (c) => {
    const perm = c.node.attributes['perm'] as readonly number[];
    const inverse = perm.map((_, axis) => perm.indexOf(axis));
    c.add(inputOf(c, 0), c.g.node('Transpose', [c.dy], { perm: inverse }));
  },
};

/** transformers' gelu_pytorch_tanh */
const GELU_SCALE = Math.sqrt(2 / Math.PI);
const GELU_CUBIC = 0.044715;

/** Adds the gradient of a Gemm's third input. */
function addedGradient(c: RuleContext): void {
  const added = c.node.inputs[2] as Value | undefined;
  if (added && c.needs(added)) c.add(added, sumTo(c, added, c.dy));
}

/** d(op(a)) = alpha * dy op(b)ᵀ and d(op(b)) = alpha * op(a)ᵀ dy, transposed if op transposes. */
function productGradients(c: RuleContext, add: RuleContext['addGemm']): void {
  const { attributes } = c.node;
  const [a, b] = [inputOf(c, 0), inputOf(c, 1)];
  const [transA, transB] = [attributes['transA'] ? 1 : 0, attributes['transB'] ? 1 : 0];
  const alpha = { float: floatAttribute(c.node, 'alpha', 1) };
  if (c.needs(a)) {
    if (transA) add(a, [b, c.dy], { transA: transB, transB: 1, alpha });
    else add(a, [c.dy, b], { transA: 0, transB: 1 - transB, alpha });
  }
  if (c.needs(b)) {
    if (transB) add(b, [c.dy, a], { transA: 1, transB: transA, alpha });
    else add(b, [a, c.dy], { transA: 1 - transA, transB: 0, alpha });
  }
}

/** The parts of y = x (W + scaling * B A)ᵀ: x [tokens, in], A [r, in], B [out, r]. */
interface LowRankLinear {
  readonly x: Value;
  readonly a: Value;
  readonly b: Value;
  readonly scaling: number;
}

/**
 * Returns the rule for a Gemm(x, W + scaling * B A, transB) with a frozen W. It never forms d(W) [out, in]:
 * dB = scaling * dyᵀ (x Aᵀ), dA = scaling * (dy B)ᵀ x.
 */
export function lowRankRule({ x, a, b, scaling }: LowRankLinear): Rule {
  return (c) => {
    if (c.needs(x)) c.addGemm(x, [c.dy, inputOf(c, 1)], {});
    const alpha = { float: scaling };
    const narrow = c.g.node('Gemm', [x, a], { transB: 1 }); // [tokens, r]
    c.addGemm(b, [c.dy, narrow], { transA: 1, alpha });
    const narrowGradient = c.g.node('Gemm', [c.dy, b], { alpha }); // [tokens, r]
    c.addGemm(a, [narrowGradient, x], { transA: 1 });
    addedGradient(c); // a bias
  };
}

/**
 * Returns the rule for y = Gemm(narrow, B, base, transB) = base + scaling * narrow Bᵀ, with narrow [tokens, r] and B [out, r].
 * It computes dB transposed: as [r, out], the product takes half the time.
 */
export function lowRankSumRule(parts: {
  readonly narrow: Value;
  readonly b: Value;
  readonly scaling: number;
}): Rule {
  const { narrow, b, scaling } = parts;
  return (c) => {
    const alpha = { float: scaling };
    const transposed = c.g.node('Gemm', [narrow, c.dy], { transA: 1, alpha }); // [r, out]
    c.add(b, c.g.node('Transpose', [transposed], { perm: [1, 0] }));
    c.add(narrow, c.g.node('Gemm', [c.dy, b], { alpha }));
    const base = inputOf(c, 2);
    if (c.needs(base)) c.add(base, c.dy);
  };
}

function batchedProduct(c: RuleContext): void {
  const batches = [0, 1].map((input) => c.dims(inputOf(c, input)).slice(0, -2));
  const isPlain = sameDims(batches[0]!, batches[1]!);
  assert(isPlain, `autodiff: ${c.node.opType} broadcasts [${batches[0]}] and [${batches[1]}]`);
  productGradients(c, (value, factors, flags) => {
    c.add(value, c.g.node('FusedMatMul', factors, flags, MICROSOFT));
  });
}

/** Sums a gradient of the output's shape over the axes along which the input was broadcast. */
function sumTo(c: RuleContext, input: Value, gradient: Value): Value {
  const from = c.dims(outputOf(c, 0));
  const to = c.dims(input);
  const missing = from.length - to.length;
  const axes = from
    .map((_, axis) => axis)
    .filter((axis) => axis < missing || to[axis - missing] !== from[axis]);
  if (axes.length === 0) return gradient;
  assert(
    axes.every((axis) => axis < missing),
    `autodiff: ${c.node.opType} repeats [${to}]`,
  );
  return c.g.node('ReduceSum', [gradient, c.g.int64(axes)], { keepdims: 0 });
}

/**
 * Returns the shape of a Reshape's input, as a constant if at most one dimension is unknown. Reading the input's shape at run
 * time would keep the input alive.
 */
function shapeOf(c: RuleContext, input: Value): Value {
  const to = c.dims(input);
  const from = c.dims(outputOf(c, 0));
  // In a Reshape, 0 copies the input's dimension, and -1 is inferred from the rest.
  const shape = to.map((dim, axis) =>
    typeof dim === 'number' ? dim : dim === from[axis] ? 0 : -1,
  );
  const isWritten = shape.filter((dim) => dim === -1).length <= 1;
  return isWritten ? c.g.int64(shape) : c.g.node('Shape', [input]);
}

function inputOf(c: RuleContext, index: number): Value {
  const name = c.node.inputs[index];
  assert(name, `autodiff: ${c.node.opType} without its input ${index}`);
  return name as Value;
}

function outputOf(c: RuleContext, index: number): Value {
  const name = c.node.outputs[index];
  assert(name, `autodiff: the gradient of ${c.node.opType} needs its output ${index}`);
  return name as Value;
}

function floatAttribute(node: GraphNode, name: string, otherwise: number): number {
  const value = node.attributes[name];
  if (value === undefined) return otherwise;
  assert(typeof value === 'object' && 'float' in value, `autodiff: ${node.opType}.${name}`);
  return value.float;
}
