// The base's weights, for adapters that store a part of the model instead of a change to it.

import type { Tensor } from '../../src/common/tensor.ts';
import type { LoraPair } from './weights.ts';

/** The weights of the base with the values that adapters are trained on: NF4 dequantized. */
export interface AdaptedBase {
  /**
   * Returns the norms [out] of the rows of W + B A for a linear such as `model.layers.0.self_attn.q_proj`. The update is A
   * [rank, in] and B [out, rank], as PEFT stores them.
   */
  rowNorms(module: string, update: LoraPair): Promise<Float32Array>;
  /** Returns a vector of the checkpoint, such as `model.layers.0.self_attn.q_proj.bias`. */
  vector(name: string): Promise<Float32Array>;
  /**
   * Returns a table of the checkpoint, [vocabulary, hidden], such as `model.embed_tokens.weight`. Absent: adapters with a
   * resized vocabulary are refused.
   */
  table?(name: string): Promise<Tensor>;
}
