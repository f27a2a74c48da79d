// The real base trained on real rows: the recorded run of peft, fed its rows and rates step by step.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { readArtifact } from '../../src/import/artifact.ts';
import { createChatTemplate } from '../../src/tokenizer/chat-template.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { createRowEncoder } from '../../trainer/data/encode-row.ts';
import { loadDataset } from '../../trainer/data/load-dataset.ts';
import { assembleBatch } from '../../trainer/data/micro-batch.ts';
import { parseJob } from '../../trainer/job.ts';
import { planAdapter } from '../../trainer/lora-settings.ts';
import { createTrainModel } from '../../trainer/model.ts';
import { createAdamW } from '../../trainer/optim/adamw.ts';
import { clipFactor, globalNorm } from '../../trainer/optim/clip.ts';
import { sharedPath } from '../shared.ts';
import { fetchBase } from './served.ts';

/** Of 50: a step takes 3 s of two cores. */
const STEPS = 6;
const MAX_LENGTH = 160;

const base = await fetchBase();
const zen = sharedPath('adapters', 'zen');
const data = sharedPath('data', 'moods', 'zen', 'train.jsonl');
const skip = 'reason' in base ? base.reason : zen && data ? false : 'shared data is absent';

interface RecordedStep {
  step: number;
  loss: number;
  lr: number;
  grad_norm: number;
  rows: number[];
}

test("zen's first losses and gradient norms are peft's", { skip }, async () => {
  const artifact = readArtifact('dir' in base ? base.dir : '');
  const tokenizer = (await loadTokenizer(artifact.dir))!;
  const template = createChatTemplate(tokenizer);
  const { vocabSize } = artifact.config;
  const encode = createRowEncoder({ tokenizer, template, vocabSize });
  const { examples } = await loadDataset(data!, { encode, maxLength: MAX_LENGTH });
  const job = parseJob({ model: 'm', data: 'd', initAdapter: path.join(zen!, 'init') });
  const { lora } = await planAdapter(job, artifact.config);
  const model = createTrainModel(artifact, {
    method: 'qlora',
    adapter: lora,
    dropout: 0,
    recompute: true,
    blocksPerSegment: 1,
    threads: undefined,
    seed: 0,
  });
  const { parameters } = model;
  const optimizer = createAdamW(parameters, job);
  const recorded: RecordedStep[] = JSON.parse(
    readFileSync(path.join(zen!, 'metrics.json'), 'utf8'),
  ).steps;
  for (const { step, loss, lr, grad_norm, rows } of recorded.slice(0, STEPS)) {
    for (const { grad } of parameters) grad.fill(0);
    const sums = await model.accumulate(
      assembleBatch(
        examples,
        rows.map((row) => [row]),
      ),
    );
    const norm = globalNorm(parameters.map(({ grad }) => grad)) / sums.weight;
    optimizer.step(step, lr, clipFactor(norm, 1) / sums.weight);
    assert.ok(Math.abs(sums.loss / sums.weight / loss - 1) < 1e-4, `step ${step}: loss`);
    assert.ok(Math.abs(norm / grad_norm - 1) < 1e-3, `step ${step}: norm ${norm}`);
  }
  await model.release();
  artifact.tensors.close();
});
