// Products of int8 weights in per-token form. Activations are rounded to 8 bits with one scale per token row, weights with one
// scale per output. Sums of integers are exact, so a row's product does not depend on other rows. Used in serving and training.
import { type GraphBuilder, MICROSOFT, type Value } from '../onnx/graph-builder.ts';

/**
 * Rows rounded to 8 bits: x[t][i] = (codes[t][i] - 128) * scales[t]. With two terms, the codes of the first term's rounding
 * errors follow after the last row, with 1 / 254 of its scales.
 */
export interface QuantizedRows {
  /** uint8 [terms * tokens, in] */
  readonly codes: Value;
  /** float32 [tokens, 1] */
  readonly scales: Value;
  readonly terms: Terms;
}

/** How often a row is rounded. The second term costs as much as the first, and leaves 1 / 254 of its error. */
export type Terms = 1 | 2;

/** A weight in per-token form. */
export interface RowInt8Weight {
  /** int8 [in, out] */
  readonly data: Value;
  /** float32 [out] */
  readonly scales: Value;
}

const LARGEST_LEVEL = 127;
const ZERO_POINT = 128;
/** The scale of a second term, relative to the first one's. Rounding errors are at most half a level. */
const SECOND_SCALE = 0.5 / LARGEST_LEVEL;

/** Returns the zero points of rows, uint8 [tokens]. `ofTokens` [tokens] has one value per token. */
export function rowZeroPoints(g: GraphBuilder, ofTokens: Value): Value {
  return g.node('Expand', [g.uint8(ZERO_POINT), g.node('Shape', [ofTokens])]);
}

/** Options for rounding rows. */
interface RoundingOptions {
  /** Default: 1. */
  readonly terms?: Terms;
  /** The result of `rowZeroPoints`, which products with the same number of rows can share. Default: a new one. */
  readonly zeroPoints?: Value;
}

/** Rounds each row of x [tokens, in] to 8 bits. A row of zeros gets the scale 0, and its products are 0. */
export function quantizeRows(
  g: GraphBuilder,
  x: Value,
  { terms = 1, zeroPoints: shared }: RoundingOptions = {},
): QuantizedRows {
  const largest = g.node('ReduceMax', [g.node('Abs', [x]), g.int64([1])], { keepdims: 0 });
  const rowScales = g.node('Mul', [largest, g.float(1 / LARGEST_LEVEL)]); // [tokens]
  const zeroPoints = shared ?? rowZeroPoints(g, rowScales);
  const first = g.node('QuantizeLinear', [x, rowScales, zeroPoints], { axis: 0 });
  const scales = g.node('Unsqueeze', [rowScales, g.int64([1])]);
  if (terms === 1) return { codes: first, scales, terms };
  const rounded = g.node('DequantizeLinear', [first, rowScales, zeroPoints], { axis: 0 });
  const secondScales = g.node('Mul', [rowScales, g.float(SECOND_SCALE)]);
  const rest = [g.node('Sub', [x, rounded]), secondScales, zeroPoints];
  const second = g.node('QuantizeLinear', rest, { axis: 0 });
  return { codes: g.node('Concat', [first, second], { axis: 0 }), scales, terms };
}

/** Multiplies quantized rows by a weight: float32 [tokens, out]. `name` is the result's name. */
export function rowProduct(
  g: GraphBuilder,
  { codes, scales, terms }: QuantizedRows,
  weight: RowInt8Weight,
  name?: string,
): Value {
  const operands = [codes, weight.data, g.float(1), weight.scales, g.uint8(ZERO_POINT)];
  const products = g.node('MatMulIntegerToFloat', operands, {}, MICROSOFT);
  const product = terms === 1 ? products : addTerms(g, products);
  return g.nodeWithOutputs('Mul', [product, scales], {}, { outputs: [name ?? true] })[0]!;
}

/** [2 * tokens, out] → [tokens, out] */
function addTerms(g: GraphBuilder, products: Value): Value {
  const halves = { axis: 0, num_outputs: 2 };
  const [first, second] = g.nodeWithOutputs('Split', [products], halves, { outputs: [true, true] });
  return g.node('Add', [first!, g.node('Mul', [second!, g.float(SECOND_SCALE)])]);
}
