// Adapters to measure with: random small weights in the shapes of a base, as PEFT folders and in llama.cpp's format.
// What they say is noise; how much they weigh and multiply is real.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { asBytes, type FloatDType, type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import type { TargetName } from '../../src/model/target-modules.ts';
import { moduleName, TARGET_MODULES, TARGETS_OF } from '../../src/model/target-modules.ts';
import { writeAdapterGguf } from './adapter-gguf.ts';

export interface AdapterShape {
  readonly label: string;
  readonly rank: number;
  readonly targets: readonly TargetName[];
  /** Of a PEFT folder. Default: F16. */
  readonly dtype?: Extract<FloatDType, 'F16' | 'F32'>;
}

export const QV_R8: AdapterShape = { label: 'qv-r8', rank: 8, targets: ['q_proj', 'v_proj'] };
export const ALL_R16: AdapterShape = { label: 'all-r16', rank: 16, targets: TARGETS_OF.separate };

/** Writes `count` PEFT folders below `root`, each of other weights, counted from `seed`; answers their names. */
export function writeAdapters(
  root: string,
  config: DecoderConfig,
  { shape, count, seed = 1 }: { shape: AdapterShape; count: number; seed?: number },
): string[] {
  return Array.from({ length: count }, (_, i) => {
    const name = `${shape.label}-${i}`;
    const folder = path.join(root, name);
    mkdirSync(folder, { recursive: true });
    const peftConfig = {
      peft_type: 'LORA',
      task_type: 'CAUSAL_LM',
      r: shape.rank,
      lora_alpha: shape.rank,
      target_modules: shape.targets,
    };
    writeFileSync(path.join(folder, 'adapter_config.json'), JSON.stringify(peftConfig));
    const tensors = randomWeights(config, shape, seed + i);
    const named = new Map(
      [...tensors].map(([key, tensor]) => {
        return [`base_model.model.${key}.weight`, shape.dtype === 'F32' ? widen(tensor) : tensor];
      }),
    );
    writeFileSync(path.join(folder, 'adapter_model.safetensors'), serializeSafetensors(named));
    return name;
  });
}

/** The same weights for llama.cpp; answers the files. */
export function writeLlamaAdapters(
  root: string,
  config: DecoderConfig,
  { shape, count }: { shape: AdapterShape; count: number },
): string[] {
  mkdirSync(root, { recursive: true });
  return Array.from({ length: count }, (_, i) => {
    const file = path.join(root, `${shape.label}-${i}.gguf`);
    const tensors = randomWeights(config, shape, i + 1);
    writeAdapterGguf(file, tensors, { architecture: config.family, alpha: shape.rank });
    return file;
  });
}

/** `model.layers.N.….lora_A` [r, in] and `.lora_B` [out, r], fp16. */
function randomWeights(
  config: DecoderConfig,
  { rank, targets }: AdapterShape,
  seed: number,
): Map<string, Tensor> {
  const random = randomHalves(seed);
  const tensors = new Map<string, Tensor>();
  const matrix = (rows: number, cols: number): Tensor => ({
    dtype: 'F16',
    shape: [rows, cols],
    data: random(rows * cols),
  });
  for (let layer = 0; layer < config.layerCount; layer++) {
    for (const target of targets) {
      const { inFeatures, outFeatures } = TARGET_MODULES[target];
      const name = moduleName(layer, target);
      tensors.set(`${name}.lora_A`, matrix(rank, inFeatures(config)));
      tensors.set(`${name}.lora_B`, matrix(outFeatures(config), rank));
    }
  }
  return tensors;
}

function widen(tensor: Tensor): Tensor {
  return { dtype: 'F32', shape: tensor.shape, data: asBytes(toFloat32(tensor)) };
}

/** Bytes of fp16 values of either sign, between 2^-7 and 2^-6 in size. */
function randomHalves(seed: number): (count: number) => Uint8Array {
  let state = seed;
  return (count) => {
    const halves = new Uint16Array(count);
    for (let i = 0; i < count; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      const sign = state >>> 31;
      const mantissa = (state >>> 20) & 0x3ff;
      halves[i] = (sign << 15) | (8 << 10) | mantissa;
    }
    return new Uint8Array(halves.buffer);
  };
}
