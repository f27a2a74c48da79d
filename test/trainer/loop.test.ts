// What a step computes: windows counted by their own tokens, the norm before clipping, validation, patience, the end.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assembleBatch } from '../../trainer/data/micro-batch.ts';
import type { TrainModel } from '../../trainer/types.ts';
import { temporaryFolder } from '../fixtures.ts';
import { pluck } from '../pluck.ts';
import { linearModel } from './linear-model.ts';
import { dataset, runDir, runLinear } from './runs.ts';

test('a window is the sum over its tokens, however it is cut into micro-batches', async (t) => {
  const root = temporaryFolder(t);
  const rows = dataset(32);
  const cuts = [
    { batchSize: 16, gradAccumulation: 1 },
    { batchSize: 8, gradAccumulation: 2 },
    { batchSize: 1, gradAccumulation: 16 },
  ];
  const runs = [];
  for (const [i, job] of cuts.entries()) {
    runs.push(await runLinear(runDir(root, `${i}`), { rows, job: { ...job, epochs: 2 } }));
  }
  const [whole] = runs;
  for (const { metrics, model } of runs.slice(1)) {
    assert.equal(metrics.length, 4);
    for (const [i, { loss, gradNorm }] of metrics.entries()) {
      assert.ok(Math.abs(loss - whole!.metrics[i]!.loss) < 1e-5);
      assert.ok(Math.abs(gradNorm - whole!.metrics[i]!.gradNorm) < 1e-5);
    }
    const [got, expected] = [model.parameters[0]!.data, whole!.model.parameters[0]!.data];
    assert.ok(got.every((value, i) => Math.abs(value - expected[i]!) < 1e-5));
  }
});

test("without shuffling, step k holds the file's rows as they stand, and the last window counts its own", async (t) => {
  const rows = dataset(7);
  const job = { shuffle: false, batchSize: 2, gradAccumulation: 2, epochs: 2, learningRate: 1e-9 };
  const { metrics } = await runLinear(runDir(temporaryFolder(t), 'run'), { rows, job });
  assert.equal(metrics.length, 4);
  const expected = [
    [0, 1, 2, 3],
    [4, 5, 6],
    [0, 1, 2, 3],
    [4, 5, 6],
  ];
  for (const [i, indexes] of expected.entries()) {
    const batch = assembleBatch(
      rows.examples,
      indexes.map((index) => [index]),
    );
    const sums = await linearModel().evaluate(batch);
    assert.ok(Math.abs(metrics[i]!.loss - sums.loss / sums.weight) < 1e-6);
    assert.equal(metrics[i]!.tokenAccuracy, sums.hits / sums.count);
    const tokens = indexes.reduce((sum, index) => sum + rows.examples[index]!.ids.length, 0);
    assert.equal(metrics[i]!.tokens, tokens);
  }
});

test('maxSteps wins over epochs, and dropout is told step and micro-batch', async (t) => {
  const model = linearModel();
  const job = { epochs: 1, maxSteps: 5, batchSize: 2, gradAccumulation: 2 };
  const { metrics } = await runLinear(runDir(temporaryFolder(t), 'run'), {
    rows: dataset(8),
    job,
    model,
  });
  assert.deepEqual(pluck(metrics, 'step'), [1, 2, 3, 4, 5]);
  assert.deepEqual(model.drawn.slice(0, 4), ['0/0', '0/1', '1/0', '1/1']);
});

test('the result is the one of the best validation, and patience ends the run', async (t) => {
  const saved: number[] = [];
  let step = 0;
  const validations = [3, 2, 2.5, 2.2, 9, 9];
  const inner = linearModel();
  const model: TrainModel = {
    ...inner,
    evaluate: async () => ({ loss: validations[step++]!, weight: 1, count: 1, hits: 0 }),
  };
  const { metrics, outcome } = await runLinear(runDir(temporaryFolder(t), 'run'), {
    model,
    rows: dataset(4),
    validation: dataset(2, 9),
    job: { epochs: 3, evalEvery: 1, patience: 2 },
    saveResult: async () => void saved.push(step),
  });
  assert.equal(outcome, 'succeeded');
  assert.deepEqual(pluck(metrics, 'validationLoss'), [3, 2, 2.5, 2.2]);
  assert.deepEqual(saved, [1, 2]);
});

test('without validation the last weights are the result', async (t) => {
  let saved = 0;
  await runLinear(runDir(temporaryFolder(t), 'run'), { saveResult: async () => void saved++ });
  assert.equal(saved, 1);
});

test('T24: a loss that is not finite ends the run and names the step', async (t) => {
  const inner = linearModel();
  let calls = 0;
  const model: TrainModel = {
    ...inner,
    accumulate: async (batch) => {
      const sums = await inner.accumulate(batch);
      return ++calls === 3 ? { ...sums, loss: Number.NaN } : sums;
    },
  };
  const run = runLinear(runDir(temporaryFolder(t), 'run'), { model, job: { epochs: 1 } });
  await assert.rejects(run, /step 3: the loss is not finite/);
});

test('the norm is told before it is clipped', async (t) => {
  const root = temporaryFolder(t);
  const clipped = await runLinear(runDir(root, 'a'), { job: { epochs: 1, maxGradNorm: 1e-3 } });
  const free = await runLinear(runDir(root, 'b'), { job: { epochs: 1, maxGradNorm: 1e3 } });
  assert.equal(clipped.metrics[0]!.gradNorm, free.metrics[0]!.gradNorm);
});
