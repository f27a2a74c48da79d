// Rows of texts with labels: what a run makes of them, what its card and `lorikeet eval` say, which rows are refused, and
// that the score of a text does not depend on the texts beside it.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { CONFIG_FILE, readAdapterFiles } from '../../adapters/peft/files.ts';
import { parseAdapter } from '../../adapters/peft/parse-adapter.ts';
import { ConfigError } from '../../src/common/errors.ts';
import { hashFile } from '../../src/common/regular-file.ts';
import { VERSION } from '../../src/common/version.ts';
import { readTrainingOrigin } from '../../src/contracts/training-origin.ts';
import { readArtifact } from '../../src/import/artifact.ts';
import { drawClassificationHead } from '../../trainer/adapter/classification-head.ts';
import { mergeModel } from '../../trainer/commands/merge.ts';
import { worstDifference } from '../engine/runner.ts';
import { temporaryFolder, tinyModel } from '../fixtures.ts';
import { pluck } from '../pluck.ts';
import {
  checkGradients,
  examples,
  gradientsOf,
  lora,
  padRows,
  trainModel,
} from './tiny-training.ts';
import { cardOf, evaluateFiles, runToy, stepsOf, TOY, writeRows } from './toy-runs.ts';

const KINDS = { animal: ['cat', 'dog', 'cow'], colour: ['red', 'blue', 'grey'], food: ['rice'] };
const NAMES = Object.keys(KINDS).sort();

/** Texts whose class is that of their last word. */
function rows(count: number, from = 0) {
  const words = Object.entries(KINDS).flatMap(([label, all]) => all.map((word) => [label, word]));
  return Array.from({ length: count }, (_, i) => {
    const [label, word] = words[(from + i) % words.length]!;
    return { text: `Number ${from + i} is ${word}`, label: label! };
  });
}

const good = (t: TestContext) => ({
  data: writeRows(t, rows(42)),
  validation: writeRows(t, rows(14, 100)),
  epochs: 12,
});

test('a run on texts with labels makes a classifier, which its card and eval measure', async (t) => {
  const job = good(t);
  const run = await runToy(t, { ...job, name: 'kinds' });
  assert.equal(run.error, undefined);
  const card = cardOf(run);
  assert.equal(card['accuracy'], 1);
  assert.equal(card['macro_f1'], 1);
  assert.equal(card['base_accuracy'], 6 / 14); // animal and colour have six rows each
  const shares = [6, 6, 2].map((count) => count / 14);
  const entropy = -shares.reduce((sum, share) => sum + share * Math.log(share), 0);
  assert.ok(Math.abs(Number(card['base_validation_loss']) - entropy) < 1e-9);
  assert.deepEqual(
    card.gates.map(({ gate, passed }) => [gate, passed]),
    ['finite', 'weights', 'applied', 'validation'].map((gate) => [gate, true]),
  );
  assert.deepEqual(pluck(card.skipped, 'gate'), ['generation', 'forgetting']);
  assert.equal(stepsOf(run).at(-1)!.validationTokenAccuracy, 1);
  const warnings = run.messages.filter((m) => m.type === 'event' && m.level === 'warn');
  assert.deepEqual(warnings, []);

  const folder = path.join(run.dir, 'adapter');
  const config = JSON.parse(readFileSync(path.join(folder, CONFIG_FILE), 'utf8'));
  assert.equal(config.task_type, 'SEQ_CLS');
  assert.deepEqual(config.modules_to_save, ['classifier', 'score']);
  assert.deepEqual(config.id2label, Object.fromEntries(NAMES.entries()));
  const files = await readAdapterFiles(folder);
  const artifact = readArtifact(TOY);
  t.after(() => artifact.tensors.close());
  const { classifier } = await parseAdapter(files, artifact.config);
  assert.deepEqual(classifier!.labels, NAMES);
  const { card: ofEval } = await evaluateFiles(files, { data: job.validation });
  for (const figure of ['accuracy', 'macro_f1', 'validation_loss', 'base_validation_loss']) {
    assert.equal(ofEval[figure], card[figure], figure);
  }
  const merged = path.join(temporaryFolder(t), 'merged');
  await assert.rejects(mergeModel(artifact, folder, { outDir: merged, dtype: undefined }), {
    name: 'ServeError',
    param: 'task_type',
  });
});

test('macro F1 is the mean over the classes that occur in rows or answers', async (t) => {
  const job = good(t);
  const { dir } = await runToy(t, job);
  const files = await readAdapterFiles(path.join(dir, 'adapter'));
  // Two animals with right labels, one colour that is labelled as an animal, and no food at all.
  const held = [...rows(2, 70), { ...rows(1, 73)[0]!, label: 'animal' }];
  assert.deepEqual(pluck(held, 'label'), ['animal', 'animal', 'animal']);
  const { card } = await evaluateFiles(files, { data: writeRows(t, held) });
  assert.equal(card['accuracy'], 2 / 3);
  assert.ok(Math.abs(Number(card['macro_f1']) - (0.8 + 0) / 2) < 1e-12);
});

