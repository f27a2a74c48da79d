// The seven linear layers of a decoder block, which are quantized, adapted by LoRA and multiplied by the graphs.
import type { DecoderConfig } from './config.ts';

/** A linear layer of a decoder block. */
export interface TargetModule {
  /** The module's path inside its layer, as transformers names it. */
  readonly path: string;
  readonly fused: FusedLinear;
  inFeatures(config: DecoderConfig): number;
  outFeatures(config: DecoderConfig): number;
}

/** Linears that read the same activation x. Serving fuses them to one matmul, with one gather and one A per adapter. */
export type FusedLinear = 'attention_in' | 'attention_out' | 'mlp_in' | 'mlp_out';

const queryWidth = (c: DecoderConfig) => c.headCount * c.headDim;
const keyWidth = (c: DecoderConfig) => c.kvHeadCount * c.headDim;
const hidden = (c: DecoderConfig) => c.hiddenSize;
const ffn = (c: DecoderConfig) => c.intermediateSize;

const attentionIn = { fused: 'attention_in', inFeatures: hidden } as const;
const mlpIn = { fused: 'mlp_in', inFeatures: hidden, outFeatures: ffn } as const;

/** The linear layers by the names that PEFT gives them as target modules. */
export const TARGET_MODULES = {
  q_proj: { ...attentionIn, path: 'self_attn.q_proj', outFeatures: queryWidth },
  k_proj: { ...attentionIn, path: 'self_attn.k_proj', outFeatures: keyWidth },
  v_proj: { ...attentionIn, path: 'self_attn.v_proj', outFeatures: keyWidth },
  o_proj: {
    fused: 'attention_out',
    path: 'self_attn.o_proj',
    inFeatures: queryWidth,
    outFeatures: hidden,
  },
  gate_proj: { ...mlpIn, path: 'mlp.gate_proj' },
  up_proj: { ...mlpIn, path: 'mlp.up_proj' },
  down_proj: { fused: 'mlp_out', path: 'mlp.down_proj', inFeatures: ffn, outFeatures: hidden },
} as const satisfies Record<string, TargetModule>;

/** The name of a target module. */
export type TargetName = keyof typeof TARGET_MODULES;

/** All target modules, in the order in which a block uses them. */
export const TARGET_NAMES = Object.keys(TARGET_MODULES) as TargetName[];

/** The target modules of each fused linear. */
export const FUSED_LINEARS: Readonly<Record<FusedLinear, readonly TargetName[]>> = {
  attention_in: targetsOf('attention_in'),
  attention_out: targetsOf('attention_out'),
  mlp_in: targetsOf('mlp_in'),
  mlp_out: targetsOf('mlp_out'),
};

/** All fused linears, in the order in which a block uses them. */
export const FUSED_LINEAR_NAMES = Object.keys(FUSED_LINEARS) as FusedLinear[];

function targetsOf(fused: FusedLinear): TargetName[] {
  return TARGET_NAMES.filter((name) => TARGET_MODULES[name].fused === fused);
}

/** The number of outputs of a fused linear. */
export function fusedWidth(config: DecoderConfig, fused: FusedLinear): number {
  return FUSED_LINEARS[fused].reduce((sum, t) => sum + TARGET_MODULES[t].outFeatures(config), 0);
}

/** The number of parameters of a LoRA adapter of rank 1 on these linears of every layer. */
export function loraPerRank(config: DecoderConfig, targets: readonly TargetName[]): number {
  const perLayer = targets
    .map((target) => TARGET_MODULES[target])
    .map(({ inFeatures, outFeatures }) => inFeatures(config) + outFeatures(config));
  return config.layerCount * perLayer.reduce((sum, size) => sum + size, 0);
}

/** The module's name in transformers' checkpoints, such as `model.layers.3.self_attn.q_proj`. */
export function moduleName(layer: number, target: TargetName): string {
  return `model.layers.${layer}.${TARGET_MODULES[target].path}`;
}
