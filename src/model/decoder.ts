// The definition of the decoder: what a block computes, as calls on a lowering. The serving graph and the training
// graph are two lowerings of it. Knows no ONNX operators and no weight formats.
import type { Value } from '../onnx/graph-builder.ts';
import type { DecoderConfig } from './config.ts';
import { finalNorm, layerTensor } from './names.ts';
import type { FusedLinear } from './target-modules.ts';

/**
 * The residual stream between two blocks, [T, D]: the sum so far, and the output of the last sub-layer. The two are
 * kept apart because a lowering can add and normalize in one operator.
 */
export interface Residual {
  readonly sum: Value;
  readonly delta: Value | undefined;
}

/** The output of a fused linear: packed [T, sum of widths], or one [T, width] per target in the order of the table. */
export type Projection =
  | { readonly packed: Value; readonly parts?: undefined }
  | { readonly parts: readonly Value[]; readonly packed?: undefined };

/** Lowers the parts of one block. T = tokens of the run, D = hidden size, F = feed-forward size. */
export interface BlockLowering {
  /** Adds `delta` to `sum`, then applies RMS norm with the named weight. Both results are [T, D]. */
  norm(residual: Residual, weight: string): { sum: Value; normalized: Value };
  /** Applies a fused linear to x [T, in]. */
  linear(x: Value, layer: number, fused: FusedLinear): Projection;
  /** Applies q/k norm if the family has it, rotary embedding and causal attention. Returns [T, heads * headDim]. */
  attention(qkv: Projection, layer: number): Value;
  /** Computes silu(gate) * up, [T, F]. */
  gatedSilu(gateUp: Projection): Value;
}

/** Lowers a whole decoder. */
export interface DecoderLowering extends BlockLowering {
  /** The embeddings [T, D] of the token ids. */
  embed(): Value;
}

/** One block: pre-norm attention, pre-norm gated feed-forward. */
export function decoderBlock(ops: BlockLowering, layer: number, input: Residual): Residual {
  const attention = ops.norm(input, layerTensor(layer, 'input_layernorm'));
  const qkv = ops.linear(attention.normalized, layer, 'attention_in');
  const mixed = ops.attention(qkv, layer);
  const attended = single(ops.linear(mixed, layer, 'attention_out'));

  const mlp = ops.norm(
    { sum: attention.sum, delta: attended },
    layerTensor(layer, 'post_attention_layernorm'),
  );
  const gateUp = ops.linear(mlp.normalized, layer, 'mlp_in');
  const fed = single(ops.linear(ops.gatedSilu(gateUp), layer, 'mlp_out'));
  return { sum: mlp.sum, delta: fed };
}

/** Computes the output of the last norm [T, D] from token ids. The head comes next. */
export function decoder(ops: DecoderLowering, config: DecoderConfig): Value {
  let residual: Residual = { sum: ops.embed(), delta: undefined };
  for (let layer = 0; layer < config.layerCount; layer++) {
    residual = decoderBlock(ops, layer, residual);
  }
  return ops.norm(residual, finalNorm).normalized;
}

/** The output of a fused linear with a single target. */
function single(projection: Projection): Value {
  return projection.packed ?? projection.parts[0]!;
}
