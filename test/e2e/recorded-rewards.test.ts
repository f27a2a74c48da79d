// Rewards on the real base: SNIPS, first supervised on few rows, then by a grader on requests without answers to imitate.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { grade } from '../../src/graders/grade.ts';
import { graderSchema } from '../../src/graders/schema.ts';
import { toSample } from '../../src/graders/template.ts';
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
import { exactMatch, greedyAnswers, type HeldOut, heldOut, slotF1 } from './served.ts';

/** The first rows are for the supervised run, those after them for the one with rewards. */
const SUPERVISED_ROWS = 200;
const STEPS = 24;
const PROMPTS = 4;
/** More than the longest answer. */
const MAX_TOKENS = 96;
const TESTED = 200;

const GRADER = {
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
      evaluation_metric: 'rouge_2',
    },
  },
  calculate_output: '0.3 * intent + 0.7 * slots',
};

test('rewards after few rows: exact match and F1 of slots', { skip }, async (t) => {
  const folder = temporaryFolder(t);
  const write = (name: string, rows: readonly object[]) =>
    writeLines(path.join(folder, name), rows);
  const rows = chatRows('snips/train.jsonl');
  const supervised = await trainRecorded(t, path.join(folder, 'supervised'), [
    ...['--data', write('answered.jsonl', rows.slice(0, SUPERVISED_ROWS))],
  ]);
  const prompts = rows
    .slice(SUPERVISED_ROWS, SUPERVISED_ROWS + STEPS * PROMPTS)
    .map((row) => ({ messages: promptOf(row), ...JSON.parse(answerOf(row).content) }));
  const reinforced = await trainRecorded(t, path.join(folder, 'reinforced'), [
    ...['--objective', 'reinforcement', '--data', write('prompts.jsonl', prompts)],
    ...['--grader', write('grader.json', [GRADER]), '--completion-length', String(MAX_TOKENS)],
    ...['--init-adapter', path.join(folder, 'supervised', 'adapter')],
    ...['--batch-size', String(PROMPTS), '--epochs', '1', '--learning-rate', '1e-4'],
  ]);
  const tested = await heldOut(baseDir, dataPath('snips/test.jsonl'), TESTED);
  const scores = await compare(t, { supervised, reinforced }, async (client, adapter) => {
    const options = { dir: baseDir, rows: tested, maxTokens: MAX_TOKENS };
    const answers = await greedyAnswers(client, adapter, options);
    return {
      'exact match': exactMatch(answers, tested),
      'F1 of slots': slotF1(answers, tested),
      reward: await meanReward(answers, tested),
    };
  });
  assert.ok(scores.reinforced['exact match']! > scores.supervised['exact match']!);
});

/** The mean reward of answers. */
async function meanReward(answers: readonly string[], rows: readonly HeldOut[]): Promise<number> {
  const grader = graderSchema.parse(GRADER);
  const refuse = () => assert.fail('the grader asks no model');
  const calls = { embed: refuse, ask: refuse };
  let sum = 0;
  for (const [i, { answer }] of rows.entries()) {
    const values = { item: JSON.parse(answer), sample: toSample(answers[i]!) };
    sum += (await grade(grader, values, calls)).reward;
  }
  return sum / rows.length;
}
