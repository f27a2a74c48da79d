// Products in the row form of int8: activations are rounded to 8 bits with one scale per token row, weights to 8 bits with
// one scale per output. Sums of integers are exact, so a row's product does not depend on the rows beside it. Serving and
// training use it.
import { type GraphBuilder, MICROSOFT, type Value } from '../onnx/graph-builder.ts';

/** Rows rounded to 8 bits: x[t][i] = (codes[t][i] - 128) * scales[t]. */
export interface QuantizedRows {
  /** uint8 [tokens, in] */
  readonly codes: Value;
  /** float32 [tokens, 1] */
  readonly scales: Value;
}

/** A weight in the row form. */
export interface RowInt8Weight {
  /** int8 [in, out] */
  readonly data: Value;
  /** float32 [out] */
  readonly scales: Value;
}

const LARGEST_LEVEL = 127;
const ZERO_POINT = 128;

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
