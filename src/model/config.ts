// Reads a decoder's shape from transformers' `config.json`, with old or new key names. The rows of FAMILIES are supported;
// other model types are refused by name.

import { ConfigError, FileError } from '../common/errors.ts';
import { type ConfigJson, parseConfigJson, type RopeJson, ropesJson } from './config-json.ts';
import { FAMILIES, type Family, type FamilyName, type FamilyTraits } from './families.ts';
import { createRope, type Rope } from './rope.ts';

/** A layer's rotary embedding and attention window. */
export interface LayerAttention {
  /** An element of `DecoderConfig.ropes`. Absent: q and k are not rotated. */
  readonly rope?: Rope;
  /** A query attends to itself and to the `slidingWindow - 1` tokens before it. Absent: to all tokens before it. */
  readonly slidingWindow?: number;
}

/** The shape of a decoder. */
export interface DecoderConfig extends FamilyTraits {
  readonly family: FamilyName;
  readonly layerCount: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly headCount: number;
  readonly kvHeadCount: number;
  readonly headDim: number;
  /** The number of rotated channels per head, counted from the first. */
  readonly rotaryDim: number;
  readonly vocabSize: number;
  readonly maxPositions: number;
  readonly rmsNormEps: number;
  /** The rotary embeddings that layers use. */
  readonly ropes: readonly Rope[];
  /** One entry per layer. */
  readonly layers: readonly LayerAttention[];
  readonly tiedEmbeddings: boolean;
  /** Multiplies the embeddings. */
  readonly embeddingScale: number;
  /** Multiplies the products of queries and keys. */
  readonly attentionScale: number;
  /** Multiplies a sub-layer's contribution to the residual stream. */
  readonly residualScale: number;
  readonly logitsScale: number;
  /** A soft cap c replaces x by c * tanh(x / c). */
  readonly attentionSoftcap?: number;
  readonly logitsSoftcap?: number;
  readonly eosTokenIds: readonly number[];
}

/** Parses the content of a `config.json`. Throws `FileError` naming the invalid key. */
export function parseDecoderConfig(json: unknown): DecoderConfig {
  const raw = parseConfigJson(json);
  const name = familyOf(raw);
  const family: Family = FAMILIES[name];
  refuseUnsupported(raw, family);
  const eos = raw.eos_token_id ?? [];
  const attentionSoftcap = family.attentionSoftcap?.(raw);
  const logitsSoftcap = family.logitsSoftcap?.(raw);
  const heads = parseHeads(raw);
  const { norms, normAddsOne, qkNorm, qkvBias, activation, linears } = family;
  return {
    ...{ norms, normAddsOne, qkNorm, qkvBias, activation, linears },
    family: name,
    layerCount: raw.num_hidden_layers,
    hiddenSize: raw.hidden_size,
    intermediateSize: raw.intermediate_size,
    ...heads,
    vocabSize: raw.vocab_size,
    maxPositions: contextOf(raw),
    rmsNormEps: raw.rms_norm_eps,
    ...parseLayers(raw, family, heads.rotaryDim),
    tiedEmbeddings: raw.tie_word_embeddings ?? family.tiedByDefault ?? false,
    embeddingScale: family.embeddingScale?.(raw) ?? 1,
    attentionScale: family.attentionScale?.(raw) ?? 1 / Math.sqrt(heads.headDim),
    residualScale: family.residualScale?.(raw) ?? 1,
    logitsScale: family.logitsScale?.(raw) ?? 1,
    ...(attentionSoftcap != null ? { attentionSoftcap } : {}),
    ...(logitsSoftcap != null ? { logitsSoftcap } : {}),
    eosTokenIds: Array.isArray(eos) ? eos : [eos],
  };
}

/**
 * Returns the model's positions. Models whose pages tell users to add YaRN keep `max_position_embeddings` as it was, and mean
 * `factor` times the original length.
 */
function contextOf(raw: ConfigJson): number {
  const given = ropesJson(raw);
  const {
    rope_type,
    type,
    factor,
    original_max_position_embeddings: original,
  } = given.full_attention ?? given;
  const isExtended = (rope_type ?? type) === 'yarn' && factor && original;
  return Math.max(raw.max_position_embeddings, isExtended ? Math.floor(factor * original) : 0);
}

function familyOf(raw: ConfigJson): FamilyName {
  if (Object.hasOwn(FAMILIES, raw.model_type)) return raw.model_type as FamilyName;
  const known = Object.keys(FAMILIES).join(', ');
  throw new FileError('model_type', `"${raw.model_type}" is not supported (supported: ${known})`);
}

function refuseUnsupported(raw: ConfigJson, { activation, activationAlias }: Family): void {
  const key = raw.hidden_activation != null ? 'hidden_activation' : 'hidden_act';
  const found = raw[key] ?? activation;
  if (found !== activation && found !== activationAlias) {
    throw new FileError(key, `"${found}" is not supported (supported: ${activation})`);
  }
  for (const flag of ['attention_bias', 'mlp_bias', 'use_bidirectional_attention'] as const)
    if (raw[flag]) throw new FileError(flag, 'true is not supported');
}

