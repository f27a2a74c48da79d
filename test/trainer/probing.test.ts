// What is read of single tokens, against the logits themselves; and the base under an adapter.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import {
  generateGreedily,
  isDegenerate,
  promptOf,
} from '../../trainer/evaluation/greedy-answers.ts';
import { withoutAdapter } from '../../trainer/evaluation/losses.ts';
import type { InspectableModel } from '../../trainer/model.ts';
import type { MicroBatch } from '../../trainer/types.ts';
import { seededRandom, tinyModel } from '../fixtures.ts';
import { argmaxOver } from './teacher-forced.ts';
import { batchOf, examples, lora, padRows, trainModel } from './tiny-training.ts';

const tiny = tinyModel();
const { vocabSize } = tiny.config;
const withAdapter = (t: TestContext) => trainModel(t, tiny, { adapter: lora(tiny.config) });

const rowOf = (logits: Float32Array, at: number) =>
  Array.from(logits.subarray(at * vocabSize, (at + 1) * vocabSize));

/** log p of each target that counts, from the logits in double precision. */
function scoresOf(logits: Float32Array, { targets, weights }: MicroBatch): number[] {
  return [...targets].flatMap((target, at) => {
    if (target < 0 || weights[at] === 0) return [];
    const row = rowOf(logits, at);
    const largest = Math.max(...row);
    const total = row.reduce((sum, logit) => sum + Math.exp(logit - largest), 0);
    return row[target]! - largest - Math.log(total);
  });
}

function largestAfter(logits: Float32Array, at: number): number {
  const row = rowOf(logits, at);
  return row.indexOf(Math.max(...row));
}

test('scores are log-probabilities of the logits, and sum to the loss', async (t) => {
  const model = withAdapter(t);
  const packed = examples(tiny.config, [5, 7, 4, 11]);
  for (const batch of [
    batchOf(tiny.config, [9, 3, 14]),
    padRows([packed.slice(0, 3), packed.slice(3)]),
  ]) {
    const scores = await model.score(batch);
    const expected = scoresOf(await model.logits(batch), batch);
    assert.equal(scores.length, expected.length);
    assert.ok(scores.every((score, i) => Math.abs(score - expected[i]!) < 1e-4));
    const weights = batch.weights.filter((_, at) => batch.targets[at]! >= 0);
    const loss = -scores.reduce((sum, score, i) => sum + score * weights[i]!, 0);
    assert.ok(Math.abs(loss - (await model.evaluate(batch)).loss) < 1e-3);
  }
});

test('more targets than a chunk of the head come back in order', async (t) => {
  const model = withAdapter(t);
  const batch = batchOf(tiny.config, [90, 100, 110, 95]);
  const expected = scoresOf(await model.logits(batch), batch);
  assert.ok(expected.length > 256);
  const scores = await model.score(batch);
  assert.ok(scores.every((score, i) => Math.abs(score - expected[i]!) < 1e-4));
});

test('predictions are the largest logits after the last tokens, padding or not', async (t) => {
  const model = withAdapter(t);
  const batch = batchOf(tiny.config, [4, 12, 1, 8]);
  const logits = await model.logits(batch);
  const ends = [3, 12 + 11, 2 * 12, 3 * 12 + 7];
  assert.deepEqual(
    await model.predict(batch),
    ends.map((at) => largestAfter(logits, at)),
  );
});

/** Token by token, one prompt at a time, from the logits. */
async function generatePlainly(model: InspectableModel, prompt: readonly number[], stop: number) {
  const tokenIds: number[] = [];
  while (tokenIds.length < 8) {
    const ids = [...prompt, ...tokenIds];
    const batch = {
      ...padRows([[{ ids, targets: ids.map(() => -1), weights: ids.map(() => 0) }]]),
    };
    const next = largestAfter(await model.logits(batch), ids.length - 1);
    if (next === stop) break;
    tokenIds.push(next);
  }
  return tokenIds;
}

test('answers are those of one prompt at a time, and the longest prompt loses its beginning', async (t) => {
  const model = withAdapter(t);
  const random = seededRandom(4);
  const prompts = [3, 9, 1, 30].map((length) =>
    Array.from({ length }, () => Math.floor((vocabSize / 2) * (random() + 1))),
  );
  const never = -1;
  const free: number[][] = [];
  for (const prompt of prompts) free.push(await generatePlainly(model, prompt, never));
  const options = { stopIds: [], maxPositions: 64 };
  assert.deepEqual(await generateGreedily(model, prompts, options), free);
  const stop = free[1]![3]!;
  const stopped = await generateGreedily(model, prompts, { ...options, stopIds: [stop] });
  for (const [i, prompt] of prompts.entries()) {
    assert.deepEqual(stopped[i], await generatePlainly(model, prompt, stop));
  }
  assert.ok(stopped[1]!.length < 8);
  const [cut] = await generateGreedily(model, [prompts[3]!], { stopIds: [], maxPositions: 20 });
  assert.deepEqual(cut, await generatePlainly(model, prompts[3]!.slice(-12), never));
  assert.deepEqual(
    await argmaxOver(model, { promptIds: prompts[0]!, tokenIds: free[0]! }),
    free[0],
  );
});

test('the base under an adapter is the base, and the adapter comes back, whatever happens', async (t) => {
  const model = withAdapter(t);
  const base = trainModel(t, tiny, { adapter: zeroed() });
  const batch = batchOf(tiny.config, [9, 12]);
  const before = model.parameters.map(({ data }) => data.slice());
  const adapted = await model.score(batch);
  const scores = await withoutAdapter(model.parameters, () => model.score(batch));
  assert.deepEqual(scores, await base.score(batch));
  assert.deepEqual(await model.score(batch), adapted);
  assert.notDeepEqual(adapted, scores);
  const broken = withoutAdapter(model.parameters, async () => {
    throw new Error('broken');
  });
  await assert.rejects(broken, /broken/);
  assert.deepEqual(
    model.parameters.map(({ data }) => data.slice()),
    before,
  );
});

function zeroed() {
  const { modules, init } = lora(tiny.config);
  const zeros = [...init].map(([name, tensor]) => {
    return [name, { ...tensor, data: new Uint8Array(tensor.data.length) }] as const;
  });
  return { modules, init: new Map(zeros) };
}

test('a question ends where learning begins; a text has an opening', () => {
  const ids = Int32Array.from({ length: 40 }, (_, t) => t);
  const learnedFrom = (first: number) => ids.map((id) => (id < first ? -1 : id));
  const prompt = (labels: Int32Array) => promptOf({ ids, labels, weights: undefined }).length;
  assert.equal(prompt(learnedFrom(25)), 25);
  assert.equal(prompt(ids), 16);
  assert.equal(prompt(learnedFrom(40)), 16);
});

test('an empty answer, or one that repeats a token, is degenerate', () => {
  assert.ok(isDegenerate([], undefined));
  assert.ok(isDegenerate(Array(8).fill(5), undefined));
  assert.ok(!isDegenerate([5, 5, 5], undefined), 'a short answer may repeat itself');
  assert.ok(!isDegenerate([5, 5, 5, 5, 5, 5, 5, 6], undefined));
});
