// Nodes that the serving graph and the training graph share.
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import { MICROSOFT } from '../onnx/graph-builder.ts';
import type { FloatType } from '../settings/provider.ts';
import type { DecoderConfig } from './config.ts';
import type { FamilyTraits } from './families.ts';

/** Multiplies by a constant. A factor of 1 adds no node. */
export function scaled(g: GraphBuilder, x: Value, factor: number, float?: FloatType): Value {
  return factor === 1 ? x : g.node('Mul', [x, g.float(factor, float)]);
}

/** Computes cap * tanh(x / cap). `name` is the result's name. */
export function softcapped(g: GraphBuilder, x: Value, cap: number, name?: string): Value {
  const bounded = g.node('Tanh', [g.node('Mul', [x, g.float(1 / cap)])]);
  return g.nodeWithOutputs('Mul', [bounded, g.float(cap)], {}, { outputs: [name ?? true] })[0]!;
}

/** Applies the activation function of a feed-forward gate. */
export function activated(
  g: GraphBuilder,
  x: Value,
  activation: FamilyTraits['activation'],
): Value {
  switch (activation) {
    case 'silu':
      return g.node('QuickGelu', [x], { alpha: { float: 1 } }, MICROSOFT);
    case 'gelu_pytorch_tanh':
      return g.node('Gelu', [x], { approximate: 'tanh' });
  }
}

/** Returns the factors of a norm from its weight. */
export function normFactors(
  g: GraphBuilder,
  weight: Value,
  { normAddsOne }: DecoderConfig,
  float?: FloatType,
): Value {
  return normAddsOne ? g.node('Add', [weight, g.float(1, float)]) : weight;
}
