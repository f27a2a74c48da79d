// Whole runs of DPO on the toy base: what a plan, its messages and its card say, and what the reference is.

import assert from 'node:assert/strict';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { readAdapterFiles } from '../../adapters/peft/files.ts';
import type { EvaluationCard } from '../../src/contracts/evaluation-card.ts';
import { parseJob } from '../../trainer/job/job.ts';
import { prepareRun } from '../../trainer/job/prepare-run.ts';
import { toJobPlan } from '../../trainer/planner/job-plan.ts';
import { describeRun, planText } from '../../trainer/planner/run-plan.ts';
import { pluck } from '../pluck.ts';
import {
  adapterBytesOf,
  cardOf,
  evaluateFiles,
  openToy,
  questions,
  runToy,
  stepsOf,
  TOY,
  turns,
  writeRows,
} from './toy-runs.ts';

/** Questions whose preferred output is blue. */
const pairs = (count: number, from = 0) =>
  Array.from({ length: count }, (_, i) => {
    const { messages } = turns(`What is ${from + i}?`, 'Blue.');
    const [question, preferred] = messages;
    return {
      input: { messages: [question] },
      preferred_output: [preferred],
      non_preferred_output: [{ role: 'assistant', content: 'It is red.' }],
    };
  });

const DPO = { objective: 'dpo', beta: 0.5, epochs: 4, learningRate: 1e-2 };

const rowsOf = (t: TestContext) => ({
  data: writeRows(t, pairs(32)),
  validation: writeRows(t, pairs(8, 100)),
});

test('a run prefers the preferred outputs afterwards, and its card says how often', async (t) => {
  const rows = rowsOf(t);
  const run = await runToy(t, { ...rows, ...DPO });
  assert.equal(run.error, undefined);
  const steps = stepsOf(run);
  assert.ok(Math.abs(steps[0]!.loss - Math.LN2) < 1e-5);
  assert.equal(steps.at(-1)!['rewards/accuracies'], 1);
  assert.equal(steps.at(-1)!['eval_rewards/accuracies'], 1);
  assert.ok(steps.at(-1)!['rewards/margins']! > 1);
  const card = cardOf(run);
  checkCard(card);
  const [snapshot] = run.messages.flatMap((one) => (one.type === 'snapshot' ? one.metrics : []));
  assert.ok(snapshot!['rewards/margins']! > 0);

  const files = await readAdapterFiles(path.join(run.dir, 'adapter'));
  const { card: evaluated } = await evaluateFiles(files, { data: rows.validation });
  checkCard(evaluated);
  assert.equal(evaluated['accuracy'], card['accuracy']);
});

function checkCard(card: EvaluationCard): void {
  assert.equal(card['base_accuracy'], 0.5);
  assert.equal(card['accuracy'], 1);
  assert.ok(Math.abs(Number(card['base_validation_loss']) - Math.LN2) < 1e-9);
  const verdicts = Object.fromEntries(card.gates.map(({ gate, passed }) => [gate, passed]));
  assert.equal(verdicts['validation'], true);
  assert.ok('forgetting' in verdicts && typeof card['text_loss'] === 'number');
}

test('the reference of a job that continues an adapter is that adapter, even after a kill', async (t) => {
  const rows = rowsOf(t);
  const first = await runToy(t, { ...rows, ...DPO, epochs: 1 });
  const initAdapter = path.join(first.dir, 'adapter');
  const job = { ...rows, ...DPO, epochs: 2, rank: undefined, initAdapter, checkpointEvery: 2 };
  const whole = await runToy(t, job);
  assert.equal(whole.error, undefined);
  const [start] = stepsOf(whole);
  assert.ok(Math.abs(start!.loss - Math.LN2) < 1e-5, String(start!.loss));
  const killed = await runToy(t, job, { killAfter: 3 });
  assert.match(String(killed.error), /killed/);
  const resumed = await runToy(t, job, { dir: killed.dir });
  assert.equal(resumed.error, undefined);
  assert.equal(adapterBytesOf(resumed), adapterBytesOf(whole));
});

test('a plan counts both outputs of a pair and shows them', async (t) => {
  const artifact = openToy(t);
  const job = { model: TOY, rank: 4, batchSize: 8 };
  const speed = { best: 1e11, typical: 1e11 };
  const planOf = async (rows: readonly object[], settings: object) => {
    const data = writeRows(t, rows);
    const prepared = await prepareRun(parseJob({ ...job, data, ...settings }), artifact);
    const { run } = describeRun(prepared, artifact, { speed, memory: 8e9, samplingEngineBytes: 0 });
    return { prepared, run, plan: toJobPlan(prepared, run) };
  };
  const { prepared, run, plan } = await planOf(pairs(32), DPO);
  const one = await planOf(questions(32, 'Blue.'), { epochs: 4 });
  assert.equal(plan.examples, 32);
  assert.equal(plan.stepsPerEpoch, one.plan.stepsPerEpoch);
  assert.ok(plan.tokens > 2 * one.plan.tokens);
  assert.ok(run.seconds > one.run.seconds);
  assert.ok(run.memory.activations > 1.5 * one.run.memory.activations);
  assert.deepEqual(pluck(plan.firstBatch.slice(0, 2), 'side'), ['preferred', 'non_preferred']);
  const learned = plan.firstBatch[1]!.spans.find(({ isLearned }) => isLearned)!;
  assert.match(plan.firstBatch[1]!.text.slice(learned.start, learned.end), /It is red/);
  const text = planText(run, prepared, artifact, { bytes: 1e12, source: 'machine' });
  assert.match(text, /32 pairs/);
  assert.match(text, /dpo, loss sigmoid, beta 0.5/);
});
