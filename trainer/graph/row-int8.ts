// Frozen int8 weights in per-token form as inputs of training graphs, and the gradients of their products.

import { ConfigError } from '../../src/common/errors.ts';
import { quantizeRows, type RowInt8Weight, rowProduct } from '../../src/model/row-product.ts';
import { GraphBuilder, type Value } from '../../src/onnx/graph-builder.ts';
import { createSessionSync } from '../../src/ort/session.ts';
import { hostTensor } from '../../src/ort/tensor.ts';
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
    data: g.input(name + ROW_INT8_SUFFIX.data, 'int8', [width, out]),
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

// Checks that this CPU multiplies 8-bit integers exactly. Without VNNI or AMX, the runtime's kernel may saturate.

/** The shape of the product. A saturating kernel already fails with two inputs. */
const [TOKENS, WIDTH, OUT] = [4, 64, 32];
const LARGEST = 127;

/** @throws ConfigError if 8-bit products are not exact */
export function checkInt8Products(): void {
  if (hasExactInt8Products()) return;
  throw new ConfigError([
    'compute: int8 needs a CPU with VNNI or AMX, because 8-bit products are not exact on this one. Use float32.',
  ]);
}

let isExact: boolean | undefined;

/** Whether a product of the largest values is exact. Multiplies them once. */
export function hasExactInt8Products(): boolean {
  isExact ??= multipliesExactly();
  return isExact;
}

function multipliesExactly(): boolean {
  const g = new GraphBuilder();
  const x = g.input('x', 'float32', [TOKENS, WIDTH]);
  const weight = rowInt8Input(g, 'w', [OUT, WIDTH]);
  const y = rowProduct(g, quantizeRows(g, x), weight);
  g.output(y, 'float32', [TOKENS, OUT]);
  using session = createSessionSync(g.toBytes(), { intraOpThreads: 1 });
  using binding = session.createBinding();
  using input = hostTensor('float32', [TOKENS, WIDTH]);
  using output = hostTensor('float32', [TOKENS, OUT]);
  const [data, scales] = session.inputs.slice(1).map(({ name }) => name) as [string, string];
  binding.bindInput('x', input);
  binding.bindInput(data, filled('int8', [WIDTH, OUT], LARGEST));
  binding.bindInput(scales, filled('float32', [OUT], 1));
  binding.bindOutput(y, output);
  input.data.fill(LARGEST);
  binding.runSync();
  return output.data.every((value) => value === WIDTH * LARGEST * LARGEST);
}

function filled<T extends 'int8' | 'float32'>(type: T, shape: readonly number[], value: number) {
  const tensor = hostTensor(type, shape);
  tensor.data.fill(value);
  return tensor;
}
