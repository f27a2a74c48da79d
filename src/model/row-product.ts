// Products of int8 weights in per-token form. Activations are rounded to 8 bits with one scale per token row, weights with one
// scale per output. Both are unsigned with the zero point 128: the runtime's product of uint8 and int8 saturates on CPUs without
// VNNI and AMX, and its product of uint8 and uint8 is exact on every CPU. Sums of integers are exact, so a row's product does not
// depend on other rows. Used in serving and training.
import { type GraphBuilder, MICROSOFT, type Value } from '../onnx/graph-builder.ts';
import { LARGEST_LEVEL, ZERO_POINT } from '../quant/row-int8.ts';

/** Rows rounded to 8 bits: x[t][i] = (codes[t][i] - 128) * scales[t]. */
export interface QuantizedRows {
  /** uint8 [tokens, in] */
  readonly codes: Value;
  /** float32 [tokens, 1] */
  readonly scales: Value;
}

/** A weight in per-token form: w[i][o] = (data[i][o] - 128) * scales[o]. */
export interface RowInt8Weight {
  /** uint8 [in, out] */
  readonly data: Value;
  /** float32 [out] */
  readonly scales: Value;
}

/** Returns the zero points of rows, uint8 [tokens * groups]. `ofTokens` [tokens] has one value per token. */
export function rowZeroPoints(g: GraphBuilder, ofTokens: Value, groups = 1): Value {
  const ofRows = g.node('Expand', [g.uint8(ZERO_POINT), g.node('Shape', [ofTokens])]);
  return groups === 1 ? ofRows : g.node('Concat', new Array(groups).fill(ofRows), { axis: 0 });
}

/**
 * Rounds each row of x [tokens, in] to 8 bits. A row of zeros gets the scale 0, and its products are 0. `zeroPoints` is a result
 * of `rowZeroPoints` that other products share.
 */
export function quantizeRows(g: GraphBuilder, x: Value, zeroPoints?: Value): QuantizedRows {
  const { codes, scales } = quantizeEach(g, x, zeroPoints);
  return { codes, scales: g.node('Unsqueeze', [scales, g.int64([1])]) };
}

/**
 * Rounds each row in `groups` groups of `width` adjacent inputs. Each group has a scale, and is multiplied by its own weight.
 * `zeroPoints`: uint8 [tokens * groups].
 */
export function quantizeGroups(
  g: GraphBuilder,
  x: Value,
  { groups, width }: { readonly groups: number; readonly width: number },
  zeroPoints?: Value,
): QuantizedRows[] {
  if (groups === 1) return [quantizeRows(g, x, zeroPoints)];
  const rows = (v: Value, columns: number) => g.node('Reshape', [v, g.int64([-1, columns])]);
  const { codes, scales } = quantizeEach(g, rows(x, width), zeroPoints);
  const groupScales = g.split(rows(scales, groups), groups, 1);
  return g
    .split(rows(codes, groups * width), groups, 1)
    .map((part, i) => ({ codes: part, scales: groupScales[i]! }));
}

/** Rounds rows [rows, width]. Returns codes of the same shape, and scales [rows]. */
function quantizeEach(g: GraphBuilder, x: Value, shared?: Value): QuantizedRows {
  const largest = g.node('ReduceMax', [g.node('Abs', [x]), g.int64([1])], { keepdims: 0 });
  const scales = g.node('Mul', [largest, g.float(1 / LARGEST_LEVEL)]);
  const zeroPoints = shared ?? rowZeroPoints(g, scales);
  return { codes: g.node('QuantizeLinear', [x, scales, zeroPoints], { axis: 0 }), scales };
}

/** Multiplies quantized rows by a weight: float32 [tokens, out]. `name` is the result's name. */
export function rowProduct(
  g: GraphBuilder,
  { codes, scales }: QuantizedRows,
  weight: RowInt8Weight,
  name?: string,
): Value {
  const zeroPoint = g.uint8(ZERO_POINT);
  const operands = [codes, weight.data, g.float(1), weight.scales, zeroPoint, zeroPoint];
  const product = g.node('MatMulIntegerToFloat', operands, {}, MICROSOFT);
  return g.nodeWithOutputs('Mul', [product, scales], {}, { outputs: [name ?? true] })[0]!;
}

/** Returns the values of a weight: float32 [in, out]. */
export function weightValues(g: GraphBuilder, { data, scales }: RowInt8Weight): Value {
  const levels = g.node('Sub', [g.cast(data, 'float32'), g.float(ZERO_POINT)]);
  return g.node('Mul', [levels, scales]);
}

/** Multiplies each group of inputs by its weight, and adds the products: float32 [tokens, out]. */
export function groupProduct(
  g: GraphBuilder,
  groups: readonly QuantizedRows[],
  weights: readonly RowInt8Weight[],
): Value {
  const products = groups.map((rows, i) => rowProduct(g, rows, weights[i]!));
  return products.length === 1 ? products[0]! : g.node('Sum', products);
}
