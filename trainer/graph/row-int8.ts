// Products in the row form of int8, and their gradients. Activations and gradients are rounded to 8 bits with one scale per
// token row, weights to 8 bits with one scale per output. Sums of integers are exact.
import { type GraphBuilder, MICROSOFT, type Value } from '../../src/onnx/graph-builder.ts';
import type { Rule } from '../autodiff/rules.ts';

/** Rows rounded to 8 bits: x[t][i] = (codes[t][i] - 128) * scales[t]. */
export interface QuantizedRows {
  /** uint8 [tokens, in] */
  readonly codes: Value;
  /** float32 [tokens, 1] */
  readonly scales: Value;
}

/** A frozen weight in the row form, as inputs of a graph. */
export interface RowInt8Weight {
  /** int8 [in, out] */
  readonly data: Value;
  /** float32 [out] */
  readonly scales: Value;
}

/** The suffixes of a weight's inputs in the row form. */
export const ROW_INT8_SUFFIX = { data: '.int8', scales: '.int8_scales' } as const;

const LARGEST_LEVEL = 127;
const ZERO_POINT = 128;

/** Declares a weight [out, in] as inputs in the row form. */
export function rowInt8Input(
  g: GraphBuilder,
  name: string,
  [out, width]: readonly [number, number],
): RowInt8Weight {
  return {
    data: g.input(name + ROW_INT8_SUFFIX.data, 'int8', [width, out]),
    scales: g.input(name + ROW_INT8_SUFFIX.scales, 'float32', [out]),
  };
}

/** Rounds each row of x [tokens, in] to 8 bits. A row of zeros gets the scale 0, and its products are 0. */
export function quantizeRows(g: GraphBuilder, x: Value): QuantizedRows {
  const largest = g.node('ReduceMax', [g.node('Abs', [x]), g.int64([1])], { keepdims: 0 });
  const scales = g.node('Mul', [largest, g.float(1 / LARGEST_LEVEL)]); // [tokens]
  const zeroPoints = g.node('Expand', [g.uint8(ZERO_POINT), g.node('Shape', [scales])]);
  const codes = g.node('QuantizeLinear', [x, scales, zeroPoints], { axis: 0 });
  return { codes, scales: g.node('Unsqueeze', [scales, g.int64([1])]) };
}

/** Multiplies quantized rows by a weight: float32 [tokens, out]. `name`: the name of the result. */
export function rowProduct(
  g: GraphBuilder,
  { codes, scales }: QuantizedRows,
  weight: RowInt8Weight,
  name?: string,
): Value {
  const operands = [codes, weight.data, g.float(1), weight.scales, g.uint8(ZERO_POINT)];
  const product = g.node('MatMulIntegerToFloat', operands, {}, MICROSOFT);
  return g.nodeWithOutputs('Mul', [product, scales], {}, { outputs: [name ?? true] })[0]!;
}

/**
 * Returns the rule for y = rowProduct(quantizeRows(x), weight). Rounding counts as the identity (straight-through): dx = dy W,
 * a product of the same weight with dy rounded per row. The weight's scales are those of dy's columns, so dy is multiplied by
 * them before it is rounded.
 */
export function rowProductRule(x: Value, { data, scales }: RowInt8Weight): Rule {
  return ({ g, dy, needs, add }) => {
    if (!needs(x)) return;
    const rows = quantizeRows(g, g.node('Mul', [dy, scales]));
    const transposed = { data: g.node('Transpose', [data], { perm: [1, 0] }), scales: g.float(1) };
    add(x, rowProduct(g, rows, transposed));
  };
}
