// Every warning: a run in which it speaks, with cause and cure, and one in which it is silent.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StepMetrics } from '../../src/contracts/metrics.ts';
import { describeExamples } from '../../trainer/data/load-dataset.ts';
import { examineCurves, examineData, type RunContext } from '../../trainer/run/curve-warnings.ts';
import { temporaryFolder } from '../fixtures.ts';
import { pluck } from '../pluck.ts';
import { linearModel } from './linear-model.ts';
import { dataset, metricsRow, pairDataset, runDir, runLinear } from './runs.ts';

function curve(losses: readonly number[], validations: Record<number, number> = {}): StepMetrics[] {
  return losses.map((loss, i) => metricsRow(i + 1, loss, validations[i + 1]));
}

function codesOfRows(rows: readonly StepMetrics[], change: Partial<RunContext> = {}) {
  const context = {
    vocabSize: 49_152,
    usesTemplate: false,
    totalSteps: rows.length,
    peakRate: 1e-3,
    rank: 16,
    baseTextLoss: undefined,
    ...change,
  };
  const warnings = examineCurves(rows, context);
  for (const { cause, cure } of warnings) assert.ok(cause.length > 10 && cure.length > 10);
  return warnings.map(({ code }) => code);
}

const codesOf = (losses: readonly number[], change: Partial<RunContext> = {}, validations = {}) =>
  codesOfRows(curve(losses, validations), change);

const steps = (count: number, loss: (step: number) => number) =>
  Array.from({ length: count }, (_, step) => loss(step));
/** As runs on real rows look: a fall that slows down, with noise. */
const healthy = steps(60, (s) => 1.5 + 2 * Math.exp(-s / 15) + 0.2 * Math.sin(7 * s));

test('a healthy run is left in peace', () => {
  assert.deepEqual(codesOf(healthy), []);
  assert.deepEqual(codesOf(healthy, { rank: 4 }), []);
  assert.deepEqual(codesOf(healthy.slice(0, 1)), []);
});

test('a first loss near guessing speaks of template or base; a usual one is silent', () => {
  assert.deepEqual(codesOf([9.5, 9]), ['template_mismatch']);
  assert.deepEqual(codesOf([5.8, 5]), []); // single-word answers of an instruct model
});

test('beside what the base makes of plain English, a first loss far above speaks sooner', () => {
  const smol = { baseTextLoss: 3.77 };
  assert.deepEqual(codesOf([5.8, 5], smol), []); // single words
  assert.deepEqual(codesOf([3.7, 3], smol), []); // chats
  assert.deepEqual(codesOf([7.78, 7], smol), ['template_mismatch']); // single words without a template
  assert.deepEqual(codesOf([7.78, 7]), []);
  assert.deepEqual(codesOf([9.5, 9], smol), ['template_mismatch']);
  assert.deepEqual(codesOf([4.8, 4], { baseTextLoss: 2 }), ['template_mismatch']); // of a better base
});

test('conversations in the template of the base prove nothing by a first loss near guessing', () => {
  const labels = { vocabSize: 151_936, baseTextLoss: 3.12 }; // measured: 1.5B, one word per answer
  assert.deepEqual(codesOf([12.1, 6.8], labels), ['template_mismatch']);
  assert.deepEqual(codesOf([12.1, 6.8], { ...labels, usesTemplate: true }), []);
});

test('a base that guesses on plain English is the fault itself', () => {
  const [warning] = examineCurves(curve([3, 2]), {
    ...{
      vocabSize: 49_152,
      usesTemplate: true,
      totalSteps: 2,
      peakRate: 1e-3,
      rank: 16,
      baseTextLoss: 10.5,
    },
  });
  assert.equal(warning?.code, 'template_mismatch');
  assert.match(warning.cause, /^the base has a loss of 10\.5 on plain English/);
});

test('a loss that rises speaks of the rate; noise is silent', () => {
  const diverging = steps(40, (s) => (s < 20 ? 3 - 0.05 * s : 2 + 0.1 * (s - 20)));
  assert.ok(codesOf(diverging).includes('rate_too_high'));
  const noisy = steps(40, (s) => 3 - 0.03 * s + 0.4 * Math.sin(5 * s));
  assert.deepEqual(codesOf(noisy), []);
});

test('a loss that has not moved at the end speaks of the rate; one that fell, or goes on, is silent', () => {
  const flat = steps(40, (s) => 3 + 0.1 * Math.sin(3 * s));
  assert.deepEqual(codesOf(flat), ['rate_too_low']);
  assert.deepEqual(codesOf(flat, { totalSteps: 80 }), []);
  assert.deepEqual(codesOf(healthy), []);
});

test('a high plateau at a small rank speaks of the rank; an ample rank, or a low one, is silent', () => {
  const plateau = steps(80, (s) => 2 + 1.5 * Math.exp(-s / 5));
  assert.deepEqual(codesOf(plateau, { rank: 2 }), ['rank_too_small']);
  assert.deepEqual(codesOf(plateau, { rank: 16 }), []);
  assert.deepEqual(codesOf(plateau, { rank: undefined }), []);
  assert.deepEqual(
    codesOf(
      plateau.map((loss) => loss - 1.9),
      { rank: 2 },
    ),
    [],
  );
});

