// Reads a decoder's shape from transformers' `config.json`, with its older or newer key names. Each supported family is
// a row of FAMILIES; other model types are refused by name.
import { z } from 'zod';
import { ConfigError, FileError } from '../common/errors.ts';

/** How the frequencies of the rotary embedding are computed. */
export type Rope =
  | { type: 'default'; theta: number }
  | { type: 'linear'; theta: number; factor: number }
  | {
      type: 'llama3';
      theta: number;
      factor: number;
      lowFreqFactor: number;
      highFreqFactor: number;
      originalMaxPositions: number;
    };

/** The shape of a decoder. */
export interface DecoderConfig {
  readonly family: FamilyName;
  readonly layerCount: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly headCount: number;
  readonly kvHeadCount: number;
  readonly headDim: number;
  readonly vocabSize: number;
  readonly maxPositions: number;
  readonly rmsNormEps: number;
  readonly rope: Rope;
  /** A query attends to itself and the `slidingWindow - 1` tokens before it. Absent: to all tokens before it. */
  readonly slidingWindow?: number;
  readonly tiedEmbeddings: boolean;
  /** Whether q, k and v have a bias. */
  readonly qkvBias: boolean;
  /** Whether q and k get an RMS norm per head before the rotary embedding. */
  readonly qkNorm: boolean;
  readonly bosTokenId?: number;
  readonly eosTokenIds: readonly number[];
}

interface Family {
  readonly qkvBias: boolean;
  readonly qkNorm: boolean;
  /** Whether `sliding_window` counts only if `use_sliding_window` is true. */
  readonly windowIsOptIn: boolean;
}

const FAMILIES = {
  llama: { qkvBias: false, qkNorm: false, windowIsOptIn: true },
  mistral: { qkvBias: false, qkNorm: false, windowIsOptIn: false },
  qwen2: { qkvBias: true, qkNorm: false, windowIsOptIn: true },
  qwen3: { qkvBias: false, qkNorm: true, windowIsOptIn: true },
} as const satisfies Record<string, Family>;

/** The name of a supported family, which is the `model_type` of its config. */
export type FamilyName = keyof typeof FAMILIES;

const positive = z.number().int().positive();
/**
 * Limits are far above every known model (one with 1T parameters has 61 layers of width 7168) but protect the memory.
 */
const upTo = (max: number) => positive.max(max, `is not from 1 to ${max}`);
const tokenId = z.number().int().nonnegative();

const ropeSchema = z.looseObject({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: z.number().positive().optional(),
  factor: z.number().positive().optional(),
  low_freq_factor: z.number().positive().optional(),
  high_freq_factor: z.number().positive().optional(),
  original_max_position_embeddings: positive.optional(),
});

const configSchema = z.looseObject({
  model_type: z.string(),
  hidden_act: z.string().default('silu'),
  hidden_size: upTo(2 ** 17),
  intermediate_size: upTo(2 ** 20),
  num_hidden_layers: upTo(1024),
  num_attention_heads: upTo(4096),
  num_key_value_heads: upTo(4096).nullish(),
  head_dim: upTo(4096).nullish(),
  vocab_size: upTo(2 ** 22),
  max_position_embeddings: upTo(2 ** 30),
  rms_norm_eps: z.number().positive(),
  rope_theta: z.number().positive().optional(),
  rope_scaling: ropeSchema.nullish(),
  rope_parameters: ropeSchema.nullish(),
  sliding_window: positive.nullish(),
  use_sliding_window: z.boolean().optional(),
  tie_word_embeddings: z.boolean().default(false),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  bos_token_id: tokenId.nullish(),
  eos_token_id: z.union([tokenId, z.array(tokenId)]).nullish(),
});

type ConfigJson = z.infer<typeof configSchema>;

