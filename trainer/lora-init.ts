// The first values of an adapter, as peft draws them: A uniform in ±1/sqrt(in) (kaiming with a = sqrt 5), B zero.
// Each tensor has its own stream, so that its values depend on the seed and its name only.

import { fromFloat32, type Tensor } from '../src/common/tensor.ts';
import type { DecoderConfig } from '../src/model/config.ts';
import { loraNames } from '../src/model/names.ts';
import { moduleName, TARGET_MODULES, TARGET_NAMES } from '../src/model/target-modules.ts';
import { createRandom, streamSeed } from './random.ts';
import type { LoraSettings } from './types.ts';

/** A [rank, in] and B [out, rank] of every module, by PEFT's names. */
export function drawAdapter(
  modules: LoraSettings['modules'],
  model: DecoderConfig,
  seed: number,
): Map<string, Tensor> {
  const tensors = new Map<string, Tensor>();
  for (let layer = 0; layer < model.layerCount; layer++) {
    for (const target of TARGET_NAMES) {
      const module = moduleName(layer, target);
      const rank = modules.get(module)?.rank;
      if (rank === undefined) continue;
      const inFeatures = TARGET_MODULES[target].inFeatures(model);
      const outFeatures = TARGET_MODULES[target].outFeatures(model);
      const names = loraNames(module);
      const a = uniform(rank * inFeatures, 1 / Math.sqrt(inFeatures), streamSeed(seed, names.a));
      tensors.set(names.a, fromFloat32(a, [rank, inFeatures], 'F32'));
      const b = new Float32Array(outFeatures * rank);
      tensors.set(names.b, fromFloat32(b, [outFeatures, rank], 'F32'));
    }
  }
  return tensors;
}

function uniform(count: number, bound: number, seed: number): Float32Array {
  const random = createRandom(seed);
  return new Float32Array(count).map(() => (2 * random() - 1) * bound);
}
