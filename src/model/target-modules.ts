// The linear layers of a decoder block, which are quantized, adapted by LoRA and multiplied by the graphs.
import type { DecoderConfig } from './config.ts';
import type { FamilyTraits } from './families.ts';

/** A linear layer of a decoder block. */
interface TargetModule {
  /** The module's path inside its layer, as transformers names it. */
  readonly path: string;
  readonly fused: FusedLinear;
  /** Only models whose linears are `separate`, or `stacked`, contain it. Absent: all models do. */
  readonly only?: FamilyTraits['linears'];
  inFeatures(config: DecoderConfig): number;
  outFeatures(config: DecoderConfig): number;
}

/** Linears that read the same input x. Serving fuses them into one matmul, with one gather and one A per adapter. */
export type FusedLinear = (typeof FUSED_LINEAR_NAMES)[number];

const queryWidth = (c: DecoderConfig) => c.headCount * c.headDim;
const keyWidth = (c: DecoderConfig) => c.kvHeadCount * c.headDim;
const hidden = (c: DecoderConfig) => c.hiddenSize;
const ffn = (c: DecoderConfig) => c.intermediateSize;

const separate = { only: 'separate', inFeatures: hidden } as const;
const stacked = { only: 'stacked', inFeatures: hidden } as const;

/** The linear layers, by their names as PEFT target modules. */
export const TARGET_MODULES = {
  q_proj: { ...separate, fused: 'attention_in', path: 'self_attn.q_proj', outFeatures: queryWidth },
  k_proj: { ...separate, fused: 'attention_in', path: 'self_attn.k_proj', outFeatures: keyWidth },
  v_proj: { ...separate, fused: 'attention_in', path: 'self_attn.v_proj', outFeatures: keyWidth },
  qkv_proj: {
    ...stacked,
    fused: 'attention_in',
    path: 'self_attn.qkv_proj',
    outFeatures: (c) => queryWidth(c) + 2 * keyWidth(c),
  },
  o_proj: {
    fused: 'attention_out',
    path: 'self_attn.o_proj',
    inFeatures: queryWidth,
    outFeatures: hidden,
  },
  gate_proj: { ...separate, fused: 'mlp_in', path: 'mlp.gate_proj', outFeatures: ffn },
  up_proj: { ...separate, fused: 'mlp_in', path: 'mlp.up_proj', outFeatures: ffn },
  gate_up_proj: {
    ...stacked,
    fused: 'mlp_in',
    path: 'mlp.gate_up_proj',
    outFeatures: (c) => 2 * ffn(c),
  },
  down_proj: { fused: 'mlp_out', path: 'mlp.down_proj', inFeatures: ffn, outFeatures: hidden },
} as const satisfies Record<string, TargetModule>;

/** The name of a target module. */
export type TargetName = keyof typeof TARGET_MODULES;

/** The target modules of all models, in the order in which a block uses them. */
export const TARGET_NAMES = Object.keys(TARGET_MODULES) as TargetName[];

/** The target modules of models with separate linears, and of models with stacked ones. */
export const TARGETS_OF: Readonly<Record<FamilyTraits['linears'], readonly TargetName[]>> = {
  separate: targetsOf('separate'),
  stacked: targetsOf('stacked'),
};

/** All fused linears, in the order in which a block uses them. */
export const FUSED_LINEAR_NAMES = ['attention_in', 'attention_out', 'mlp_in', 'mlp_out'] as const;

/** Returns a model's target modules, in the order in which a block uses them. */
export function targetNames({ linears }: Pick<DecoderConfig, 'linears'>): readonly TargetName[] {
  return TARGETS_OF[linears];
}

/** Returns the target modules of a model's fused linear. */
export function fusedTargets(config: DecoderConfig, fused: FusedLinear): readonly TargetName[] {
  return targetNames(config).filter((name) => TARGET_MODULES[name].fused === fused);
}

/** Returns the widths of the parts of a fused linear's output: q, k and v, or gate and up, or a single part. */
export function partWidths(config: DecoderConfig, fused: FusedLinear): readonly number[] {
  switch (fused) {
    case 'attention_in':
      return [queryWidth(config), keyWidth(config), keyWidth(config)];
    case 'mlp_in':
      return [ffn(config), ffn(config)];
    case 'attention_out':
    case 'mlp_out':
      return [hidden(config)];
  }
}

function targetsOf(linears: FamilyTraits['linears']): TargetName[] {
  return TARGET_NAMES.filter((name) => {
    const { only }: TargetModule = TARGET_MODULES[name];
    return only === undefined || only === linears;
  });
}

/** Returns the number of outputs of a fused linear. */
export function fusedWidth(config: DecoderConfig, fused: FusedLinear): number {
  return partWidths(config, fused).reduce((sum, width) => sum + width, 0);
}

/** Returns the number of parameters of a rank-1 LoRA adapter on these linears of every layer. */
export function loraPerRank(config: DecoderConfig, targets: readonly TargetName[]): number {
  const perLayer = targets
    .map((target) => TARGET_MODULES[target])
    .map(({ inFeatures, outFeatures }) => inFeatures(config) + outFeatures(config));
  return config.layerCount * perLayer.reduce((sum, size) => sum + size, 0);
}

/** Lists a model's linears, layer by layer, in the order in which a block uses them. */
export function linearsOf(
  config: Pick<DecoderConfig, 'linears' | 'layerCount'>,
): (readonly [layer: number, target: TargetName])[] {
  const layers = Array.from({ length: config.layerCount }, (_, layer) => layer);
  return layers.flatMap((layer) => targetNames(config).map((target) => [layer, target] as const));
}

/** Returns the module's name in transformers' checkpoints, such as `model.layers.3.self_attn.q_proj`. */
export function moduleName(layer: number, target: TargetName): string {
  return `model.layers.${layer}.${TARGET_MODULES[target].path}`;
}
