// The definition of the decoder: a block's computation, as calls on a lowering. The serving graph and the training graph are
// two lowerings. Operators and weight formats are their business.
import type { Value } from '../onnx/graph-builder.ts';
import type { DecoderConfig } from './config.ts';
import type { SubLayerNorms } from './families.ts';
import { finalNorm, layerTensor } from './names.ts';
import type { FusedLinear } from './target-modules.ts';

/**
 * The residual stream between two blocks, [T, D]: the sum so far, and the last sub-layer's output. They are separate because a
 * lowering can add and normalize in one operator.
 */
export interface Residual {
  readonly sum: Value;
  readonly delta: Value | undefined;
}

/**
 * The output of a fused linear, as the lowering needs it: packed as a single [T, sum of widths], or one [T, width] per part. The
 * parts are q, k, v or gate, up.
 */
export type Projection = readonly Value[];

/** Lowers the parts of one block. T = tokens of the run, D = hidden size, F = feed-forward size. */
export interface BlockLowering {
  /** Adds `delta` to `sum`: [T, D]. */
  join(residual: Residual): Value;
  /** Adds `delta` to `sum`, then applies RMS norm with the named weight. Both results are [T, D]. */
  norm(residual: Residual, weight: string): { sum: Value; normalized: Value };
  /** Multiplies by a constant. */
  scale(x: Value, factor: number): Value;
  /** Applies a fused linear to x [T, in]. */
  linear(x: Value, layer: number, fused: FusedLinear): Projection;
  /** Applies the q/k norm if the family has one, the rotary embedding and causal attention. Returns [T, heads * headDim]. */
  attention(qkv: Projection, layer: number): Value;
  /** Computes activation(gate) * up, [T, F]. */
  gated(gateUp: Projection): Value;
}

/** Lowers a whole decoder. */
export interface DecoderLowering extends BlockLowering {
  /** Returns the embeddings [T, D] of the token ids. */
  embed(): Value;
}

/** One block: attention, then the gated feed-forward layer. */
export function decoderBlock(
  ops: BlockLowering,
  config: DecoderConfig,
  layer: number,
  input: Residual,
): Residual {
  const { norms } = config;
  const attended = subLayer(ops, config, { layer, norms: norms.attention }, input, (x) => {
    const qkv = ops.linear(x, layer, 'attention_in');
    return ops.linear(ops.attention(qkv, layer), layer, 'attention_out');
  });
  return subLayer(ops, config, { layer, norms: norms.mlp }, attended, (x) => {
    const gateUp = ops.linear(x, layer, 'mlp_in');
    return ops.linear(ops.gated(gateUp), layer, 'mlp_out');
  });
}

/** Normalizes, computes, normalizes and scales, skipping what the family lacks. Returns the residual stream. */
function subLayer(
  ops: BlockLowering,
  { residualScale }: DecoderConfig,
  { layer, norms }: { readonly layer: number; readonly norms: SubLayerNorms },
  input: Residual,
  compute: (x: Value) => Projection,
): Residual {
  const { sum, normalized } = norms.before
    ? ops.norm(input, layerTensor(layer, norms.before))
    : unchanged(ops.join(input));
  const output = compute(normalized)[0]!; // a fused linear with a single part
  const added = norms.after
    ? ops.norm({ sum: output, delta: undefined }, layerTensor(layer, norms.after)).normalized
    : output;
  return { sum, delta: ops.scale(added, residualScale) };
}

function unchanged(sum: Value): { sum: Value; normalized: Value } {
  return { sum, normalized: sum };
}

/** Computes the last norm's output [T, D] from token ids. The output head comes next. */
export function decoder(ops: DecoderLowering, config: DecoderConfig): Value {
  const embeddings = ops.scale(ops.embed(), config.embeddingScale);
  let residual: Residual = { sum: embeddings, delta: undefined };
  for (let layer = 0; layer < config.layerCount; layer++) {
    residual = decoderBlock(ops, config, layer, residual);
  }
  return ops.norm(residual, finalNorm).normalized;
}
