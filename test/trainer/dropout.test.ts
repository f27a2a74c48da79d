import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DropoutMasks } from '../../trainer/step/dropout-masks.ts';
import { Workspace } from '../../trainer/step/workspace.ts';
import { worstDifference } from '../engine/runner.ts';
import { tinyModel } from '../fixtures.ts';
import { batchOf, gradientsOf, lora, trainModel } from './tiny-training.ts';

test('the same seed, step and micro-batch drop the same; any other number drops others', async (t) => {
  const tiny = tinyModel();
  const batch = batchOf(tiny.config, [9, 12]);
  const lossOf = async (seed: number, step: number, microBatch: number, recompute = true) => {
    const model = trainModel(t, tiny, {
      adapter: lora(tiny.config),
      dropout: 0.3,
      seed,
      recompute,
    });
    await model.accumulate(batch); // draws for step 0: must leave no trace
    model.setDropoutStep(step, microBatch);
    return gradientsOf(model, [batch]);
  };
  const want = await lossOf(1, 4, 1);
  const same = await lossOf(1, 4, 1);
  assert.deepEqual(same.sums, want.sums);
  for (const [name, gradient] of same.gradients) {
    assert.deepEqual(gradient, want.gradients.get(name));
  }
  const kept = await lossOf(1, 4, 1, false);
  for (const [name, gradient] of kept.gradients) {
    assert.ok(worstDifference(gradient, want.gradients.get(name)!) < 1e-4);
  }
  for (const other of [await lossOf(2, 4, 1), await lossOf(1, 5, 1), await lossOf(1, 4, 0)]) {
    assert.notEqual(other.sums.loss, want.sums.loss);
  }
});

test('gradients under dropout are those of the dropped network', async (t) => {
  const tiny = tinyModel({ hidden_size: 32, vocab_size: 40 });
  const model = trainModel(t, tiny, { adapter: lora(tiny.config), dropout: 0.4 });
  const batch = batchOf(tiny.config, [9, 12]);
  const { gradients } = await gradientsOf(model, [batch]);
  for (const { name, data } of model.parameters) {
    const gradient = gradients.get(name)!;
    const length = Math.sqrt(gradient.reduce((sum, g) => sum + g * g, 0));
    const original = data.slice();
    const lossAt = async (step: number) => {
      data.set(original.map((value, i) => value + (step * gradient[i]!) / length));
      return (await model.accumulate(batch)).loss;
    };
    const slope = ((await lossAt(1e-2)) - (await lossAt(-1e-2))) / 2e-2;
    data.set(original);
    assert.ok(Math.abs(slope / length - 1) < 2e-2, `${name}: ${slope}, not ${length}`);
  }
});

test('masks keep the expected share, scaled to the same mean, and differ between modules', () => {
  const workspace = new Workspace();
  const masks = new DropoutMasks({ rate: 0.25, seed: 9 }, workspace);
  masks.draw(0, 0, 20_000);
  const [a, b] = ['one', 'two'].map((name) => masks.mask(name, [100, 200]).data as Float32Array);
  const mean = a!.reduce((sum, value) => sum + value, 0) / a!.length;
  assert.ok(Math.abs(mean - 1) < 0.02);
  assert.deepEqual(new Set(a), new Set([0, Math.fround(4 / 3)]));
  const agreement = a!.filter((value, i) => value === b![i]).length / a!.length;
  assert.ok(Math.abs(agreement - (0.75 ** 2 + 0.25 ** 2)) < 0.02);
});

test('evaluation drops nothing', async (t) => {
  const tiny = tinyModel();
  const adapter = lora(tiny.config);
  const batch = batchOf(tiny.config, [9, 12]);
  const plain = await trainModel(t, tiny, { adapter }).evaluate(batch);
  assert.deepEqual(await trainModel(t, tiny, { adapter, dropout: 0.5 }).evaluate(batch), plain);
});
