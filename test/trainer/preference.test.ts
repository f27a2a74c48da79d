// DPO: its losses and weights against a plain twin, and whole runs on pairs.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import type { Preference } from '../../src/contracts/preference-settings.ts';
import { parseJob } from '../../trainer/job/job.ts';
import { comparePairs, lossOfReference, meanMetrics } from '../../trainer/preference.ts';
import { createObjective } from '../../trainer/run/objective.ts';
import { seededRandom, temporaryFolder } from '../fixtures.ts';
import { linearModel } from './linear-model.ts';
import { type PlainSequence, plainLoss } from './plain-preference.ts';
import { curveOf, pairDataset, runDir, runLinear, weightsOf } from './runs.ts';

const PREFERENCES: readonly Preference[] = [
  { loss: 'sigmoid', beta: 0.1, labelSmoothing: 0 },
  { loss: 'ipo', beta: 0.3, labelSmoothing: 0 },
  { loss: 'robust', beta: 0.5, labelSmoothing: 0.2 },
];
const PAIRS = 5;

/** Sequences of a few tokens, chosen and rejected alternating. */
function drawSequences(): PlainSequence[] {
  const random = seededRandom(4);
  return Array.from({ length: 2 * PAIRS }, (_, i) => {
    const draw = () => Array.from({ length: 2 + (i % 4) }, () => -3 + 2 * random());
    return { logProbs: draw(), reference: draw() };
  });
}

function toScores(sequences: readonly PlainSequence[]) {
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  return {
    sums: sequences.map(({ logProbs }) => sum(logProbs)),
    reference: sequences.map(({ reference }) => sum(reference)),
    counts: sequences.map(({ logProbs }) => logProbs.length),
  };
}

function plainTotal(sequences: readonly PlainSequence[], preference: Preference): number {
  let total = 0;
  for (let i = 0; i < sequences.length; i += 2) {
    total += plainLoss(sequences[i]!, sequences[i + 1]!, preference);
  }
  return total;
}

for (const preference of PREFERENCES) {
  test(`${preference.loss}: losses are the plain twin's, and weights their differences`, () => {
    const sequences = drawSequences();
    const { sums, weights } = comparePairs(toScores(sequences), preference);
    assert.ok(Math.abs(sums.loss - plainTotal(sequences, preference)) < 1e-9);
    assert.equal(sums.weight, PAIRS);
    const step = 1e-4;
    for (const [i, sequence] of sequences.entries()) {
      const moved = (by: number) => {
        const logProbs = sequence.logProbs.with(0, sequence.logProbs[0]! + by);
        return plainTotal(sequences.with(i, { ...sequence, logProbs }), preference);
      };
      const slope = (moved(step) - moved(-step)) / (2 * step);
      // A token's loss is its negative log-probability.
      assert.ok(Math.abs(weights[i]! + slope) < 1e-6, `sequence ${i}: ${weights[i]}, ${-slope}`);
    }
    const same = sequences.map(({ logProbs }) => ({ logProbs, reference: logProbs }));
    const atStart = plainTotal(same, preference) / PAIRS;
    assert.ok(Math.abs(lossOfReference(preference) - atStart) < 1e-12);
  });
}

test('rewards are beta times what the log-probabilities have risen by', () => {
  const scores = { sums: [-2, -9, -5, -4], reference: [-4, -8, -4, -4], counts: [1, 1, 1, 1] };
  const { sums } = comparePairs(scores, { loss: 'sigmoid', beta: 0.5, labelSmoothing: 0 });
  assert.deepEqual(meanMetrics(sums), {
    'rewards/chosen': (1 - 0.5) / 2,
    'rewards/rejected': (-0.5 + 0) / 2,
    'rewards/margins': (1.5 - 0.5) / 2,
    'rewards/accuracies': 0.5,
    'logps/chosen': -3.5,
    'logps/rejected': -6.5,
  });
  assert.equal(sums.hits, 1);
});

test('a pair whose output was cut off does not count', () => {
  const scores = { sums: [-2, 0], reference: [-4, 0], counts: [1, 0] };
  const { sums, weights } = comparePairs(scores, PREFERENCES[0]!);
  assert.deepEqual([sums.weight, sums.loss, ...weights], [0, 0, 0, 0]);
});

