// The trainer's classifiers: its steps are those of peft, and what it publishes has the scores of transformers, opened there and
// served here.
import assert from 'node:assert/strict';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { readAdapterFiles } from '../../adapters/peft/files.ts';
import { toFloat32 } from '../../src/common/tensor.ts';
import type { ClassificationList } from '../../src/contracts/openai.ts';
import { ADAPTER_LIMITS, parseSafetensors } from '../../src/formats/safetensors.ts';
import { assembleTightBatch } from '../../trainer/data/micro-batch.ts';
import { openAdapter } from '../../trainer/job/adapter-plan.ts';
import { clipFactor, createAdamW, globalNorm } from '../../trainer/optimizer.ts';
import { ask } from '../api.ts';
import { worstDifference } from '../engine/runner.ts';
import { seededRandom, temporaryFolder } from '../fixtures.ts';
import { openBase } from '../imported-base.ts';
import { sharedPath, skipUnless } from '../shared.ts';
import { trainModel } from '../trainer/tiny-training.ts';
import { writeRows } from '../trainer/toy-runs.ts';
import { runLorikeet, serveFor, succeed } from './program.ts';
import { pythonJson, skipWithout } from './python.ts';

const LIMIT = 1e-4;
const models = sharedPath('golden', 'models');
const withoutPeft = skipWithout('torch', 'transformers', 'peft');
const skip = skipUnless(models) || withoutPeft;
const TOY = path.resolve('models/toy');

type Row = readonly [ids: readonly number[], classNumber: number];

/** Ten steps of rows of different lengths. */
function drawSteps(): Row[][] {
  const random = seededRandom(7);
  const below = (limit: number) => Math.floor(((random() + 1) / 2) * limit);
  return Array.from({ length: 10 }, () =>
    Array.from({ length: 6 }, (): Row => {
      const ids = Array.from({ length: 2 + below(30) }, () => 1 + below(120));
      return [ids, below(3)];
    }),
  );
}

for (const base of ['llama-tied', 'qwen3']) {
  test(`${base}: the steps of a classifier are those of peft`, { skip }, async (t) => {
    const steps = drawSteps();
    const source = path.join(models!, base);
    const folder = temporaryFolder(t);
    const script = path.resolve('test/e2e/train_classifier.py');
    const log = pythonJson<[number, number][]>([script, source, JSON.stringify(steps), folder]);
    const model = await openModel(t, source, path.join(folder, 'initial'));
    const optimizer = createAdamW(model.parameters, {
      ...{ betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0.1 },
    });
    for (const [step, rows] of steps.entries()) {
      for (const { grad } of model.parameters) grad.fill(0);
      const examples = rows.map(([ids, classNumber]) => ({
        ids: Int32Array.from(ids),
        labels: Int32Array.from([...ids.map(() => -1), classNumber]),
        weights: undefined,
      }));
      const plan = examples.map((_, index) => [index]);
      const { loss, weight } = await model.accumulate(assembleTightBatch(examples, plan));
      const [wantedLoss, wantedNorm] = log[step]!;
      const norm = globalNorm(model.parameters.map(({ grad }) => grad)) / weight;
      assert.ok(Math.abs(loss / weight - wantedLoss) < LIMIT, `step ${step}: ${loss / weight}`);
      assert.ok(Math.abs(norm / wantedNorm - 1) < LIMIT, `step ${step}: norm ${norm}`);
      optimizer.step(step + 1, 1e-3, clipFactor(norm, 1) / weight);
    }
    const { weightsBytes } = await readAdapterFiles(path.join(folder, 'final'));
    const { tensors } = parseSafetensors(weightsBytes, ADAPTER_LIMITS);
    assert.deepEqual(model.parameters.map(({ name }) => name).sort(), [...tensors.keys()].sort());
    for (const { name, data } of model.parameters) {
      const difference = worstDifference(data, toFloat32(tensors.get(name)!));
      assert.ok(difference < LIMIT, `${name}: off by ${difference}`);
    }
  });
}

async function openModel(t: TestContext, source: string, folder: string) {
  const artifact = await openBase(t, source);
  const adapter = await openAdapter(await readAdapterFiles(folder), artifact);
  return trainModel(t, { artifact }, { adapter });
}

const COLOURS = ['red', 'blue', 'grey'];
const FOODS = ['rice', 'soup', 'bread'];
const KINDS = [...COLOURS, ...FOODS];
const textOf = (i: number) => `Number ${i} is ${KINDS[i % KINDS.length]}`;
const kindOf = (i: number) => (COLOURS.includes(KINDS[i % KINDS.length]!) ? 'colour' : 'food');

test('a trained classifier is published, and served with the scores of transformers', {
  skip: withoutPeft,
}, async (t) => {
  const home = temporaryFolder(t);
  const plain = path.join(home, 'plain');
  await succeed(['import', TOY, '--out', plain, '--quantization', 'none'], home);
  const rows = Array.from({ length: 36 }, (_, i) => ({ text: textOf(i), label: kindOf(i) }));
  const run = path.join(home, 'run');
  const args = ['--model', plain, '--data', writeRows(t, rows), '--validation-split', '0.2'];
  await succeed(['train', ...args, '--epochs', '12', '--name', 'kinds', '--out', run], home);
  const texts = [100, 101, 102, 103, 104].map(textOf);
  const script = path.resolve('test/e2e/score_texts.py');
  const adapter = path.join(run, 'adapter');
  const expected = pythonJson<number[][]>([script, plain, adapter, JSON.stringify(texts)]);
  const serving = await serveFor(t, ['--model', plain, '--weights', 'f32', '--kv', 'f32'], home);
  const body = { model: 'kinds', input: texts, use_activation: false };
  const { data } = await ask<ClassificationList>(`${serving.url}/classify`, body);
  for (const [i, { probs, label }] of data.entries()) {
    const difference = worstDifference(Float32Array.from(probs), Float32Array.from(expected[i]!));
    assert.ok(difference < 2e-4, `text ${i} is off by ${difference}`);
    assert.equal(label, kindOf(100 + i));
  }
  const card = await runLorikeet(
    ['eval', 'kinds', '--model', plain, '--data', writeRows(t, rows), '--json'],
    home,
  );
  assert.equal(card.code, 0, card.error);
  assert.equal(JSON.parse(card.out)['macro_f1'], 1);
});
