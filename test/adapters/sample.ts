// A small model and adapters for it, as bytes of PEFT's two files.
import { type AdapterFiles, adapterDigest } from '../../adapters/peft/files.ts';
import { parseAdapter } from '../../adapters/peft/parse-adapter.ts';
import type { AdapterWeights } from '../../adapters/peft/weights.ts';
import {
  elementCount,
  type FloatDType,
  fromFloat32,
  type Tensor,
} from '../../src/common/tensor.ts';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import { type DecoderConfig, parseDecoderConfig } from '../../src/model/config.ts';
import {
  moduleName,
  TARGET_MODULES,
  TARGETS_OF,
  type TargetName,
} from '../../src/model/target-modules.ts';

/** Every width differs: q 8x12, k and v 8x4, o 12x8, gate and up 8x10, down 10x8. */
export const MODEL: DecoderConfig = parseDecoderConfig({
  model_type: 'llama',
  num_hidden_layers: 3,
  hidden_size: 8,
  intermediate_size: 10,
  num_attention_heads: 3,
  num_key_value_heads: 1,
  head_dim: 4,
  vocab_size: 16,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: true,
});

export const CONFIG = {
  peft_type: 'LORA',
  task_type: 'CAUSAL_LM',
  base_model_name_or_path: 'sample',
  bias: 'none',
  r: 2,
  lora_alpha: 4,
  target_modules: ['q_proj', 'v_proj'] as unknown,
};

export function json(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

export function configBytes(changes: Record<string, unknown> = {}): Uint8Array {
  return json({ ...CONFIG, ...changes });
}

export const keyOf = (layer: number, target: TargetName, factor: 'A' | 'B') =>
  `base_model.model.${moduleName(layer, target)}.lora_${factor}.weight`;

export interface SampleOptions {
  targets?: readonly TargetName[];
  layers?: readonly number[];
  rankOf?: (layer: number, target: TargetName) => number;
  dtype?: FloatDType;
  /** The i-th element of a tensor. */
  value?: (i: number, factor: 'A' | 'B') => number;
}

/** Tensors that fit CONFIG on MODEL unless the options say otherwise. */
export function sampleTensors(options: SampleOptions = {}): Map<string, Tensor> {
  const {
    targets = ['q_proj', 'v_proj'],
    layers = [0, 1, 2],
    rankOf = () => 2,
    dtype = 'F32',
    value = (i) => (i % 7) / 8 - 0.25,
  } = options;
  const tensors = new Map<string, Tensor>();
  for (const layer of layers) {
    for (const target of targets) {
      const rank = rankOf(layer, target);
      const { inFeatures, outFeatures } = TARGET_MODULES[target];
      const shapes = { A: [rank, inFeatures(MODEL)], B: [outFeatures(MODEL), rank] } as const;
      for (const factor of ['A', 'B'] as const) {
        tensors.set(
          keyOf(layer, target, factor),
          filled(shapes[factor], dtype, (i) => value(i, factor)),
        );
      }
    }
  }
  return tensors;
}

export function filled(
  shape: readonly number[],
  dtype: FloatDType,
  value: (i: number) => number,
): Tensor {
  const values = Float32Array.from({ length: elementCount(shape) }, (_, i) => value(i));
  return fromFloat32(values, shape, dtype);
}

/** A tensor of one value, over and over. */
export function constant(
  shape: readonly number[],
  value: number,
  dtype: FloatDType = 'F32',
): Tensor {
  return filled(shape, dtype, () => value);
}

/** A file of weights that differs from those of other names. */
export function weightsNamed(name: string): Uint8Array {
  return serializeSafetensors(sampleTensors(), { name });
}

export function adapterBytes(config: Uint8Array, weights: Uint8Array): AdapterFiles {
  return {
    configBytes: config,
    weightsBytes: weights,
    digest: adapterDigest(config, weights),
  };
}

export function parseSample(
  changes: Record<string, unknown> = {},
  tensors: ReadonlyMap<string, Tensor> = sampleTensors(),
): Promise<AdapterWeights> {
  return parseAdapter(adapterBytes(configBytes(changes), serializeSafetensors(tensors)), MODEL);
}

export const ALL_TARGETS = TARGETS_OF.separate;
