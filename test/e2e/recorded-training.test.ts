// The real base trained on real rows: two recorded runs of peft, whole, fed their rows and rates step by step.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { toFloat32 } from '../../src/common/tensor.ts';
import { parseSafetensors } from '../../src/formats/safetensors.ts';
import { type Artifact, readArtifact } from '../../src/import/artifact.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { createToolTemplate } from '../../src/tools/tool-template.ts';
import { createRowEncoder } from '../../trainer/data/encode-row.ts';
import type { Example } from '../../trainer/data/example.ts';
import { describeExamples, loadDataset } from '../../trainer/data/load-dataset.ts';
import { assembleBatch } from '../../trainer/data/micro-batch.ts';
import { measureValidation } from '../../trainer/evaluation/losses.ts';
import { type AdapterPlan, planAdapter } from '../../trainer/job/adapter-plan.ts';
import { parseJob, type TrainJob } from '../../trainer/job/job.ts';
import { clipFactor, createAdamW, globalNorm } from '../../trainer/optimizer.ts';
import { writeAdapter } from '../../trainer/run/result-files.ts';
import type { TrainModel } from '../../trainer/types.ts';
import { temporaryFolder } from '../fixtures.ts';
import { sharedPath, skipUnlessLong, testUnless } from '../shared.ts';
import { argmaxOver } from '../trainer/teacher-forced.ts';
import { trainModel } from '../trainer/tiny-training.ts';
import {
  adapterIn,
  exactMatch,
  fetchBase,
  generate,
  greedyAnswers,
  heldOut,
  serve,
} from './served.ts';
import { drawAsPeft } from './torch-random.ts';

/** Losses may differ from the recorded ones by 1%, or by 0.01 nats below 1 nat. */
const LOSS_TOLERANCE = 0.01;
/** Serving and training sum in other orders: logits differ by about 1e-4. */
const NEAR_TIE = 1e-3;
const EVALUATION_LENGTH = 512;
const EVALUATION_BATCH = 8;

const base = await fetchBase();
const dir = 'dir' in base ? base.dir : '';
const adapters = sharedPath('adapters');
const data = sharedPath('data');
const skip = 'reason' in base ? base.reason : adapters && data ? false : 'shared data is absent';

interface Recorded {
  hyperparameters: { r: number; alpha: number; targets: string; seed: number; max_len: number };
  after: { valid_nll: number; test_nll: number; valid_rows: number; exact_match?: number };
  steps: { step: number; loss: number; lr: number; rows: number[] }[];
}

function readRecorded(name: string): Recorded {
  return JSON.parse(readFileSync(path.join(adapters!, name, 'metrics.json'), 'utf8'));
}

interface Run {
  readonly artifact: Artifact;
  readonly job: TrainJob;
  /** With peft's own first values. */
  readonly plan: AdapterPlan;
}

async function planRun(t: TestContext, { hyperparameters }: Recorded): Promise<Run> {
  const { r, alpha, targets, seed } = hyperparameters;
  const artifact = readArtifact(dir);
  t.after(() => artifact.tensors.close());
  const names = targets === 'all-linear' ? targets : targets.split(',');
  const job = parseJob({ model: 'm', data: 'd', rank: r, alpha, targets: names });
  const { peft, lora } = await planAdapter(job, artifact);
  const init = drawAsPeft(lora.modules, artifact.config, seed);
  return { artifact, job, plan: { peft, lora: { modules: lora.modules, init } } };
}

async function readExamples(artifact: Artifact, file: string, maxLength: number) {
  const tokenizer = (await loadTokenizer(artifact.dir))!;
  const template = createToolTemplate(tokenizer);
  const { vocabSize } = artifact.config;
  const encode = createRowEncoder({ tokenizer, template, vocabSize });
  const { examples } = await loadDataset(path.join(data!, file), { encode, maxLength });
  return examples;
}

/** Trains as recorded. Resolves with the model and, by step, the loss and the recorded one. */
async function repeatRun(
  t: TestContext,
  { artifact, job, plan }: Run,
  { steps }: Recorded,
  examples: readonly Example[],
) {
  const model = trainModel(
    t,
    { artifact },
    { method: 'qlora', adapter: plan.lora, threads: undefined, recompute: false }, // the same numbers, sooner
  );
  const { parameters } = model;
  const optimizer = createAdamW(parameters, job);
  const curve: { loss: number; recorded: number }[] = [];
  for (const { step, loss, lr, rows } of steps) {
    for (const { grad } of parameters) grad.fill(0);
    const batch = assembleBatch(
      examples,
      rows.map((row) => [row]),
    );
    const sums = await model.accumulate(batch);
    const norm = globalNorm(parameters.map(({ grad }) => grad)) / sums.weight;
    optimizer.step(step, lr, clipFactor(norm, 1) / sums.weight);
    curve.push({ loss: sums.loss / sums.weight, recorded: loss });
  }
  return { model, curve };
}

