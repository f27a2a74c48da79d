// Each kind of adapter from a job's settings to its file: the server's reader and a plain decoder give the logits of the trainer,
// and so does the trainer that opens the file again.

import assert from 'node:assert/strict';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { readAdapterFiles } from '../../adapters/peft/files.ts';
import { parseAdapter } from '../../adapters/peft/parse-adapter.ts';
import { adaptedBaseOf } from '../../src/adapted-base/adapted-base.ts';
import { openAdapter, planAdapter } from '../../trainer/job/adapter-plan.ts';
import { parseJob } from '../../trainer/job/job.ts';
import type { TrainModelOptions } from '../../trainer/model.ts';
import { createAdamW } from '../../trainer/optimizer.ts';
import { writeAdapter } from '../../trainer/run/result-files.ts';
import { worstDifference } from '../engine/runner.ts';
import { temporaryFolder, tinyModel } from '../fixtures.ts';
import { plainLogits } from '../model/plain-decoder.ts';
import { batchOf, gradientsOf, trainModel } from './tiny-training.ts';

const LLAMA = {};
const QWEN2 = { model_type: 'qwen2' };

interface Kind {
  readonly base?: Record<string, unknown>;
  readonly job: Record<string, unknown>;
}

const KINDS: Readonly<Record<string, Kind>> = {
  DoRA: { job: { dora: true } },
  'DoRA and all biases': { base: QWEN2, job: { dora: true, bias: 'all', targets: ['k_proj'] } },
  'biases of adapted linears': { base: QWEN2, job: { bias: 'lora_only', targets: ['v_proj'] } },
  'biases of B, with dropout': { job: { loraBias: true, dropout: 0.2 } },
  PiSSA: { job: { init: 'pissa' } },
  'PiSSA with rsLoRA and patterns': {
    job: {
      ...{ init: 'pissa', rslora: true },
      ...{ rankPattern: { q_proj: 2 }, alphaPattern: { down_proj: 3 } },
    },
  },
  'a head of its own under a tied embedding': { job: { trainHead: 'full' } },
  'the embedding and all norms': { job: { trainEmbeddings: 'full', modulesToSave: ['norm'] } },
  'both uses of a tied embedding': { job: { trainEmbeddings: 'full', ensureWeightTying: true } },
  'updates of embedding and head on one layer': {
    base: { tie_word_embeddings: false },
    job: { trainEmbeddings: 'lora', trainHead: 'lora', layers: [1], modulesToSave: ['model.norm'] },
  },
  'an update of both uses of a tied embedding': {
    job: { trainEmbeddings: 'lora', ensureWeightTying: true },
  },
  'DoRA from PiSSA, with dropout': {
    base: QWEN2,
    job: { init: 'pissa', dora: true, dropout: 0.2 },
  },
};

/** Trains a kind for a few steps. */
async function train(
  t: TestContext,
  { base = LLAMA, job: keys }: Kind,
  { rate = 2e-2, ...options }: Partial<TrainModelOptions> & { rate?: number } = {},
) {
  const tiny = tinyModel(base);
  const job = parseJob({ model: 'm', data: 'd', rank: 4, ...keys });
  const { peft, lora } = await planAdapter(job, tiny.artifact);
  const model = trainModel(t, tiny, { adapter: lora, dropout: job.dropout, ...options });
  const batch = batchOf(tiny.config, [9, 12]);
  const adam = { betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0 } as const;
  const optimizer = createAdamW(model.parameters, adam);
  const losses: number[] = [];
  for (let step = 0; step < 4; step++) {
    const { sums } = await gradientsOf(model, [batch]);
    losses.push(sums.loss / sums.weight);
    optimizer.step(step + 1, rate, 1 / sums.weight);
  }
  return { tiny, model, batch, peft, losses };
}

for (const [name, kind] of Object.entries(KINDS)) {
  test(`${name}: the file has the logits of the trainer, for the server and for the trainer`, async (t) => {
    const { tiny, model, batch, peft, losses } = await train(t, kind);
    assert.ok(losses.at(-1)! < losses[0]!, 'it learns');
    const { parameters } = model;
    const dir = path.join(temporaryFolder(t), 'adapter');
    await writeAdapter(dir, { parameters, peft, baseName: 'tiny', dtype: 'F32' });
    const files = await readAdapterFiles(dir);
    const served = await parseAdapter(files, tiny.config, adaptedBaseOf(tiny.artifact));
    const ids = [...batch.inputIds.subarray(batch.length)]; // the longer row
    const ofLonger = (logits: Float32Array) =>
      logits.subarray(batch.length * tiny.config.vocabSize);
    const logits = ofLonger(await model.logits(batch));
    const plain = plainLogits(tiny.config, tiny.weights, ids, served);
    const wanted = Float32Array.from(plain.flatMap((row) => [...row]));
    const difference = worstDifference(logits, wanted);
    assert.ok(difference < 2e-4, `off by ${difference}`);
    const again = trainModel(t, tiny, { adapter: await openAdapter(files, tiny.artifact) });
    const reopened = worstDifference(ofLonger(await again.logits(batch)), logits);
    assert.ok(reopened < 2e-4, `opened again, it is off by ${reopened}`);
  });

  test(`${name}: steps in int8 are near those in float32`, async (t) => {
    const rate = 2e-3; // with larger steps, Adam turns roundings of small gradients into other weights
    const exact = await train(t, kind, { rate });
    const rounded = await train(t, kind, { rate, compute: 'int8' });
    for (const [step, loss] of exact.losses.entries()) {
      const share = Math.abs(rounded.losses[step]! / loss - 1);
      assert.ok(share < 3e-2, `step ${step}: ${rounded.losses[step]}, not ${loss}`);
    }
  });

  test(`${name}: kept activations and two blocks in a graph change nothing`, async (t) => {
    const { losses } = await train(t, kind);
    const other = await train(t, kind, { recompute: false, blocksPerSegment: 2 });
    for (const [step, loss] of losses.entries()) {
      assert.ok(Math.abs(other.losses[step]! - loss) < 1e-4, `step ${step}`);
    }
  });
}
