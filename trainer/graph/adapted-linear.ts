// A linear with its adapter in a training graph: LoRA, and its variants DoRA, PiSSA, activated LoRA and biases of B. tokens =
// rows of x; r = rank.
import { tensorName } from '../../adapters/peft/tensor-names.ts';
import { loraNames } from '../../src/model/names.ts';
import type { GraphBuilder, Value } from '../../src/onnx/graph-builder.ts';
import { lowRankRule, lowRankSumRule, type Rule } from '../autodiff/rules.ts';
import type { Compute, ModuleUpdate } from '../types.ts';
import { INPUT_SUFFIX } from './inputs.ts';

/** A linear of a graph, and how its parts are computed. */
interface AdaptedLinear {
  readonly g: GraphBuilder;
  readonly compute: Compute;
  /** Rules that replace the operators' rules. */
  readonly ownRules: Map<Value, Rule>;
  /** Such as `model.layers.0.self_attn.q_proj`. */
  readonly module: string;
  /** [out, in] */
  readonly shape: readonly [number, number];
  readonly update: ModuleUpdate;
  /** The base's bias [out], or empty. */
  readonly bias: readonly Value[];
  /** [tokens, in]: 0, or 1 / (1 - p). Undefined: no dropout. */
  readonly dropoutMask: Value | undefined;
  /** [tokens, 1]: 1 if the adapter applies, else 0. Undefined: it always applies. */
  readonly active: Value | undefined;
  /** Declares a float32 input. */
  weight(name: string, dims: readonly number[]): Value;
  /** Returns W [out, in] in float32. */
  dense(): Value;
  /** Computes x Wᵀ (+ bias) in the run's arithmetic. */
  product(x: Value, bias: readonly Value[]): Value;
}

/** The factors of an update: A [r, in], B [out, r]. */
interface Factors {
  readonly a: Value;
  readonly b: Value;
}

/** Computes the output of an adapted linear: [tokens, out]. */
export function adaptedLinear(x: Value, linear: AdaptedLinear): Value {
  const { g, update, module, shape } = linear;
  const { a, b } = loraNames(module);
  const factors = {
    a: linear.weight(a, [update.rank, shape[1]]),
    b: linear.weight(b, [shape[0], update.rank]),
  };
  const y = update.isDora ? doraOutput(x, linear, factors) : loraOutput(x, linear, factors);
  if (!update.hasBias) return y;
  const bias = linear.weight(tensorName(module, 'updateBias'), [shape[0]]);
  return g.node('Add', [y, g.node('Mul', [bias, g.float(update.scaling)])]);
}

/** x Wᵀ + bias + scaling * (mask * x) Aᵀ Bᵀ */
function loraOutput(x: Value, linear: AdaptedLinear, factors: Factors): Value {
  const { bias, dropoutMask, active, compute } = linear;
  if (!dropoutMask && !active && compute === 'float32') {
    return mergedProduct(x, linear, { factors, bias });
  }
  return addUpdate(x, linear, { factors, base: startedProduct(x, linear, bias) });
}

/**
 * DoRA: the linear m / ||W + scaling * B A|| * (W + scaling * B A), row by row. As in peft, the norms are constants for the
 * gradient. The dropped part of x is multiplied only by W.
 */
function doraOutput(x: Value, linear: AdaptedLinear, factors: Factors): Value {
  const { g, bias, dropoutMask } = linear;
  const kept = dropoutMask ? g.node('Mul', [x, dropoutMask]) : x;
  const inner = { ...linear, dropoutMask: undefined, bias: [] };
  const adapted = g.node('Mul', [loraOutput(kept, inner, factors), doraFactor(linear, factors)]);
  const parts = [adapted, ...bias];
  if (dropoutMask) {
    const dropped = g.node('Mul', [x, g.node('Sub', [g.float(1), dropoutMask])]);
    parts.push(startedProduct(dropped, linear, []));
  }
  return parts.reduce((sum, part) => g.node('Add', [sum, part]));
}

