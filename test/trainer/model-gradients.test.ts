// The whole model's gradients against differences of its own loss, along one random direction per parameter.
import { test } from 'node:test';
import { tinyModel } from '../fixtures.ts';
import { TINY_FAMILIES } from '../model/tiny-families.ts';
import { batchOf, checkGradients, lora, trainModel } from './tiny-training.ts';

const SMALL = { hidden_size: 32, intermediate_size: 48, vocab_size: 40 };

for (const [name, changes] of TINY_FAMILIES) {
  for (const method of ['full', 'lora'] as const) {
    test(`${name}, ${method}: gradients are those of finite differences`, async (t) => {
      const tiny = tinyModel({ ...SMALL, ...changes });
      const adapter = method === 'lora' ? lora(tiny.config) : undefined;
      const model = trainModel(t, tiny, { adapter });
      await checkGradients(model, batchOf(tiny.config, [9, 12]));
    });
  }
}
