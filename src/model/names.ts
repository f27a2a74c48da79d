// The names and shapes of a decoder's tensors in transformers' checkpoints, and PEFT's names of LoRA tensors.
import { elementCount } from '../common/tensor.ts';
import type { DecoderConfig } from './config.ts';
import { moduleName, TARGET_MODULES, type TargetName, targetNames } from './target-modules.ts';

export const embeddingName = 'model.embed_tokens.weight';
export const headName = 'lm_head.weight';
export const finalNorm = 'model.norm.weight';

/** Returns the name of a layer's weight, such as `model.layers.3.input_layernorm.weight`. */
export function layerTensor(layer: number, module: string): string {
  return `${layerPrefix(layer)}${module}.weight`;
}

/** Returns the prefix of a layer's tensor names, such as `model.layers.3.`. */
export function layerPrefix(layer: number): string {
  return `model.layers.${layer}.`;
}

/** Returns the name of a linear's weight [out, in]. */
export function weightName(layer: number, target: TargetName): string {
  return `${moduleName(layer, target)}.weight`;
}

/** Returns the name of a linear's bias [out]. */
export function biasName(layer: number, target: TargetName): string {
  return `${moduleName(layer, target)}.bias`;
}

/** Returns PEFT's names for the two matrices of a module: A [rank, in] and B [out, rank]. */
export function loraNames(module: string): { readonly a: string; readonly b: string } {
  const prefix = `base_model.model.${module}`;
  return { a: `${prefix}.lora_A.weight`, b: `${prefix}.lora_B.weight` };
}

/** Whether the family's linear has a bias. */
export function hasBias(config: DecoderConfig, target: TargetName): boolean {
  return config.qkvBias && TARGET_MODULES[target].fused === 'attention_in';
}

/** Returns the shape of every tensor in a checkpoint, by name. Linears are [out, in]. */
export function expectedTensors(config: DecoderConfig): Map<string, readonly number[]> {
  const { hiddenSize, vocabSize } = config;
  const expected = new Map<string, readonly number[]>();
  expected.set(embeddingName, [vocabSize, hiddenSize]);
  for (let layer = 0; layer < config.layerCount; layer++) {
    for (const target of targetNames(config)) {
      const { inFeatures, outFeatures } = TARGET_MODULES[target];
      expected.set(weightName(layer, target), [outFeatures(config), inFeatures(config)]);
      if (hasBias(config, target)) expected.set(biasName(layer, target), [outFeatures(config)]);
    }
    for (const norm of blockNorms(config)) expected.set(layerTensor(layer, norm), [hiddenSize]);
    for (const [norm, width] of qkNorms(config)) expected.set(layerTensor(layer, norm), [width]);
  }
  expected.set(finalNorm, [hiddenSize]);
  if (!config.tiedEmbeddings) expected.set(headName, [vocabSize, hiddenSize]);
  return expected;
}

/** Counts a model's weights. */
export function parameterCount(config: DecoderConfig): number {
  return [...expectedTensors(config).values()].reduce((sum, one) => sum + elementCount(one), 0);
}

/** Returns the norms of a block's sub-layers, [hidden] each. */
function blockNorms({ norms: { attention, mlp } }: DecoderConfig): string[] {
  const names = [attention.before, attention.after, mlp.before, mlp.after];
  return names.filter((name) => name !== undefined);
}

/** Returns the norms of q and k with their widths. In a norm per head, the heads share the factors. */
export function qkNorms(config: DecoderConfig): [norm: string, width: number][] {
  const { qkNorm, headCount, kvHeadCount, headDim } = config;
  if (qkNorm === 'none') return [];
  const width = (heads: number) => (qkNorm === 'per head' ? headDim : heads * headDim);
  return [
    ['self_attn.q_norm', width(headCount)],
    ['self_attn.k_norm', width(kvHeadCount)],
  ];
}