/** The runtime's attention requires head sizes, and numbers of rotated channels, that are multiples of this. */
const HEAD_MULTIPLE = 16;

type Heads = Pick<DecoderConfig, 'headCount' | 'kvHeadCount' | 'headDim' | 'rotaryDim'>;

function parseHeads(raw: ConfigJson): Heads {
  const headCount = raw.num_attention_heads;
  const headDim = raw.head_dim ?? raw.hidden_size / headCount;
  const kvHeadCount = raw.num_key_value_heads ?? headCount;
  if (!Number.isInteger(headDim) || headDim % 2 !== 0) {
    throw new FileError('head_dim', `${headDim} is not an even whole number`);
  }
  if (headCount % kvHeadCount !== 0) {
    throw new FileError('num_key_value_heads', `${kvHeadCount} does not divide the heads`);
  }
  const share = ropesJson(raw).partial_rotary_factor ?? raw.partial_rotary_factor ?? 1;
  const rotaryDim = Math.floor(headDim * share);
  if (rotaryDim === 0 || (share < 1 && rotaryDim % HEAD_MULTIPLE !== 0)) {
    throw new FileError(
      'partial_rotary_factor',
      `rotates ${rotaryDim} channels, which is not a multiple of ${HEAD_MULTIPLE}`,
    );
  }
  return { headCount, kvHeadCount, headDim, rotaryDim };
}

/** Throws `FileError` if the runtime cannot run heads of this size. Adapters can still be read and trained. */
export function checkHeads({ headDim, hiddenSize, headCount }: DecoderConfig): void {
  if (headDim % HEAD_MULTIPLE === 0) return;
  const origin =
    headDim === hiddenSize / headCount ? ` (hidden_size ${hiddenSize} / ${headCount} heads)` : '';
  throw new FileError('head_dim', `${headDim}${origin} is not a multiple of ${HEAD_MULTIPLE}`);
}

/** Returns each layer's attention. Layers with the same rotary embedding share the object. */
function parseLayers(
  raw: ConfigJson,
  family: Family,
  rotaryDim: number,
): Pick<DecoderConfig, 'ropes' | 'layers'> {
  for (const key of ['layer_types', 'no_rope_layers'] as const) {
    const { length = raw.num_hidden_layers } = raw[key] ?? {};
    if (length < raw.num_hidden_layers) throw new FileError(key, 'has fewer entries than layers');
  }
  const { slides = () => true, rotates = () => true, window } = family;
  const isWindowed = window === 'always' || (window !== undefined && raw.use_sliding_window);
  const slidingWindow = isWindowed ? (raw.sliding_window ?? undefined) : undefined;
  const [fullRope, slidingRope] = parseRopes(raw, family, rotaryDim);
  const layers = Array.from({ length: raw.num_hidden_layers }, (_, layer): LayerAttention => {
    const type = raw.layer_types?.[layer];
    const isSliding = type ? type === 'sliding_attention' : slides(layer, raw);
    return {
      ...(rotates(layer, raw) ? { rope: isSliding ? slidingRope : fullRope } : {}),
      ...(isSliding && slidingWindow ? { slidingWindow } : {}),
    };
  });
  const used = new Set(layers.map(({ rope }) => rope));
  return { ropes: [...new Set([fullRope, slidingRope])].filter((rope) => used.has(rope)), layers };
}

/** Returns the rotary embeddings of the layers with full attention, and of the layers with a window. */
function parseRopes(
  raw: ConfigJson,
  family: Family,
  rotaryDim: number,
): [full: Rope, sliding: Rope] {
  const create = (parameters: RopeJson) =>
    createRope(parameters, {
      theta: parameters.rope_theta ?? raw.rope_theta ?? DEFAULT_THETA,
      rotaryDim,
      maxPositions: raw.max_position_embeddings,
      originalMaxPositions:
        raw.original_max_position_embeddings ??
        parameters.original_max_position_embeddings ??
        raw.max_position_embeddings,
    });
  const given = ropesJson(raw);
  const full = create(given.full_attention ?? given);
  const sliding =
    given.sliding_attention ?? (given.full_attention ? undefined : family.slidingRope?.(raw));
  return [full, sliding ? create(sliding) : full];
}

const DEFAULT_THETA = 10_000;

/** For a long-context model, a cache of full length would be larger than the weights. */
const DEFAULT_MAX_SEQ = 2048;

/**
 * Returns the positions of a KV slot: the requested number, or else the model's maximum up to a default. Throws `ConfigError`
 * if the model supports fewer.
 */
export function slotPositions(
  { maxPositions }: DecoderConfig,
  requested: number | undefined,
): number {
  if (requested === undefined) return Math.min(maxPositions, DEFAULT_MAX_SEQ);
  if (requested <= maxPositions) return requested;
  throw new ConfigError([
    `--max-seq: ${requested} is more than the model's ${maxPositions} positions. To extend them, import the base again with --rope-scaling.`,
  ]);
}