test('a validation that rises while training falls speaks of overfitting; one that falls is silent', () => {
  const falling = steps(40, (s) => 3 - 0.06 * s);
  const rising = { 10: 2.6, 20: 2.4, 30: 2.5, 40: 2.7 };
  assert.deepEqual(codesOf(falling, {}, rising), ['overfitting']);
  assert.deepEqual(codesOf(falling, {}, { 10: 2.6, 20: 2.4, 30: 2.41, 40: 2.4 }), []);
});

test('rows with nothing to learn speak; rows that all teach are silent', () => {
  const rows = dataset(20);
  assert.deepEqual(examineData(rows, dataset(5, 77)), []);
  const masked = rows.examples.map((example, i) =>
    i < 3 ? { ...example, labels: example.labels.map(() => -1) } : example,
  );
  const [warning] = examineData(describeExamples(masked, 0), undefined);
  assert.equal(warning?.code, 'nothing_to_learn');
  assert.match(warning!.cause, /^3 of 20 examples/);
});

test('few rows, and rows that repeat others, speak; many different ones are silent', () => {
  assert.deepEqual(pluck(examineData(dataset(9), undefined), 'code'), ['few_examples']);
  const rows = dataset(20);
  const repeated = describeExamples([...rows.examples, ...rows.examples.slice(0, 4)], 0);
  assert.deepEqual(pluck(examineData(repeated, undefined), 'code'), ['duplicates']);
  const once = describeExamples([...rows.examples, rows.examples[0]!], 0);
  assert.deepEqual(examineData(once, undefined), []);
});

test('validation rows that are trained on speak; disjoint ones are silent', () => {
  const rows = dataset(20);
  const leaked = describeExamples(rows.examples.slice(3, 6), 0);
  const [warning] = examineData(rows, leaked);
  assert.equal(warning?.code, 'validation_leak');
  assert.match(warning!.cause, /^3 of 3 validation examples/);
  assert.deepEqual(examineData(rows, dataset(3, 99)), []);
});

/** Peak rate and batch → the warnings of a whole run, beside that its random base guesses. */
const RUNS: readonly (readonly [learningRate: number, batchSize: number, codes: string[]])[] = [
  [0.01, 8, []],
  [0.01, 2, []], // windows of two rows differ by a fifth: that is no rise
  [1e-7, 8, ['rate_too_low']],
  [1e-7, 2, ['rate_too_low']],
  [1, 2, ['overfitting', 'rate_too_high']],
  [0.05, 8, ['overfitting']],
];

test('preferred outputs of twice the length speak; similar ones are silent', () => {
  const codes = (trim: number) => {
    const pairs = pairDataset(20).examples.map(({ rejected, ...chosen }) => {
      const labels = rejected!.labels.map((label, t) => (t < trim ? -1 : label));
      return { ...chosen, rejected: { ...rejected!, labels } };
    });
    return examineData(describeExamples(pairs, 0), undefined).map(({ code }) => code);
  };
  assert.deepEqual(codes(2), []);
  assert.ok(codes(6).includes('unequal_lengths'));
});

test('preferred outputs that become much less likely speak; a small fall is silent', () => {
  const codes = (last: number) => {
    const rows = curve(healthy).map((row, i, { length }) => ({
      ...row,
      'logps/chosen': -50 + ((last + 50) * i) / length,
    }));
    return codesOfRows(rows, { vocabSize: undefined });
  };
  assert.deepEqual(codes(-60), []);
  assert.deepEqual(codes(-120), ['preferred_unlikely']);
});

test('rewarded samples that become short, or all alike, speak; the loss is not looked at', () => {
  const codes = (length: number, entropy: number) => {
    const rows = curve(steps(20, (s) => s)).map((row, i) => ({
      ...row,
      'completions/mean_length': 40 + ((length - 40) * i) / 19,
      entropy: 2 + ((entropy - 2) * i) / 19,
    }));
    return codesOfRows(rows, { vocabSize: undefined, objective: 'reinforcement' });
  };
  assert.deepEqual(codes(20, 1), []);
  assert.deepEqual(codes(1, 1), ['length_collapse']);
  assert.deepEqual(codes(40, 0), ['entropy_collapse']);
});

test('whole runs are warned of what their rate does to them, and a fitting one is left in peace', async (t) => {
  const root = temporaryFolder(t);
  for (const [learningRate, batchSize, codes] of RUNS) {
    const settings = { schedule: 'constant', warmupSteps: 0, epochs: 10 };
    const { warnings } = await runLinear(runDir(root, `${learningRate}-${batchSize}`), {
      rows: dataset(32),
      validation: dataset(8, 9),
      job: { ...settings, learningRate, batchSize },
    });
    const found = warnings.filter((code) => code !== 'template_mismatch').sort();
    assert.deepEqual(found, codes, `rate ${learningRate}, batch ${batchSize}`);
  }
});

test('a run gives each warning once, also when it was resumed', async (t) => {
  const dir = runDir(temporaryFolder(t), 'run');
  const inner = linearModel();
  const guessing = {
    ...inner,
    accumulate: async (batch: Parameters<typeof inner.accumulate>[0]) => {
      const sums = await inner.accumulate(batch);
      return { ...sums, loss: sums.weight * 3 };
    },
  };
  const job = { epochs: 2, checkpointEvery: 1 };
  const first = await runLinear(dir, { job, model: guessing, stopAfter: 3 });
  assert.deepEqual(first.warnings, ['template_mismatch']);
  const resumed = await runLinear(dir, { job, model: guessing });
  assert.deepEqual(resumed.warnings, []);
});
