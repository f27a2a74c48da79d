// torch's generator on the CPU (MT19937), far enough to draw an adapter as peft does from its seed: so that a recorded
// run can be repeated whose first weights were not kept.

import { fromFloat32, type Tensor } from '../../src/common/tensor.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { loraNames } from '../../src/model/names.ts';
import { moduleName, TARGET_MODULES, TARGETS_OF } from '../../src/model/target-modules.ts';
import type { LoraSettings } from '../../trainer/types.ts';

const STATE_SIZE = 624;
const SHIFT = 397;

/** A [rank, in] and B [out, rank] of every module, as `torch.manual_seed(seed)` and `get_peft_model` leave them. */
export function drawAsPeft(
  modules: LoraSettings['modules'],
  config: DecoderConfig,
  seed: number,
): Map<string, Tensor> {
  const random = createTorchRandom(seed);
  const tensors = new Map<string, Tensor>();
  for (let layer = 0; layer < config.layerCount; layer++) {
    for (const target of TARGETS_OF.separate) {
      const rank = modules.get(moduleName(layer, target))?.rank;
      if (rank === undefined) continue;
      const cols = TARGET_MODULES[target].inFeatures(config);
      const rows = TARGET_MODULES[target].outFeatures(config);
      // nn.Linear draws A and B on its own before peft draws A and fills B with 0.
      for (let skipped = rank * (cols + rows); skipped > 0; skipped--) random();
      const bound = Math.fround(1 / Math.sqrt(cols));
      const a = new Float32Array(rank * cols).map(() => random() * 2 * bound - bound);
      const names = loraNames(moduleName(layer, target));
      tensors.set(names.a, fromFloat32(a, [rank, cols], 'F32'));
      tensors.set(names.b, fromFloat32(new Float32Array(rows * rank), [rows, rank], 'F32'));
    }
  }
  return tensors;
}

/** Numbers in [0, 1) with 24 bits, as torch draws a float32. Source: Matsumoto and Nishimura, mt19937ar.c. */
function createTorchRandom(seed: number): () => number {
  const state = new Uint32Array(STATE_SIZE);
  state[0] = seed;
  for (let i = 1; i < STATE_SIZE; i++) {
    const previous = state[i - 1]!;
    state[i] = Math.imul(1_812_433_253, previous ^ (previous >>> 30)) + i;
  }
  let at = STATE_SIZE;
  return () => {
    if (at === STATE_SIZE) {
      twist(state);
      at = 0;
    }
    let y = state[at++]!;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    y ^= y >>> 18;
    return (y & 0xffffff) / 2 ** 24;
  };
}

function twist(state: Uint32Array): void {
  for (let i = 0; i < STATE_SIZE; i++) {
    const next = state[(i + 1) % STATE_SIZE]!;
    const y = (state[i]! & 0x80000000) | (next & 0x7fffffff);
    state[i] = state[(i + SHIFT) % STATE_SIZE]! ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
  }
}
