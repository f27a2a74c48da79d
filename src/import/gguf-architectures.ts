// The architectures of GGUF files that can be imported. Each row gives the family and the differences in names, values and
// metadata. Source: llama.cpp's converters and loaders.
import type { FamilyName } from '../model/families.ts';

/** Reads a number from the metadata, by its key without the architecture. Undefined if it is absent. */
type ReadNumber = (key: string) => number | undefined;

/** An architecture of GGUF files. */
export interface Architecture {
  readonly family: FamilyName;
  /** The name of transformers' class. */
  readonly className: string;
  /** Whether rows of queries and keys are ordered for rotating neighboring rows together. */
  readonly permutesRows?: boolean;
  /** Modules whose names in a block differ from `BLOCK_MODULES`. */
  readonly modules?: Readonly<Record<string, string>>;
  /** Further keys of `config.json`. */
  readonly config?: (read: ReadNumber) => Record<string, unknown>;
}

/** llama.cpp's name in a block → transformers' module. */
export const BLOCK_MODULES: Readonly<Record<string, string>> = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_qkv: 'self_attn.qkv_proj',
  attn_q_norm: 'self_attn.q_norm',
  attn_k_norm: 'self_attn.k_norm',
  attn_output: 'self_attn.o_proj',
  post_attention_norm: 'post_attention_layernorm',
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
  post_ffw_norm: 'post_feedforward_layernorm',
};

/** In transformers, the norm before Gemma's feed-forward layer has a separate name. */
const FOUR_NORMS = { ffn_norm: 'pre_feedforward_layernorm' };

/** The files do not contain the scale of attention. As in llama.cpp, the largest model of a family uses another one. */
const gemmaAttention = (largestModelLayers: number) => (read: ReadNumber) => ({
  query_pre_attn_scalar:
    read('block_count') === largestModelLayers
      ? read('embedding_length')! / read('attention.head_count')!
      : read('attention.key_length'),
  sliding_window: read('attention.sliding_window'),
});

/** By `general.architecture`. Mistral's files say llama. */
export const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  llama: { family: 'llama', className: 'LlamaForCausalLM', permutesRows: true },
  qwen2: { family: 'qwen2', className: 'Qwen2ForCausalLM' },
  qwen3: { family: 'qwen3', className: 'Qwen3ForCausalLM' },
  granite: {
    family: 'granite',
    className: 'GraniteForCausalLM',
    permutesRows: true,
    config: (read) => ({
      attention_multiplier: read('attention.scale'),
      embedding_multiplier: read('embedding_scale'),
      residual_multiplier: read('residual_scale'),
      logits_scaling: read('logit_scale'),
    }),
  },
  olmo2: { family: 'olmo2', className: 'Olmo2ForCausalLM' },
  smollm3: { family: 'smollm3', className: 'SmolLM3ForCausalLM', permutesRows: true },
  phi3: {
    family: 'phi3',
    className: 'Phi3ForCausalLM',
    modules: { ffn_up: 'mlp.gate_up_proj' },
    config: (read) => ({ sliding_window: read('attention.sliding_window') || null }),
  },
  gemma: { family: 'gemma', className: 'GemmaForCausalLM' },
  gemma2: {
    family: 'gemma2',
    className: 'Gemma2ForCausalLM',
    modules: FOUR_NORMS,
    config: (read) => ({
      ...gemmaAttention(46)(read),
      attn_logit_softcapping: read('attn_logit_softcapping'),
      final_logit_softcapping: read('final_logit_softcapping'),
    }),
  },
  gemma3: {
    family: 'gemma3_text',
    className: 'Gemma3ForCausalLM',
    modules: FOUR_NORMS,
    config: (read) => ({
      ...gemmaAttention(62)(read),
      rope_local_base_freq: read('rope.freq_base_swa'),
    }),
  },
};