/** A row of zeros has the norm 0 and the magnitude 0, and stays zero. */
const LEAST_NORM = 1e-12;

/** m / ||W + scaling * B A||: [out] */
function doraFactor(linear: AdaptedLinear, factors: Factors): Value {
  const { g, module, shape, ownRules } = linear;
  const magnitude = linear.weight(tensorName(module, 'magnitude'), [shape[0]]);
  const merged = mergedWeight(linear, factors);
  const exact = g.node('ReduceL2', [merged, g.int64([1])], { keepdims: 0 });
  const norms = g.node('Max', [exact, g.float(LEAST_NORM)]);
  const factor = g.node('Div', [magnitude, norms]);
  ownRules.set(factor, ({ dy, add }) => add(magnitude, g.node('Div', [dy, norms])));
  return factor;
}

/** x (W + scaling * B A)ᵀ + bias. Forming that matrix costs less than applying B to all tokens. */
function mergedProduct(
  x: Value,
  linear: AdaptedLinear,
  { factors, bias }: { readonly factors: Factors; readonly bias: readonly Value[] },
): Value {
  const { g, ownRules, update } = linear;
  const y = g.node('Gemm', [x, mergedWeight(linear, factors), ...bias], { transB: 1 });
  ownRules.set(y, lowRankRule({ x, ...factors, scaling: update.scaling }));
  return y;
}

/** W + scaling * B A: [out, in] */
function mergedWeight(linear: AdaptedLinear, { a, b }: Factors): Value {
  const { g, update } = linear;
  const start = startFactors(linear);
  const dense = linear.dense();
  const weight = start
    ? g.node('Gemm', [start.b, start.a, dense], { alpha: { float: -update.scaling } })
    : dense;
  return g.node('Gemm', [b, a, weight], { alpha: { float: update.scaling } });
}

/** x Wᵀ + bias. For PiSSA, the product of the initial factors is subtracted from W. */
function startedProduct(x: Value, linear: AdaptedLinear, bias: readonly Value[]): Value {
  const product = linear.product(x, bias);
  const start = startFactors(linear);
  if (!start) return product;
  const alpha = { float: -linear.update.scaling };
  const inputs = [narrowRows(x, linear, start.a), start.b, product];
  return linear.g.node('Gemm', inputs, { transB: 1, alpha });
}

/** base + scaling * (mask * x) Aᵀ Bᵀ */
function addUpdate(
  x: Value,
  linear: AdaptedLinear,
  { factors: { a, b }, base }: { readonly factors: Factors; readonly base: Value },
): Value {
  const { g, update, dropoutMask, compute, ownRules } = linear;
  const { scaling } = update;
  const dropped = dropoutMask ? g.node('Mul', [x, dropoutMask]) : x;
  const narrow = narrowRows(dropped, linear, a);
  const y = g.node('Gemm', [narrow, b, base], { transB: 1, alpha: { float: scaling } });
  if (compute === 'int8') ownRules.set(y, lowRankSumRule({ narrow, b, scaling }));
  return y;
}

/** x Aᵀ [tokens, r], zero for tokens without the adapter. */
function narrowRows(x: Value, { g, active }: AdaptedLinear, a: Value): Value {
  const narrow = g.node('Gemm', [x, a], { transB: 1 });
  return active ? g.node('Mul', [narrow, active]) : narrow;
}

/** The factors that PiSSA starts from and subtracts from W. */
function startFactors({ update, module, shape, weight }: AdaptedLinear): Factors | undefined {
  if (!update.isPissa) return undefined;
  const { a, b } = loraNames(module);
  return {
    a: weight(a + INPUT_SUFFIX.start, [update.rank, shape[1]]),
    b: weight(b + INPUT_SUFFIX.start, [shape[0], update.rank]),
  };
}