/** Parses the content of a `config.json`. Throws `FileError` with the invalid key. */
export function parseDecoderConfig(json: unknown): DecoderConfig {
  const result = configSchema.safeParse(json);
  if (!result.success) {
    const issue = result.error.issues[0]!;
    throw new FileError(issue.path.join('.') || 'config.json', issue.message);
  }
  const raw = result.data;
  const family = familyOf(raw);
  const { qkvBias, qkNorm, windowIsOptIn } = FAMILIES[family];
  refuseUnsupported(raw);
  const headDim = raw.head_dim ?? raw.hidden_size / raw.num_attention_heads;
  const kvHeadCount = raw.num_key_value_heads ?? raw.num_attention_heads;
  if (!Number.isInteger(headDim) || headDim % 2 !== 0) {
    throw new FileError('head_dim', `${headDim} is not an even whole number`);
  }
  if (raw.num_attention_heads % kvHeadCount !== 0) {
    throw new FileError('num_key_value_heads', `${kvHeadCount} does not divide the heads`);
  }
  const windowed = windowIsOptIn ? raw.use_sliding_window === true : true;
  const eos = raw.eos_token_id ?? [];
  return {
    family,
    layerCount: raw.num_hidden_layers,
    hiddenSize: raw.hidden_size,
    intermediateSize: raw.intermediate_size,
    headCount: raw.num_attention_heads,
    kvHeadCount,
    headDim,
    vocabSize: raw.vocab_size,
    maxPositions: raw.max_position_embeddings,
    rmsNormEps: raw.rms_norm_eps,
    rope: parseRope(raw),
    ...(windowed && raw.sliding_window ? { slidingWindow: raw.sliding_window } : {}),
    tiedEmbeddings: raw.tie_word_embeddings,
    qkvBias,
    qkNorm,
    ...(raw.bos_token_id != null ? { bosTokenId: raw.bos_token_id } : {}),
    eosTokenIds: Array.isArray(eos) ? eos : [eos],
  };
}

function familyOf(raw: ConfigJson): FamilyName {
  if (Object.hasOwn(FAMILIES, raw.model_type)) return raw.model_type as FamilyName;
  const known = Object.keys(FAMILIES).join(', ');
  throw new FileError('model_type', `"${raw.model_type}" is not supported (supported: ${known})`);
}

function refuseUnsupported(raw: ConfigJson): void {
  if (raw.hidden_act !== 'silu') {
    throw new FileError('hidden_act', `"${raw.hidden_act}" is not supported (supported: silu)`);
  }
  if (raw.attention_bias) throw new FileError('attention_bias', 'true is not supported');
  if (raw.mlp_bias) throw new FileError('mlp_bias', 'true is not supported');
  const layerTypes = raw['layer_types'];
  if (Array.isArray(layerTypes) && new Set(layerTypes).size > 1) {
    throw new FileError('layer_types', 'layers of different kinds are not supported');
  }
}

function parseRope(raw: ConfigJson): Rope {
  const scaling = raw.rope_parameters ?? raw.rope_scaling ?? {};
  const theta = scaling.rope_theta ?? raw.rope_theta ?? 10_000;
  const type = scaling.rope_type ?? scaling.type ?? 'default';
  const need = (key: keyof z.infer<typeof ropeSchema> & string): number => {
    const value = scaling[key];
    if (typeof value !== 'number') throw new FileError(`rope_scaling.${key}`, 'is missing');
    return value;
  };
  switch (type) {
    case 'default':
      return { type, theta };
    case 'linear':
      return { type, theta, factor: need('factor') };
    case 'llama3':
      return {
        type,
        theta,
        factor: need('factor'),
        lowFreqFactor: need('low_freq_factor'),
        highFreqFactor: need('high_freq_factor'),
        originalMaxPositions: need('original_max_position_embeddings'),
      };
    default:
      throw new FileError(
        'rope_scaling.rope_type',
        `"${type}" is not supported (supported: default, linear, llama3)`,
      );
  }
}

/** For a long-context model, a cache of the full length would be larger than the weights. */
const DEFAULT_MAX_SEQ = 2048;

/**
 * The number of positions of a KV slot: the requested one, else the model's maximum up to a default. Throws
 * `ConfigError` if the model supports fewer.
 */
export function slotPositions(
  { maxPositions }: DecoderConfig,
  requested: number | undefined,
): number {
  if (requested === undefined) return Math.min(maxPositions, DEFAULT_MAX_SEQ);
  if (requested <= maxPositions) return requested;
  throw new ConfigError([
    `--max-seq: ${requested} is more than the model's ${maxPositions} positions`,
  ]);
}