test('gradients of packed pairs are the differences of their losses', async () => {
  const train = pairDataset(4);
  for (const preference of PREFERENCES) {
    const model = linearModel();
    const options = { train, validation: undefined, batchSize: 4, classifies: false, preference };
    const objective = createObjective({ model, ...options });
    await objective.prepare!();
    const [, reference] = model.parameters;
    for (const { data } of model.parameters) data.set(data.map((x, i) => x + 0.1 * Math.sin(i)));
    const lossOf = async () => {
      for (const { grad } of model.parameters) grad.fill(0);
      return (await objective.accumulate([[0], [1], [2], [3]])).loss;
    };
    await lossOf();
    const slopes = reference!.grad.slice();
    for (const [i, slope] of slopes.entries()) {
      const value = reference!.data[i]!;
      const at = async (by: number) => {
        reference!.data[i] = value + by;
        return lossOf();
      };
      const numeric = ((await at(1e-2)) - (await at(-1e-2))) / 2e-2;
      reference!.data[i] = value;
      assert.ok(Math.abs(slope - numeric) < 1e-3 * (1 + Math.abs(slope)), `${slope}, ${numeric}`);
    }
  }
});

const JOB = { objective: 'dpo', beta: 0.5, epochs: 3, checkpointEvery: 4, seed: 3 };
const RUN = { rows: pairDataset(12), validation: pairDataset(6, 9) };

test('a run starts at the reference, and ends with all pairs in order', async (t) => {
  const job = { ...JOB, epochs: 12, learningRate: 0.3, schedule: 'constant', warmupSteps: 1 };
  const { metrics, folder } = await runLinear(runDir(temporaryFolder(t), 'run'), { ...RUN, job });
  const [first, last] = [metrics[0]!, metrics.at(-1)!];
  assert.ok(Math.abs(first.loss - Math.LN2) < 1e-6);
  assert.ok(Math.abs(first['rewards/margins']!) < 1e-6);
  assert.ok(last.loss < 0.3, String(last.loss));
  assert.equal(last['rewards/accuracies'], 1);
  assert.equal(last.tokenAccuracy, 1);
  assert.ok(last['eval_rewards/accuracies']! >= 0);
  await folder.writeTable();
  const [header, , line] = readFileSync(folder.resultFile, 'utf8').split('\n');
  const columns = header!.split(',');
  assert.equal(columns[5], 'rewards/chosen');
  assert.equal(columns.at(-1), 'eval_logps/rejected');
  assert.equal(line!.split(',').length, columns.length);
});

test('a killed run of pairs continues to the same bytes and the same curve', async (t) => {
  const root = temporaryFolder(t);
  const whole = await runLinear(runDir(root, 'whole'), { ...RUN, job: JOB });
  for (const killAfter of [1, 5, 8]) {
    const dir = runDir(root, `killed-${killAfter}`);
    await assert.rejects(runLinear(dir, { ...RUN, job: JOB, killAfter }), /killed/);
    const resumed = await runLinear(dir, { ...RUN, job: JOB });
    assert.equal(weightsOf(resumed), weightsOf(whole), `killed after step ${killAfter}`);
    assert.deepEqual(curveOf(resumed), curveOf(whole));
  }
  const names = readFileSync(path.join(root, 'whole/checkpoints/step-18/state.safetensors'));
  assert.ok(names.includes('reference.validation'));
});

test('settings of preferences are refused without pairs, and those that have no effect', () => {
  const fails = (job: object, fault: RegExp) =>
    assert.throws(() => parseJob({ model: 'm', data: 'd', ...job }), fault);
  fails({ beta: 0.2 }, /beta: is only for dpo/);
  fails({ objective: 'supervised', loss: 'ipo' }, /loss: is only for dpo/);
  fails({ objective: 'dpo', packing: true }, /packing: is not for dpo/);
  fails({ objective: 'dpo', labelSmoothing: 0.1 }, /labelSmoothing: is only for the loss robust/);
  fails({ objective: 'dpo', loss: 'robust', labelSmoothing: 0.5 }, /labelSmoothing: must be below/);
  fails({ objective: 'dpo', beta: 0 }, /beta: must be above 0/);
});
