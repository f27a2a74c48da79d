// Frozen int8 weights in per-token form as inputs of training graphs, and the gradients of their products.

import { quantizeRows, type RowInt8Weight, rowProduct } from '../../src/model/row-product.ts';
import type { GraphBuilder, Value } from '../../src/onnx/graph-builder.ts';
import type { Rule } from '../autodiff/rules.ts';

/** The suffixes of a weight's inputs in per-token form. */
export const ROW_INT8_SUFFIX = { data: '.int8', scales: '.int8_scales' } as const;

/** Declares a weight [out, in] as inputs in per-token form. */
export function rowInt8Input(
  g: GraphBuilder,
  name: string,
  [out, width]: readonly [number, number],
): RowInt8Weight {
  return {
    data: g.input(name + ROW_INT8_SUFFIX.data, 'uint8', [width, out]),
    scales: g.input(name + ROW_INT8_SUFFIX.scales, 'float32', [out]),
  };
}

/**
 * Returns the rule for y = rowProduct(quantizeRows(x), weight). Rounding counts as the identity (straight-through): dx = dy W,
 * a product of the same weight with dy rounded per row. The weight's scales belong to the columns of dy, so dy is multiplied by
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
