// Runs of the linear model that learn from rewards: the reward rises, a resumed run samples the same completions, and runs that
// cannot learn end.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { StepSamples } from '../../src/contracts/step-samples.ts';
import type { Graded } from '../../src/graders/grade.ts';
import type { Example } from '../../trainer/data/example.ts';
import { type Dataset, describeExamples } from '../../trainer/data/load-dataset.ts';
import { parseSteps } from '../../trainer/run/metrics.ts';
import type { CompletionSampler, Reinforcement, Reward } from '../../trainer/run/reinforcement.ts';
import type { RunFolder } from '../../trainer/run/run-folder.ts';
import { isRecorded, toStepSamples } from '../../trainer/run/samples.ts';
import type { TrainModel } from '../../trainer/types.ts';
import { seededRandom, temporaryFolder } from '../fixtures.ts';
import { pluck } from '../pluck.ts';
import { LINEAR_VOCAB, type LinearModel, linearModel } from './linear-model.ts';
import { type LinearRunOptions, runLinear } from './runs.ts';

const END = 0;
const WANTED = 7;
const GRADER = {
  type: 'string_check',
  name: 'any',
  input: '{{sample.output_text}}',
  reference: 'x',
  operation: 'eq',
};

const prompts = (count: number, from = 0): Dataset =>
  describeExamples(
    Array.from({ length: count }, (_, i): Example => {
      const ids = Int32Array.from([1 + ((from + i) % 5), 1 + ((from + i) % 11)]);
      return { ids, labels: ids.map(() => -1), weights: undefined, item: { number: i } };
    }),
    0,
  );

/** Draws each token from the probabilities of the model. */
function plainSampler({ parameters: [table, bias] }: TrainModel): CompletionSampler {
  const logProbsAfter = (id: number) => {
    const logits = Array.from(bias!.data, (b, v) => b + table!.data[id * LINEAR_VOCAB + v]!);
    const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
    return logits.map((logit) => logit - Math.log(total));
  };
  return {
    async use() {},
    async post() {
      throw new Error('the reward asks no model');
    },
    async sample({ promptIds, maxTokens, seed }) {
      const random = seededRandom(seed);
      const [ids, logProbs]: [number[], number[]] = [[], []];
      while (ids.length < maxTokens && ids.at(-1) !== END) {
        const all = logProbsAfter(ids.at(-1) ?? promptIds.at(-1)!);
        let rest = (random() + 1) / 2;
        const drawn = all.findIndex((logProb) => {
          rest -= Math.exp(logProb);
          return rest < 0;
        });
        const id = drawn < 0 ? END : drawn;
        ids.push(id);
        logProbs.push(all[id]!);
      }
      return { ids, logProbs, isWhole: ids.at(-1) === END };
    },
  };
}

const PLAIN_TEXT = { decode: (ids: readonly number[]) => ids.join(' ') };

const shareOfWanted = async (ids: readonly number[]): Promise<Reward> => ({
  value: ids.filter((id) => id === WANTED).length / ids.length,
});

function run(
  t: TestContext,
  options: LinearRunOptions & { reward?: Reinforcement['reward']; dir?: string } = {},
) {
  const { reward = shareOfWanted, dir = path.join(temporaryFolder(t), 'run'), ...rest } = options;
  const model: LinearModel = linearModel();
  const reinforcement = (folder: RunFolder): Reinforcement => ({
    completions: 4,
    completionLength: 6,
    maxLength: 64,
    seed: 3,
    sampler: plainSampler(model),
    writeAdapter: async () => dir,
    constraintOf: () => undefined,
    reward,
    record: (step, groups) => folder.addSamples(toStepSamples(step, groups, PLAIN_TEXT)),
  });
  const job = { objective: 'reinforcement', grader: GRADER, epochs: 8, ...rest.job };
  return runLinear(dir, { rows: prompts(12), ...rest, model, reinforcement, job });
}

