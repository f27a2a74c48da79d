// What a config of each family changes in the tiny model. Every property that sets a family apart has a value that shows.

/** Names of tiny models and the changes to their configs. */
export const TINY_FAMILIES: readonly (readonly [string, Record<string, unknown>])[] = [
  ['llama with tied embeddings', {}],
  ['llama with a head of its own', { tie_word_embeddings: false, rms_norm_eps: 1e-2 }],
  ['llama with scaled rotary embedding', { rope_scaling: { type: 'linear', factor: 4 } }],
  ['mistral with a sliding window', { model_type: 'mistral', sliding_window: 5 }],
  ['qwen2 with biases', { model_type: 'qwen2' }],
  [
    'qwen2 with a window from the second layer on',
    { model_type: 'qwen2', use_sliding_window: true, sliding_window: 4, max_window_layers: 1 },
  ],
  ['qwen3 with head norms and wide heads', { model_type: 'qwen3', head_dim: 32 }],
  [
    'granite with four multipliers',
    {
      model_type: 'granite',
      embedding_multiplier: 3,
      attention_multiplier: 0.1,
      residual_multiplier: 0.4,
      logits_scaling: 2,
    },
  ],
  ['olmo2 with norms behind the sub-layers', { model_type: 'olmo2', tie_word_embeddings: false }],
  ['smollm3 with a layer without rope', { model_type: 'smollm3', no_rope_layers: [1, 0] }],
  ['phi3 with stacked linears', { model_type: 'phi3', tie_word_embeddings: false }],
  [
    'phi3 with partial rotary embedding and a window',
    { model_type: 'phi3', head_dim: 32, partial_rotary_factor: 0.5, sliding_window: 5 },
  ],
  [
    'phi3 with longrope',
    {
      model_type: 'phi3',
      head_dim: 16,
      original_max_position_embeddings: 8,
      rope_scaling: {
        type: 'longrope',
        attention_factor: 1.5,
        short_factor: [1, 1.125, 1.25, 1.375, 1.5, 1.625, 1.75, 1.875],
        long_factor: [2, 2.125, 2.25, 2.375, 2.5, 2.625, 2.75, 2.875],
      },
    },
  ],
  ['gemma', { model_type: 'gemma', head_dim: 32 }],
  [
    'gemma2 with soft caps, four norms and a window in every other layer',
    {
      model_type: 'gemma2',
      sliding_window: 5,
      query_pre_attn_scalar: 24,
      attn_logit_softcapping: 5,
      final_logit_softcapping: 12,
    },
  ],
  [
    'gemma3 with two rotary embeddings',
    {
      model_type: 'gemma3_text',
      sliding_window: 5,
      sliding_window_pattern: 2,
      query_pre_attn_scalar: 24,
      rope_theta: 1000,
      rope_local_base_freq: 10,
      rope_scaling: { rope_type: 'linear', factor: 2 },
    },
  ],
];
