// Train = serve: the training graphs and the serving graph are lowerings of one decoder, with the same logits.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AdapterWeights, toWeights } from '../../adapters/peft/weights.ts';
import { type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { loraNames } from '../../src/model/names.ts';
import { moduleName, targetNames } from '../../src/model/target-modules.ts';
import type { LoraSettings } from '../../trainer/types.ts';
import { createRunner, runLogits, worstDifference } from '../engine/runner.ts';
import { servingFolder, tinyModel } from '../fixtures.ts';
import { TINY_FAMILIES } from '../model/tiny-families.ts';
import { batchOf, lora, trainModel } from './tiny-training.ts';

for (const [name, changes] of TINY_FAMILIES) {
  test(`${name}: training logits equal serving logits, with and without an adapter`, async (t) => {
    const tiny = tinyModel(changes);
    const { config } = tiny;
    const folder = await servingFolder(t, tiny, 'f32');
    const { runner, slots } = createRunner(t, folder, { slotCount: 2, maxSeqLength: 32 });
    const settings = lora(config);
    slots.attach(toEngineLayout(config, settings));
    const batch = batchOf(config, [14]);
    for (const [adapter, slot] of [
      [undefined, 0],
      [settings, 1],
    ] as const) {
      const logits = await trainModel(t, tiny, { adapter }).logits(batch);
      const tokenIds = [...batch.inputIds];
      const logitRows = tokenIds.map((_, i) => i);
      const input = { tokenIds, firstSlot: 0, pastLengths: [0], logitRows, slots: [slot] };
      const served = await runLogits(runner, input);
      assert.ok(worstDifference(served, logits) < 1e-4);
    }
  });
}

/** The same adapter in the engine's layout: A and B transposed, the scaling in B. */
function toEngineLayout(config: DecoderConfig, { modules, init }: LoraSettings): AdapterWeights {
  const layers = Array.from({ length: config.layerCount }, (_, layer) => {
    const pairs = targetNames(config).map((target) => {
      const module = moduleName(layer, target);
      const { rank, scaling } = modules.get(module)!;
      const [a, b] = Object.values(loraNames(module)).map((name) => init.get(name)!);
      return [target, { rank, a: transposed(a!, 1), b: transposed(b!, scaling) }];
    });
    return Object.fromEntries(pairs);
  });
  return toWeights('tiny', layers);
}

function transposed(tensor: Tensor, scale: number): Float32Array {
  const [rows, cols] = tensor.shape as [number, number];
  const values = toFloat32(tensor);
  return values.map((_, i) => scale * values[(i % rows) * cols + Math.floor(i / rows)]!);
}