test('the reward rises, and the metrics describe the samples', async (t) => {
  const { metrics } = await run(t, { validation: prompts(6, 3) });
  const rewards = metrics.map(({ reward }) => reward!);
  const mean = (values: readonly number[]) =>
    values.reduce((sum, value) => sum + value, 0) / values.length;
  const [first, last] = [mean(rewards.slice(0, 6)), mean(rewards.slice(-6))];
  assert.ok(last > first + 0.2, `${first} ${last}`);
  const row = metrics.at(-1)!;
  assert.equal(row.validationLoss, -row.eval_reward!);
  assert.ok(row['completions/mean_length']! >= 1 && row['completions/mean_length']! <= 6);
  assert.ok(row['sampling/sampling_logp_difference/mean']! < 1e-6);
  const length = row['completions/mean_length']!;
  assert.equal(row.tokens, 2 * 2 + Math.round(length * 2 * 4));
});

const samplesOf = (dir: string) => readFileSync(path.join(dir, 'samples.jsonl'), 'utf8');

test('a run that was killed resumes to the same weights and the same samples', async (t) => {
  const job = { checkpointEvery: 2 };
  const whole = await run(t, { job });
  const dir = path.join(temporaryFolder(t), 'run');
  await assert.rejects(run(t, { job, dir, killAfter: 5 }), /killed/);
  const resumed = await run(t, { job, dir });
  for (const [i, { data }] of whole.model.parameters.entries()) {
    assert.deepEqual(resumed.model.parameters[i]!.data, data);
  }
  assert.equal(samplesOf(dir), samplesOf(whole.folder.dir));
  const steps = parseSteps<StepSamples>(samplesOf(dir), Number.POSITIVE_INFINITY);
  assert.deepEqual(
    pluck(steps, 'step'),
    whole.metrics.map(({ step }) => step),
  );
  const rewards = steps[0]!.prompts.flatMap(({ completions }) => completions);
  const mean = rewards.reduce((sum, { reward }) => sum + reward, 0) / rewards.length;
  assert.ok(Math.abs(mean - whole.metrics[0]!.reward!) < 1e-12);
});

test('of many completions and long texts some are recorded', () => {
  const sample = { logProbs: [], isWhole: false, advantage: 0 };
  const [prompt] = prompts(1).examples;
  const graded = { scores: { a: 1 } } as unknown as Graded;
  const group = (k: number) =>
    Array.from({ length: 12 }, () => ({
      ...sample,
      prompt: { ...prompt!, ids: new Int32Array(3000).fill(k) },
      ids: new Array<number>(3000).fill(5),
      reward: { value: k, graded, fault: 'other_error' },
    }));
  const { prompts: kept, step } = toStepSamples(3, [0, 1, 2, 3].map(group), PLAIN_TEXT);
  assert.deepEqual([step, kept.length], [3, 2]);
  assert.equal(kept[1]!.completions.length, 12);
  assert.ok(kept[1]!.text.length === 2000 && kept[1]!.text.endsWith(' 1'));
  const { text, ...rest } = kept[1]!.completions[11]!;
  assert.equal(text.length, 2000);
  const reward = { reward: 1, parts: { a: 1 }, error: 'other_error' };
  assert.deepEqual(rest, { tokens: 3000, finish: 'length', ...reward });
  const recorded = (total: number) =>
    Array.from({ length: total }, (_, i) => i + 1).filter((step) => isRecorded(step, total));
  assert.equal(recorded(500).length, 500);
  assert.deepEqual(recorded(1501).slice(0, 3), [1, 4, 8]);
  assert.ok(recorded(1501).length <= 502 && recorded(1501).at(-1) === 1501);
});

test('the rewards of a step are asked for together', async (t) => {
  const waiting: (() => void)[] = [];
  const reward = async (ids: readonly number[]) => {
    await new Promise<void>((resolve) => {
      waiting.push(resolve);
      if (waiting.length === 2 * 4) for (const answer of waiting.splice(0)) answer();
    });
    return shareOfWanted(ids);
  };
  const { metrics } = await run(t, { reward, job: { maxSteps: 2 } });
  assert.equal(metrics.length, 2);
  assert.ok(metrics[0]!.entropy! > 0);
});

