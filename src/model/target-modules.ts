// The seven linear layers of a decoder block: what quantization packs, LoRA targets and the graph multiplies.
import type { DecoderConfig } from './config.ts';

export interface TargetModule {
  /** The module's path inside its layer, as transformers names it. */
  readonly path: string;
  /** Which activation it reads: linears of one site share x, and so one gather and one fused A. */
  readonly site: Site;
  inFeatures(config: DecoderConfig): number;
  outFeatures(config: DecoderConfig): number;
}

export type Site = 'attention_in' | 'attention_out' | 'mlp_in' | 'mlp_out';

const queryWidth = (c: DecoderConfig) => c.headCount * c.headDim;
const keyWidth = (c: DecoderConfig) => c.kvHeadCount * c.headDim;
const hidden = (c: DecoderConfig) => c.hiddenSize;
const ffn = (c: DecoderConfig) => c.intermediateSize;

const attentionIn = { site: 'attention_in', inFeatures: hidden } as const;
const mlpIn = { site: 'mlp_in', inFeatures: hidden, outFeatures: ffn } as const;

export const TARGET_MODULES = {
  q_proj: { ...attentionIn, path: 'self_attn.q_proj', outFeatures: queryWidth },
  k_proj: { ...attentionIn, path: 'self_attn.k_proj', outFeatures: keyWidth },
  v_proj: { ...attentionIn, path: 'self_attn.v_proj', outFeatures: keyWidth },
  o_proj: {
    site: 'attention_out',
    path: 'self_attn.o_proj',
    inFeatures: queryWidth,
    outFeatures: hidden,
  },
  gate_proj: { ...mlpIn, path: 'mlp.gate_proj' },
  up_proj: { ...mlpIn, path: 'mlp.up_proj' },
  down_proj: { site: 'mlp_out', path: 'mlp.down_proj', inFeatures: ffn, outFeatures: hidden },
} as const satisfies Record<string, TargetModule>;

export type TargetName = keyof typeof TARGET_MODULES;

/** In the order in which a block uses them. */
export const TARGET_NAMES = Object.keys(TARGET_MODULES) as TargetName[];

/** Site → its linears. */
export const SITES: Readonly<Record<Site, readonly TargetName[]>> = {
  attention_in: targetsOf('attention_in'),
  attention_out: targetsOf('attention_out'),
  mlp_in: targetsOf('mlp_in'),
  mlp_out: targetsOf('mlp_out'),
};

export const SITE_NAMES = Object.keys(SITES) as Site[];

function targetsOf(site: Site): TargetName[] {
  return TARGET_NAMES.filter((name) => TARGET_MODULES[name].site === site);
}

/** Parameters of a LoRA adapter of rank 1 on these linears of every layer. */
export function loraPerRank(config: DecoderConfig, targets: readonly TargetName[]): number {
  const perLayer = targets
    .map((target) => TARGET_MODULES[target])
    .map(({ inFeatures, outFeatures }) => inFeatures(config) + outFeatures(config));
  return config.layerCount * perLayer.reduce((sum, size) => sum + size, 0);
}

/** `model.layers.3.self_attn.q_proj`: the module's name in transformers' checkpoints. */
export function moduleName(layer: number, target: TargetName): string {
  return `model.layers.${layer}.${TARGET_MODULES[target].path}`;
}
