// From examples to micro-batches: order, packing, windows, padding and shifted targets.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planEpoch } from '../../../trainer/data/epoch-plan.ts';
import type { Example } from '../../../trainer/data/example.ts';
import { splitDataset } from '../../../trainer/data/load-rows.ts';
import { assembleBatch, assembleTightBatch } from '../../../trainer/data/micro-batch.ts';
import { balanceRows, packInOrder, packLongestFirst } from '../../../trainer/data/packing.ts';
import type { MicroBatch } from '../../../trainer/types.ts';
import { seededRandom } from '../../fixtures.ts';
import { dataset } from '../runs.ts';

const OPTIONS = {
  seed: 1,
  shuffle: true,
  packing: false,
  maxLength: 32,
  batchSize: 4,
  gradAccumulation: 2,
};
const random = seededRandom(3);
const LENGTHS = Array.from({ length: 203 }, () => 1 + Math.floor(12 * (random() + 1)));
const ALL = LENGTHS.map((_, index) => index);

test('an epoch holds every example once, in an order that seed and epoch fix', () => {
  for (const packing of [false, true]) {
    for (const shuffle of [false, true]) {
      const options = { ...OPTIONS, packing, shuffle };
      const plan = planEpoch(LENGTHS, 0, options);
      assert.deepEqual(
        plan.flat(3).sort((a, b) => a - b),
        ALL,
      );
      assert.deepEqual(planEpoch(LENGTHS, 0, options), plan);
      assert.equal(planEpoch(LENGTHS, 1, options).length, plan.length);
      const isSame = JSON.stringify(planEpoch(LENGTHS, 1, options)) === JSON.stringify(plan);
      assert.equal(isSame, !shuffle);
      const other = planEpoch(LENGTHS, 0, { ...options, seed: 2 });
      assert.equal(JSON.stringify(other) === JSON.stringify(plan), !shuffle);
    }
  }
});

test('without shuffling, micro-batch k holds rows kB to kB+B-1', () => {
  const plan = planEpoch(LENGTHS.slice(0, 11), 3, { ...OPTIONS, shuffle: false });
  assert.deepEqual(plan, [
    [
      [[0], [1], [2], [3]],
      [[4], [5], [6], [7]],
    ],
    [[[8], [9], [10]]],
  ]);
});

test('windows do not depend on how they are cut, and only the last is short', () => {
  const rowsOf = (batchSize: number, gradAccumulation: number) =>
    planEpoch(LENGTHS, 2, { ...OPTIONS, batchSize, gradAccumulation }).map((window) =>
      window.flat(2),
    );
  assert.deepEqual(rowsOf(8, 1), rowsOf(2, 4));
  const sizes = rowsOf(8, 1).map((rows) => rows.length);
  assert.deepEqual(sizes.slice(0, -1), Array(25).fill(8));
  assert.equal(sizes.at(-1), 3);
});

test('grouping by length saves padding, and windows stay mixed', () => {
  const padding = (shuffle: boolean) =>
    planEpoch(LENGTHS, 0, { ...OPTIONS, shuffle })
      .flat()
      .reduce((sum, batch) => {
        const lengths = batch.flat().map((index) => LENGTHS[index]!);
        return sum + lengths.length * Math.max(...lengths) - lengths.reduce((a, b) => a + b);
      }, 0);
  assert.ok(padding(true) < 0.3 * padding(false));
  const firsts = planEpoch(LENGTHS, 0, OPTIONS).map((window) => LENGTHS[window[0]![0]![0]!]!);
  const sorted = [...firsts].sort((a, b) => b - a);
  assert.notDeepEqual(firsts, sorted);
});

test('packs fit, hold everything, and are nearly full', () => {
  for (const pack of [packLongestFirst, packInOrder]) {
    const packs = pack(LENGTHS, ALL, 32);
    const totals = packs.map((row) => row.reduce((sum, index) => sum + LENGTHS[index]!, 0));
    assert.deepEqual(
      packs.flat().sort((a, b) => a - b),
      ALL,
    );
    assert.ok(totals.every((total) => total <= 32));
  }
  const tokens = LENGTHS.reduce((a, b) => a + b);
  assert.ok(packLongestFirst(LENGTHS, ALL, 32).length <= Math.ceil(tokens / 32) + 2);
  assert.deepEqual(packInOrder(LENGTHS, ALL, 32).flat(), ALL);
});

test('what is longer than a sequence has one of its own', () => {
  assert.deepEqual(packLongestFirst([40, 3, 32], [0, 1, 2], 32), [[0], [2], [1]]);
});

const example = (ids: number[], labels: number[], weights?: number[]): Example => ({
  ids: Int32Array.from(ids),
  labels: Int32Array.from(labels),
  weights: weights && Float32Array.from(weights),
});

