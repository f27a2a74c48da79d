// The keys of transformers' `config.json` that decide what a decoder computes. Unknown keys are kept and ignored.
import { z } from 'zod';
import { FileError } from '../common/errors.ts';
import { describeIssue } from '../common/schema-errors.ts';

const positive = z.number().int().positive();
/** The limits are far above every known model (one with 1T parameters has 61 layers of width 7168), but protect memory. */
const MAX_LAYERS = 1024;
const upTo = (max: number) => positive.max(max, `is not from 1 to ${max}`);
const tokenId = z.number().int().nonnegative();
/** Far above every known model. In float32, which the graphs compute in, 1e39 is infinite. */
const MAX_FACTOR = 1e12;
const factor = z.number().positive().max(MAX_FACTOR);
/** Its logarithm divides. */
const theta = z.number().gt(1).max(MAX_FACTOR);

const ropeSchema = z.looseObject({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: theta.optional(),
  partial_rotary_factor: factor.max(1, 'is not from 0 to 1').optional(),
  factor: factor.nullish(),
  low_freq_factor: factor.optional(),
  high_freq_factor: factor.optional(),
  original_max_position_embeddings: positive.optional(),
  attention_factor: factor.nullish(),
  mscale: factor.nullish(),
  mscale_all_dim: factor.nullish(),
  beta_fast: factor.nullish(),
  beta_slow: factor.nullish(),
  truncate: z.boolean().optional(),
  short_factor: z.array(factor).optional(),
  long_factor: z.array(factor).optional(),
});

/** The names of the parameters. */
export const ROPE_KEYS: ReadonlySet<string> = new Set(Object.keys(ropeSchema.shape));

/** The parameters of a rotary embedding. */
export type RopeJson = z.infer<typeof ropeSchema>;

/** One set of parameters, or one per type of layer. */
const ropesSchema = ropeSchema.extend({
  full_attention: ropeSchema.optional(),
  sliding_attention: ropeSchema.optional(),
});

const layerType = z.enum(['full_attention', 'sliding_attention'], {
  error: ({ input }) =>
    `${JSON.stringify(input)} is not supported (supported: full_attention, sliding_attention)`,
});

const configSchema = z.looseObject({
  model_type: z.string(),
  hidden_act: z.string().nullish(),
  hidden_activation: z.string().nullish(),
  hidden_size: upTo(2 ** 17),
  intermediate_size: upTo(2 ** 20),
  num_hidden_layers: upTo(MAX_LAYERS),
  num_attention_heads: upTo(4096),
  num_key_value_heads: upTo(4096).nullish(),
  head_dim: upTo(4096).nullish(),
  vocab_size: upTo(2 ** 22),
  max_position_embeddings: upTo(2 ** 30),
  rms_norm_eps: z.number().positive().max(1),
  rope_theta: theta.optional(),
  rope_local_base_freq: theta.optional(),
  rope_scaling: ropesSchema.nullish(),
  rope_parameters: ropesSchema.nullish(),
  original_max_position_embeddings: positive.optional(),
  partial_rotary_factor: factor.max(1, 'is not from 0 to 1').nullish(),
  no_rope_layers: z.array(z.number()).max(MAX_LAYERS).nullish(),
  no_rope_layer_interval: positive.optional(),
  sliding_window: positive.nullish(),
  use_sliding_window: z.boolean().optional(),
  sliding_window_pattern: positive.optional(),
  max_window_layers: z.number().int().nonnegative().optional(),
  layer_types: z.array(layerType).max(MAX_LAYERS).nullish(),
  use_bidirectional_attention: z.boolean().nullish(),
  query_pre_attn_scalar: factor.optional(),
  attn_logit_softcapping: factor.nullish(),
  final_logit_softcapping: factor.nullish(),
  embedding_multiplier: factor.optional(),
  attention_multiplier: factor.optional(),
  residual_multiplier: factor.optional(),
  logits_scaling: factor.optional(),
  tie_word_embeddings: z.boolean().optional(),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  bos_token_id: tokenId.nullish(),
  eos_token_id: z.union([tokenId, z.array(tokenId)]).nullish(),
});

/** A checked `config.json`. */
export type ConfigJson = z.infer<typeof configSchema>;

/** Checks the types and limits of a `config.json`. Throws `FileError` naming the invalid key. */
export function parseConfigJson(json: unknown): ConfigJson {
  const result = configSchema.safeParse(json, { reportInput: true, error: describeIssue });
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  throw new FileError(issue.path.join('.') || 'config.json', issue.message);
}

/** Returns the parameters of the rotary embeddings, with old or new key names. */
export function ropesJson(raw: ConfigJson): NonNullable<ConfigJson['rope_parameters']> {
  return raw.rope_parameters ?? raw.rope_scaling ?? {};
}
