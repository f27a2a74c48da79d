// The whole model's gradients against differences of its own loss, along one random direction per parameter.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom, tinyModel } from '../fixtures.ts';
import { TINY_FAMILIES } from '../model/tiny-families.ts';
import { batchOf, gradientsOf, lora, trainModel } from './tiny-training.ts';

const SMALL = { hidden_size: 32, intermediate_size: 48, vocab_size: 40 };

for (const [name, changes] of TINY_FAMILIES) {
  for (const method of ['full', 'lora'] as const) {
    test(`${name}, ${method}: gradients are those of finite differences`, async (t) => {
      const tiny = tinyModel({ ...SMALL, ...changes });
      const adapter = method === 'lora' ? lora(tiny.config) : undefined;
      const model = trainModel(t, tiny, { adapter });
      const batch = batchOf(tiny.config, [9, 12]);
      const { gradients } = await gradientsOf(model, [batch]);
      const random = seededRandom(8);
      for (const { name, data } of model.parameters) {
        const gradient = gradients.get(name)!;
        const direction = data.map(() => Math.sign(random()));
        const slope = gradient.reduce((sum, g, i) => sum + g * direction[i]!, 0);
        const original = data.slice();
        const lossAt = async (step: number) => {
          data.set(original.map((value, i) => value + step * direction[i]!));
          return (await model.evaluate(batch)).loss;
        };
        const step = 1e-3;
        const numeric = ((await lossAt(step)) - (await lossAt(-step))) / (2 * step);
        data.set(original);
        const length = Math.sqrt(gradient.reduce((sum, g) => sum + g * g, 0));
        const error = Math.abs(slope - numeric) / (length + 0.1);
        assert.ok(error < 2e-2, `${name}: ${slope}, by differences ${numeric} (length ${length})`);
      }
    });
  }
}
