// The names of the training graphs' inputs other than weights.
import type { LayerAttention } from '../../src/model/config.ts';

/** Suffixes of inputs that belong to a module or weight. */
export const INPUT_SUFFIX = {
  /** A module's dropout mask: float32 [tokens, in], 0 or 1 / (1 - p). */
  mask: '.dropout_mask',
  /** The initial values of a trained weight (PiSSA): float32, of the weight's shape. */
  start: '.start',
  /** A trained weight's gradient before the run: float32, of the weight's shape. */
  gradient: '.grad',
} as const;

/** The names of the inputs that describe the batch. */
export const BATCH_INPUTS = {
  /** int64 [3] = [N, T, -1] */
  shape: 'batch_shape',
  /** int64 [N, T] */
  positions: 'position_ids',
  /**
   * float32 [N, 1, G*T, T]: 0 if a query may attend to a key, else -Infinity. The T queries repeat for each head of a group.
   * There is one mask per sliding window.
   */
  attentionMask: ({ slidingWindow }: LayerAttention) => `attention_mask.${slidingWindow ?? 'full'}`,
  /** float32 [tokens, 1]: 1 if the adapter applies to the token (activated LoRA), else 0 */
  active: 'adapter_active',
  /** float32 [positions, rotaryDim / 2], by the index of the rotary embedding in the config */
  cos: (rope: number) => `rope_cos.${rope}`,
  sin: (rope: number) => `rope_sin.${rope}`,
} as const;
