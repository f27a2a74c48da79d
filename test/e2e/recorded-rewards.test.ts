// Rewards on the real base: SNIPS, first supervised on few rows, then by a grader on requests without answers to imitate.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { grade } from '../../src/graders/grade.ts';
import { graderSchema } from '../../src/graders/schema.ts';
import { toSample } from '../../src/graders/template.ts';
import { meanOf } from '../../trainer/policy.ts';
import { temporaryFolder } from '../fixtures.ts';
import {
  answerOf,
  baseDir,
  chatRows,
  compare,
  dataPath,
  promptOf,
  skip,
  trainRecorded,
  writeLines,
} from './recorded-run.ts';
import { readLines } from './rows.ts';
import { exactMatch, greedyAnswers, type HeldOut, heldOut, slotF1 } from './served.ts';

interface Recorded {
  /** The first rows are for the supervised run, the rows after them for the one with rewards. */
  readonly supervisedRows: number;
  /** Compares slots as JSON texts. */
  readonly metric: string;
  readonly calculate: string;
  readonly rate: string;
  /** The least gain in the rewards of samples from the first half of the steps to the second: half of the recorded one, or noise. */
  readonly leastGain: number;
}

/** A character metric rewards texts that are merely alike, one of word pairs mostly right names with right values. */
const RUNS: readonly Recorded[] = [
  {
    supervisedRows: 100,
    metric: 'fuzzy_match',
    calculate: '0.5 * intent + 0.5 * slots',
    rate: '3e-4',
    leastGain: 0.03,
  },
  {
    supervisedRows: 200,
    metric: 'rouge_2',
    calculate: '0.3 * intent + 0.7 * slots',
    rate: '1e-4',
    leastGain: -0.03,
  },
];
const STEPS = 24;
const PROMPTS = 4;
/** More than the longest answer. */
const MAX_TOKENS = 96;
const TESTED = 200;

const graderOf = ({ metric, calculate }: Recorded) => ({
  type: 'multi',
  name: 'request',
  graders: {
    intent: {
      type: 'string_check',
      name: 'intent',
      input: '{{sample.output_json.intent}}',
      reference: '{{item.intent}}',
      operation: 'eq',
    },
    slots: {
      type: 'text_similarity',
      name: 'slots',
      input: '{{sample.output_json.slots}}',
      reference: '{{item.slots}}',
      evaluation_metric: metric,
    },
  },
  calculate_output: calculate,
});

for (const run of RUNS) {
  const { supervisedRows, metric, rate, leastGain } = run;
  const name = `rewards by ${metric} after ${supervisedRows} supervised rows, and what they are worth`;
  test(name, { skip }, async (t) => {
    const folder = temporaryFolder(t);
    const write = (file: string, rows: readonly object[]) =>
      writeLines(path.join(folder, file), rows);
    const rows = chatRows('snips/train.jsonl');
    const supervised = await trainRecorded(t, path.join(folder, 'supervised'), [
      ...['--data', write('answered.jsonl', rows.slice(0, supervisedRows))],
    ]);
    const prompts = rows
      .slice(supervisedRows, supervisedRows + STEPS * PROMPTS)
      .map((row) => ({ messages: promptOf(row), ...JSON.parse(answerOf(row).content) }));
    const grader = graderOf(run);
    const out = path.join(folder, 'reinforced');
    const reinforced = await trainRecorded(t, out, [
      ...['--objective', 'reinforcement', '--data', write('requests.jsonl', prompts)],
      ...['--grader', write('grader.json', [grader]), '--completion-length', String(MAX_TOKENS)],
      ...['--init-adapter', path.join(folder, 'supervised', 'adapter')],
      ...['--batch-size', String(PROMPTS), '--epochs', '1', '--learning-rate', rate],
    ]);
    const tested = await heldOut(baseDir, dataPath('snips/test.jsonl'), TESTED);
    await compare(t, { supervised, reinforced }, async (client, adapter) => {
      const options = { dir: baseDir, rows: tested, maxTokens: MAX_TOKENS };
      const answers = await greedyAnswers(client, adapter, options);
      return {
        'exact match': exactMatch(answers, tested),
        'F1 of slots': slotF1(answers, tested),
        reward: await meanReward(grader, answers, tested),
      };
    });
    const rewards = readLines(path.join(out, 'metrics.jsonl')).map(({ reward }) => Number(reward));
    const half = STEPS / 2;
    const gain = meanOf(rewards.slice(half)) - meanOf(rewards.slice(0, half));
    assert.ok(gain >= leastGain, `the rewards of samples gained ${gain}`);
  });
}

async function meanReward(
  grader: object,
  answers: readonly string[],
  rows: readonly HeldOut[],
): Promise<number> {
  const parsed = graderSchema.parse(grader);
  const refuse = () => assert.fail('the grader asks no model');
  const rewards: number[] = [];
  for (const [i, { answer }] of rows.entries()) {
    const values = { item: JSON.parse(answer), sample: toSample(answers[i]!) };
    rewards.push((await grade(parsed, values, { embed: refuse, ask: refuse })).reward);
  }
  return meanOf(rewards);
}
