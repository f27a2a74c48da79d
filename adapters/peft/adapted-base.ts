// The base as the reader of adapters needs it, for adapters that store a part of the model instead of a change of it.

import type { Tensor } from '../../src/common/tensor.ts';

/** An update B A of a linear, with the scaling folded into B. */
export interface LinearUpdate {
  readonly rank: number;
  /** [rank, in] */
  readonly a: Float32Array;
  /** [out, rank] */
  readonly b: Float32Array;
}

/** The weights of the base with the values that adapters are trained on: NF4 dequantized. */
export interface AdaptedBase {
  /** Returns the norms of the rows of W + B A, [out], for a linear such as `model.layers.0.self_attn.q_proj`. */
  rowNorms(module: string, update: LinearUpdate): Promise<Float32Array>;
  /** Returns a vector of the checkpoint, such as `model.layers.0.self_attn.q_proj.bias`. */
  vector(name: string): Promise<Float32Array>;
  /**
   * Returns a table of the checkpoint, [vocabulary, hidden], such as `model.embed_tokens.weight`. Absent: adapters with a resized
   * vocabulary are refused.
   */
  table?(name: string): Promise<Tensor>;
}
