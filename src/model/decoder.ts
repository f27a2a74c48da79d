// The decoder, once: what a block computes, as calls on a lowering. The serving graph and the training
// graph are two lowerings of this one definition. Knows no operator of ONNX and no weight format.
import type { Value } from '../onnx/graph-builder.ts';
import type { DecoderConfig } from './config.ts';
import { finalNorm, layerTensor } from './names.ts';
import type { Site } from './target-modules.ts';

/**
 * The residual stream between two blocks, [T, D]: the sum so far and what the last sub-layer adds to it,
 * kept apart so that a lowering can add and normalize in one operator.
 */
export interface Residual {
  readonly sum: Value;
  readonly delta: Value | undefined;
}

/** The output of a site's linears, [T, sum of widths] in the order of the target table. */
export type Projection =
  | { readonly packed: Value; readonly parts?: undefined }
  | { readonly parts: readonly Value[]; readonly packed?: undefined };

/** What a graph must be able to express of one block. T = tokens of the run, D = hidden size. */
export interface BlockLowering {
  /** Adds the pending delta, then RMS norm with the named weight: the new sum and the normalized [T, D]. */
  norm(residual: Residual, weight: string): { sum: Value; normalized: Value };
  /** All linears of a site on x [T, in]. */
  linear(x: Value, layer: number, site: Site): Projection;
  /** q/k norm where the family has it, rotary embedding, causal attention: [T, H*hd]. */
  attention(qkv: Projection, layer: number): Value;
  /** silu(gate) * up, [T, F]. */
  gatedSilu(gateUp: Projection): Value;
}

/** And of the whole decoder. */
export interface DecoderLowering extends BlockLowering {
  /** Token ids → embeddings [T, D]. */
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

/** Token ids → the last norm's output [T, D], ready for the head. */
export function decoder(ops: DecoderLowering, config: DecoderConfig): Value {
  let residual: Residual = { sum: ops.embed(), delta: undefined };
  for (let layer = 0; layer < config.layerCount; layer++) {
    residual = decoderBlock(ops, layer, residual);
  }
  return ops.norm(residual, finalNorm).normalized;
}

/** The value of a site that has one linear. */
function single(projection: Projection): Value {
  return projection.packed ?? projection.parts[0]!;
}
