// The supported model families: one row each, with its differences from the others. The rest of this folder reads the resulting
// traits and numbers in `DecoderConfig`, never a family's name.
import type { ConfigJson, RopeJson } from './config-json.ts';

/** The RMS norms of a sub-layer, by their names in the checkpoint. */
export interface SubLayerNorms {
  /** Normalizes the residual stream before the sub-layer. Absent: the sub-layer reads it unchanged. */
  readonly before?: string;
  /** Normalizes the sub-layer's output before it is added to the residual stream. */
  readonly after?: string;
}

/** The properties of a decoder that its family fixes. */
export interface FamilyTraits {
  readonly norms: { readonly attention: SubLayerNorms; readonly mlp: SubLayerNorms };
  /** Whether norms scale by 1 + weight. */
  readonly normAddsOne: boolean;
  /** Whether q and k get an RMS norm before the rotary embedding, per head or over all heads together. */
  readonly qkNorm: 'none' | 'per head' | 'all heads';
  /** Whether q, k and v have a bias. */
  readonly qkvBias: boolean;
  /** The activation function of the gate in the feed-forward layer, by transformers' name. */
  readonly activation: 'silu' | 'gelu_pytorch_tanh';
  /** Whether q, k, v and gate, up are separate linears, or stacked in one linear each. */
  readonly linears: 'separate' | 'stacked';
}

/** A family. Its functions take the config of a model. */
export interface Family extends FamilyTraits {
  /** The names of its models, for the documentation. */
  readonly models: string;
  readonly tiedByDefault?: boolean;
  /** Another name of the activation function, in older configs. */
  readonly activationAlias?: string;
  /** Whether `sliding_window` applies. Default: never. */
  readonly window?: 'always' | 'if use_sliding_window';
  /** Whether a layer is limited to the window if the config has no `layer_types`. Default: every layer. */
  readonly slides?: (layer: number, config: ConfigJson) => boolean;
  /** Whether a layer uses a rotary embedding. Default: every layer. */
  readonly rotates?: (layer: number, config: ConfigJson) => boolean;
  /** The rotary embedding of the layers with a window, if the config has parameters only for the other layers. */
  readonly slidingRope?: (config: ConfigJson) => RopeJson;
  /** Defaults: 1, and 1 / sqrt(head size) for attention. */
  readonly embeddingScale?: (config: ConfigJson) => number | undefined;
  readonly attentionScale?: (config: ConfigJson) => number | undefined;
  readonly residualScale?: (config: ConfigJson) => number | undefined;
  readonly logitsScale?: (config: ConfigJson) => number | undefined;
  /** A soft cap c replaces x by c * tanh(x / c). Default: none. */
  readonly attentionSoftcap?: (config: ConfigJson) => number | null | undefined;
  readonly logitsSoftcap?: (config: ConfigJson) => number | null | undefined;
}

const LLAMA: Family = {
  models: 'Llama 2 and 3, SmolLM, SmolLM2',
  norms: {
    attention: { before: 'input_layernorm' },
    mlp: { before: 'post_attention_layernorm' },
  },
  normAddsOne: false,
  qkNorm: 'none',
  qkvBias: false,
  activation: 'silu',
  linears: 'separate',
};

/** Qwen's configs give the number of first layers without a window. */
const QWEN_WINDOW = {
  window: 'if use_sliding_window',
  slides: (layer: number, config: ConfigJson) => layer >= (config.max_window_layers ?? 28),
} as const;

const GEMMA: Family = {
  ...LLAMA,
  models: 'Gemma',
  normAddsOne: true,
  activation: 'gelu_pytorch_tanh',
  activationAlias: 'gelu',
  tiedByDefault: true,
  embeddingScale: (config) => Math.sqrt(config.hidden_size),
};

const GEMMA2: Family = {
  ...GEMMA,
  models: 'Gemma 2',
  norms: {
    attention: { before: 'input_layernorm', after: 'post_attention_layernorm' },
    mlp: { before: 'pre_feedforward_layernorm', after: 'post_feedforward_layernorm' },
  },
  window: 'always',
  slides: (layer) => layer % 2 === 0,
  attentionScale: ({ query_pre_attn_scalar: scalar }) => scalar && 1 / Math.sqrt(scalar),
  attentionSoftcap: (config) => config.attn_logit_softcapping,
  logitsSoftcap: (config) => config.final_logit_softcapping,
};

export const FAMILIES = {
  llama: LLAMA,
  mistral: { ...LLAMA, models: 'Mistral', window: 'always' },
  qwen2: { ...LLAMA, models: 'Qwen 2 and 2.5', qkvBias: true, ...QWEN_WINDOW },
  qwen3: { ...LLAMA, models: 'Qwen 3', qkNorm: 'per head', ...QWEN_WINDOW },
  granite: {
    ...LLAMA,
    models: 'Granite 3',
    embeddingScale: (config) => config.embedding_multiplier,
    attentionScale: (config) => config.attention_multiplier,
    residualScale: (config) => config.residual_multiplier,
    logitsScale: (config) => config.logits_scaling && 1 / config.logits_scaling,
  },
  olmo2: {
    ...LLAMA,
    models: 'OLMo 2',
    norms: {
      attention: { after: 'post_attention_layernorm' },
      mlp: { after: 'post_feedforward_layernorm' },
    },
    qkNorm: 'all heads',
  },
  smollm3: {
    ...LLAMA,
    models: 'SmolLM3',
    tiedByDefault: true,
    rotates: hasRope,
    window: 'if use_sliding_window',
    slides: (layer, config) => !hasRope(layer, config),
  },
  phi3: {
    ...LLAMA,
    models: 'Phi 3, Phi 3.5, Phi 4, Phi 4 mini',
    linears: 'stacked',
    window: 'always',
  },
  gemma: GEMMA,
  gemma2: GEMMA2,
  gemma3_text: {
    ...GEMMA2,
    models: 'Gemma 3 (text)',
    qkNorm: 'per head',
    slides: (layer, config) => (layer + 1) % (config.sliding_window_pattern ?? 6) !== 0,
    slidingRope: (config) => ({ rope_theta: config.rope_local_base_freq ?? 10_000 }),
  },
} as const satisfies Record<string, Family>;

/** SmolLM3 lists the layers with a rotary embedding, or omits it in every fourth layer. */
function hasRope(layer: number, config: ConfigJson): boolean {
  const listed = config.no_rope_layers?.[layer];
  return listed === undefined
    ? (layer + 1) % (config.no_rope_layer_interval ?? 4) !== 0
    : listed !== 0;
}

/** The name of a supported family, which is the `model_type` of its config. */
export type FamilyName = keyof typeof FAMILIES;