test('a run ends if its grader fails', async (t) => {
  await assert.rejects(run(t, { reward: async () => ({ value: 0, fault: 'other_error' }) }), {
    code: 'grader_fails',
    message: /other_error/,
  });
});

test('a run whose rewards never differ warns once, names the grader, and goes on', async (t) => {
  const part = { name: 'judge', type: 'score_model', errors: {} };
  const errors = { sample_parse_error: true };
  const graded = { scores: {}, errors, parts: [part] } as unknown as Graded;
  // The model may learn to write JSON or to call a tool, and the next row may have the value.
  const faulty = async () => ({ value: 0, fault: 'sample_parse_error', graded });
  const { outcome, metrics, events, warnings } = await run(t, { reward: faulty });
  assert.deepEqual([outcome, metrics.length, warnings], ['succeeded', 48, ['reward_constant']]);
  assert.match(
    events.join('\n'),
    /the grader judge .* for 10 steps \(mean now 0.00, 8 sample_parse/,
  );
  const half = await run(t, { reward: async () => ({ value: 0.5 }) });
  assert.deepEqual([half.metrics.length, half.warnings], [48, ['reward_constant']]);
  const byPrompt = async (_: readonly number[], { item }: Example) => ({
    value: Number(item!['number']) % 2,
  });
  assert.deepEqual((await run(t, { reward: byPrompt })).warnings, ['reward_constant']);
});

test('a run whose completions all get the highest reward ends early, also if it is resumed', async (t) => {
  const folder = (name: string) => path.join(temporaryFolder(t), name);
  const [whole, killed, paused] = ['whole', 'killed', 'paused'].map(folder) as [
    string,
    string,
    string,
  ];
  const saved: string[] = [];
  const train = (dir: string, end: LinearRunOptions = {}) =>
    run(t, {
      ...{ dir, reward: async () => ({ value: 1 }), job: { checkpointEvery: 2 }, ...end },
      saveResult: async (_, { dir: of }) => void saved.push(of),
    });
  const { outcome, metrics, events, warnings } = await train(whole);
  assert.deepEqual([outcome, metrics.length, warnings], ['succeeded', 10, []]);
  assert.match(events.at(-1)!, /^solved: .* ended after step 10 of 48$/);
  await assert.rejects(train(killed, { killAfter: 7 }), /killed/);
  assert.equal((await train(paused, { stopAfter: 7 })).outcome, 'paused');
  for (const dir of [killed, paused, whole]) {
    const resumed = await train(dir);
    assert.deepEqual([resumed.outcome, resumed.metrics.length], ['succeeded', 10]);
    assert.equal(samplesOf(dir), samplesOf(whole));
  }
  assert.deepEqual(saved, [whole, killed, paused, whole]);
});

test('a run with small batches ends early only after a hundred prompts', async (t) => {
  const reward = async () => ({ value: 1 });
  const { metrics, warnings } = await run(t, { reward, rows: prompts(150), job: { batchSize: 1 } });
  assert.deepEqual([metrics.length, warnings], [100, []]);
});

test('the highest reward is that of the grader', async (t) => {
  const judge = { type: 'score_model', name: 'judge', model: 'base', input: [], range: [0, 10] };
  const message = { role: 'user', content: '{{sample.output_text}}' };
  const ranged = { ...judge, input: [message] };
  const calculate_output = '0.5 * any + judge';
  const multi = { type: 'multi', name: 'both', graders: [GRADER, ranged], calculate_output };
  for (const [grader, highest] of [
    [ranged, 10],
    [multi, 10.5],
  ] as const) {
    const lengths = await Promise.all(
      [1, highest].map(async (value) => {
        const { metrics } = await run(t, { reward: async () => ({ value }), job: { grader } });
        return metrics.length;
      }),
    );
    assert.deepEqual(lengths, [48, 10]);
  }
});