test('T41: a classifier is trained on, with its own classes and head, and its origin says from what', async (t) => {
  const job = good(t);
  const { dir } = await runToy(t, job);
  const initAdapter = path.join(dir, 'adapter');
  const data = writeRows(
    t,
    rows(42).filter(({ label }) => label !== 'food'),
  );
  const settings = { ...job, data, initAdapter, rank: undefined, maxSteps: 1, learningRate: 1e-6 };
  const again = await runToy(t, settings);
  assert.equal(again.error, undefined);
  assert.equal(cardOf(again)['accuracy'], 1);
  const [first, origin] = await Promise.all(
    [dir, again.dir].map((run) => readTrainingOrigin(path.join(run, 'adapter'))),
  );
  assert.deepEqual(origin, {
    program: `lorikeet ${VERSION}`,
    data: await hashFile(data),
    validation: await hashFile(job.validation),
    init_adapter: (await readAdapterFiles(initAdapter)).digest,
  });
  assert.deepEqual(first?.data, await hashFile(job.data));
  assert.equal(first?.init_adapter, undefined);
  const config = JSON.parse(readFileSync(path.join(again.dir, 'adapter', CONFIG_FILE), 'utf8'));
  assert.deepEqual(config.id2label, Object.fromEntries(NAMES.entries()));
  const plain = writeRows(t, [{ text: 'a' }, { text: 'b' }]);
  await assert.rejects(
    runToy(t, { data: plain, initAdapter, rank: undefined }),
    /initAdapter: is a classifier, but the rows of data have no label/,
  );
});

test('whole numbers are labels in their order', async (t) => {
  const data = rows(24).map(({ text, label }) => ({ text, label: 10 - NAMES.indexOf(label) }));
  const { dir } = await runToy(t, { data: writeRows(t, data), maxSteps: 1 });
  const config = JSON.parse(readFileSync(path.join(dir, 'adapter', CONFIG_FILE), 'utf8'));
  assert.deepEqual(config.id2label, { 0: '8', 1: '9', 2: '10' });
});

const [one, two] = rows(2, 2) as [object, object];
const PAIR = { prompt: 'a', completion: 'b' };
const unlabeled = Array.from({ length: 1_000 }, () => ({ text: 'x' }));
const many = Array.from({ length: 1025 }, (_, label) => ({ text: 'x', label }));
const alike = ['a', 'b'].map((text) => ({ text, label: 'x' }));
const ONLY = 'label: is only for a classifier, whose rows all have one';
const ALLOWED = 'label: must be a text of 1 to 256 characters or a whole number';
/** Rows → the line at fault, and what is said of it. */
const REFUSED: [what: string, rows: readonly object[], line: number, says: string][] = [
  ['a row without a label', [one, { text: 'x' }, two], 2, 'label: is missing'],
  ['a first row without a label', [{ text: 'x' }, one, two], 1, 'label: is missing'],
  ['a first label behind many rows without one', [...unlabeled, one, two], 1001, ONLY],
  ['a label of null', [one, two, { text: 'x', label: null }], 3, ALLOWED],
  ['a label that is no whole number', [one, two, { text: 'x', label: 0.5 }], 3, ALLOWED],
  [
    'labels of two types',
    [one, two, { text: 'x', label: 1 }],
    3,
    'label: must be a text, as in line 1 of the training rows',
  ],
  [
    'one class only',
    alike,
    1,
    'label: is "x" in every row, but a classifier needs at least two labels',
  ],
  ['a label without a text', [one, two, { label: 'x' }], 3, 'text: is missing'],
  ['a label in a row of another kind', [PAIR, one], 2, ONLY],
  [
    'a row of another kind',
    [one, two, PAIR],
    3,
    'label: is missing: the rows of a classifier have text and label',
  ],
  ['too many classes', many, 1, 'label: the file has more than 1024 different labels'],
];

for (const [what, data, line, says] of REFUSED) {
  test(`${what} is refused with its line and field`, async (t) => {
    const message = new RegExp(`line ${line}: ${says}`);
    const refused = runToy(t, { data: writeRows(t, data) });
    await assert.rejects(refused, { name: 'DatasetError', message });
  });
}

test('a label of the validation rows that training rows do not have is refused, and full training', async (t) => {
  const validation = writeRows(t, [{ text: 'x', label: 'tool' }]);
  const data = writeRows(t, rows(8));
  await assert.rejects(
    runToy(t, { data, validation }),
    /line 1: label: "tool" is not a label of the training rows/,
  );
  await assert.rejects(runToy(t, { data: writeRows(t, rows(8)), method: 'full' }), ConfigError);
});

test('losses and gradients are those of each text alone, packed or padded', async (t) => {
  const tiny = tinyModel({ hidden_size: 32, intermediate_size: 48, vocab_size: 40 });
  const classes = ['a', 'b', 'c'];
  const plain = lora(tiny.config);
  const init = new Map(plain.init).set(
    'base_model.model.score.weight',
    drawClassificationHead(classes.length, tiny.config, 4),
  );
  const model = trainModel(t, tiny, { adapter: { ...plain, init, classes } });
  const texts = examples(tiny.config, [9, 4, 12]).map(({ ids }, i) => ({
    ids,
    targets: ids.map((_, at) => (at + 1 < ids.length ? -1 : i % classes.length)),
    weights: ids.map(() => 1),
  }));
  const alone = await gradientsOf(
    model,
    texts.map((text) => padRows([[text]])),
  );
  const padded = await gradientsOf(model, [padRows(texts.map((text) => [text]))]);
  const packed = await gradientsOf(model, [padRows([[texts[0]!, texts[1]!], [texts[2]!]])]);
  for (const { sums, gradients } of [padded, packed]) {
    assert.ok(Math.abs(sums.loss - alone.sums.loss) < 1e-5);
    assert.deepEqual([sums.count, sums.weight], [3, 3]);
    for (const [name, gradient] of gradients) {
      const difference = worstDifference(gradient, alone.gradients.get(name)!);
      assert.ok(difference < 1e-5, `${name}: off by ${difference}`);
    }
  }
  await checkGradients(model, padRows(texts.map((text) => [text])));
});