function assertFollows(t: TestContext, curve: readonly { loss: number; recorded: number }[]): void {
  const errors = curve.map(
    ({ loss, recorded }) => Math.abs(loss - recorded) / Math.max(recorded, 1),
  );
  t.diagnostic(`losses within ${(100 * Math.max(...errors)).toFixed(3)}% of peft's`);
  for (const [i, error] of errors.entries()) {
    const { loss, recorded } = curve[i]!;
    assert.ok(error < LOSS_TOLERANCE, `step ${i + 1}: ${loss}, recorded ${recorded}`);
  }
}

async function assertAsGood(
  t: TestContext,
  { model, artifact, folder }: { model: TrainModel; artifact: Artifact; folder: string },
  { after }: Recorded,
): Promise<void> {
  for (const [split, want] of [
    ['valid', after.valid_nll],
    ['test', after.test_nll],
  ] as const) {
    const examples = await readExamples(artifact, `${folder}/${split}.jsonl`, EVALUATION_LENGTH);
    const rows = describeExamples(examples.slice(0, after.valid_rows), 0);
    const { validationLoss: nll } = await measureValidation(model, rows, EVALUATION_BATCH);
    t.diagnostic(`${split} NLL ${nll.toFixed(5)}, recorded ${want}`);
    assert.ok(nll <= want * 1.02, `${split} NLL ${nll}, recorded ${want}`);
  }
}

/** Repeats a recorded run, and checks that its losses are the same and its adapter is as good. Resolves with the adapter, served. */
async function follow(t: TestContext, name: string, folder: string) {
  const recorded = readRecorded(name);
  const run = await planRun(t, recorded);
  const { artifact, plan } = run;
  const { max_len } = recorded.hyperparameters;
  const examples = await readExamples(artifact, `${folder}/train.jsonl`, max_len);
  const { model, curve } = await repeatRun(t, run, recorded, examples);
  assertFollows(t, curve);
  await assertAsGood(t, { model, artifact, folder }, recorded);
  const directory = path.join(temporaryFolder(t), name);
  const { parameters } = model;
  const baseName = artifact.info.source;
  await writeAdapter(directory, { parameters, peft: plan.peft, baseName, dtype: 'F32' });
  const adapter = await adapterIn(directory);
  return { model, adapter, client: await serve(t, dir, 'f32'), after: recorded.after };
}

test("peft's first values follow from its seed", { skip }, async (t) => {
  const { plan } = await planRun(t, readRecorded('zen'));
  const kept = parseSafetensors(
    readFileSync(path.join(adapters!, 'zen/init/adapter_model.safetensors')),
  ).tensors;
  assert.equal(kept.size, plan.lora.init.size);
  for (const [name, tensor] of kept) {
    assert.deepEqual(toFloat32(plan.lora.init.get(name)!), toFloat32(tensor), name);
  }
});

/** Whole runs take minutes on two cores. */
const longTest = testUnless(skip || skipUnlessLong);

longTest("zen's whole run follows peft's, and is served as the trainer evaluates it", async (t) => {
  const { model, adapter, client } = await follow(t, 'zen', 'moods/zen');
  for (const { promptIds } of await heldOut(dir, path.join(data!, 'moods/zen/test.jsonl'), 8)) {
    const { tokenIds } = await generate(client, adapter, { promptIds, maxTokens: 48 });
    const evaluated = await argmaxOver(model, { promptIds, tokenIds }, NEAR_TIE);
    assert.deepEqual(evaluated, tokenIds);
  }
});

longTest("wordnet's whole run follows peft's, and its adapter answers as well", async (t) => {
  const { adapter, client, after } = await follow(t, 'wordnet', 'wordnet');
  const rows = await heldOut(dir, path.join(data!, 'wordnet/test.jsonl'), 200);
  const answers = await greedyAnswers(client, adapter, { dir, rows, maxTokens: 8 });
  const share = exactMatch(answers, rows);
  const want = after.exact_match!;
  t.diagnostic(`exact match ${share}, recorded ${want}`);
  assert.ok(share >= want - 0.03, `exact match ${share}, recorded ${want}`);
});