test('a batch pads, restarts positions, marks segments and shifts targets once', () => {
  const examples = [
    example([1, 2, 3], [-1, 2, 3]),
    example([4, 5], [4, 5]),
    example([6, 7, 8, 9], [-1, -1, 8, 9], [0, 0, 0.5, 0]),
  ];
  const batch = assembleBatch(examples, [[0, 1], [2]]);
  assert.deepEqual([batch.rows, batch.length], [2, 5]);
  const rows = (array: ArrayLike<number>) => [
    Array.from(array).slice(0, 5),
    Array.from(array).slice(5),
  ];
  assert.deepEqual(rows(batch.inputIds), [
    [1, 2, 3, 4, 5],
    [6, 7, 8, 9, 0],
  ]);
  assert.deepEqual(rows(batch.positions), [
    [0, 1, 2, 0, 1],
    [0, 1, 2, 3, 0],
  ]);
  assert.deepEqual(rows(batch.segments), [
    [0, 0, 0, 1, 1],
    [0, 0, 0, 0, -1],
  ]);
  assert.deepEqual(rows(batch.targets), [
    [2, 3, -1, 5, -1], // nothing predicts the first token of an example
    [-1, 8, -1, -1, -1], // weight 0 does not count
  ]);
  assert.deepEqual(rows(batch.weights), [
    [1, 1, 0, 1, 0],
    [0, 0.5, 0, 0, 0],
  ]);
});

test('a tight batch has the targets of a padded one in their contexts, and less to compute', () => {
  const draw = seededRandom(9);
  const examples = Array.from({ length: 12 }, (_, i) => {
    const ids = Array.from({ length: 3 + 2 * i }, () => Math.floor(50 * (draw() + 1)));
    const labels = ids.map((id, t) => (t % 3 === 0 && t < ids.length - 2 ? id : -1));
    return example(ids, labels, i % 2 === 0 ? undefined : Array(ids.length).fill(0.5));
  });
  const plan = [[0], [11, 1], [2], [3, 4, 5], [6], [7], [8], [9, 10]];
  const padded = assembleBatch(examples, plan);
  const tight = assembleTightBatch(examples, plan);
  assert.deepEqual(contextsOf(tight), contextsOf(padded));
  const tokens = tight.segments.filter((segment) => segment >= 0).length;
  assert.ok(
    tokens < padded.segments.filter((segment) => segment >= 0).length - 2 * examples.length,
  );
  assert.ok(tight.rows * tight.length < 1.1 * tokens);
});

/** Each target with its weight and the ids that it is predicted from, sorted. */
function contextsOf({ rows, length, ...batch }: MicroBatch): string[] {
  const contexts: string[] = [];
  for (let at = 0; at < rows * length; at++) {
    if (batch.targets[at]! < 0) continue;
    const start = at - batch.positions[at]!;
    assert.ok(Math.floor(start / length) === Math.floor(at / length));
    assert.ok(batch.segments.subarray(start, at).every((s) => s === batch.segments[at]));
    const ids = batch.inputIds.slice(start, at + 1);
    contexts.push(`${ids.join()} -> ${batch.targets[at]} * ${batch.weights[at]}`);
  }
  return contexts.sort();
}

test('an example of which nothing counts takes one position', () => {
  const batch = assembleTightBatch(
    [example([1, 2, 3], [-1, -1, -1]), example([5], [5])],
    [[0], [1]],
  );
  assert.equal(batch.segments.filter((segment) => segment >= 0).length, 2);
  assert.ok(batch.targets.every((target) => target === -1));
});

test('examples share rows where padding costs more than attention over longer rows', () => {
  const counts = (lengths: number[]) => balanceRows(lengths).map((row) => row.length);
  assert.deepEqual(counts(Array(8).fill(160)), Array(8).fill(1));
  assert.deepEqual(counts([100, 50, 50]), [1, 2]);
  assert.deepEqual(counts([3000, 2000, 2000, 2000]), [1, 1, 1, 1]);
  assert.deepEqual(
    balanceRows(LENGTHS)
      .flat()
      .sort((a, b) => a - b),
    ALL,
  );
});

test('a split takes its share, the same for the same seed, and leaves the rest in order', () => {
  const rows = dataset(40);
  const { train, validation } = splitDataset(rows, 0.1, 7)!;
  assert.deepEqual([train.counts.examples, validation.counts.examples], [36, 4]);
  const again = splitDataset(rows, 0.1, 7)!;
  assert.deepEqual(again.validation.fingerprints, validation.fingerprints);
  assert.notDeepEqual(splitDataset(rows, 0.1, 8)!.validation.fingerprints, validation.fingerprints);
  const left = rows.fingerprints.filter((print) => !validation.fingerprints.includes(print));
  assert.deepEqual(train.fingerprints, left);
  assert.equal(splitDataset(rows, 0, 7), undefined);
});
