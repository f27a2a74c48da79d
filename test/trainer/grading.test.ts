// From the tokens of a completion to its reward: tools and formats constrain it as on a server, and its JSON and its calls reach the
// grader. The questions of graders go to the models.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PythonError, type RunPython } from '../../src/graders/grade.ts';
import { parseRow } from '../../src/rows/row-schema.ts';
import { createToolTemplate } from '../../src/tools/tool-template.ts';
import { createRowEncoder } from '../../trainer/data/encode-row.ts';
import type { Example } from '../../trainer/data/example.ts';
import { loadDataset } from '../../trainer/data/load-dataset.ts';
import { createGrading } from '../../trainer/rewards.ts';
import { summarizeGraders } from '../../trainer/run/grading-summary.ts';
import { createByteTokenizer } from '../http/served.ts';
import { pluck } from '../pluck.ts';
import { PLAIN } from '../tools/templates.ts';
import { writeRows } from './toy-runs.ts';

const tokenizer = createByteTokenizer(PLAIN);
const modelText = { tokenizer, template: createToolTemplate(tokenizer) };
const encode = (text: string) => tokenizer.encode(text, { specials: true });
const parameters = { type: 'object', properties: { color: { type: 'string' } } };
const PROMPT = { messages: [{ role: 'user', content: 'Paint it.' }], color: 'red' };
const TOOLS = [{ type: 'function', function: { name: 'paint', parameters } }];

const objective = 'reinforcement' as const;
const encodeRow = createRowEncoder({ ...modelText, vocabSize: 256, objective });
const promptOf = (row: object) => encodeRow(parseRow(JSON.stringify(row), { objective }));

/** The grader is right if this part of the sample equals the row's color. */
const equalsColor = (input: string) => ({
  ...{ type: 'string_check', name: 'color', operation: 'eq' },
  ...{ input, reference: '{{item.color}}' },
});

function gradingOf(grader: object, options: Partial<Parameters<typeof createGrading>[1]> = {}) {
  const post = async () => {
    throw new Error('the grader asks no model');
  };
  const defaults = { modelText, format: undefined, post, base: 'base', seed: 5 };
  const { constraintOf, reward } = createGrading(grader, { ...defaults, ...options });
  return {
    constraintOf,
    /** Also checks that a part of the reward is reported for each grader. */
    async reward(text: string, prompt: Example) {
      const { graded, ...rest } = await reward(encode(text), prompt);
      assert.deepEqual(graded?.scores, { [(grader as { name: string }).name]: rest.value });
      return rest;
    },
  };
}

test('calls of a row’s tools are constrained, and reach the grader', async () => {
  const called = equalsColor('{{sample.output_tools[0].function.name}}');
  const { constraintOf, reward } = gradingOf({ ...called, reference: 'paint' });
  const prompt = promptOf({ ...PROMPT, tools: TOOLS });
  assert.ok(constraintOf(prompt));
  assert.equal(constraintOf(promptOf(PROMPT)), undefined);
  const call = '<tool_call>\n{"name": "paint", "arguments": {"color": "red"}}\n</tool_call>';
  assert.deepEqual(await reward(call, prompt), { value: 1, fault: undefined });
  const none = { value: 0, fault: 'sample_parse_error' };
  assert.deepEqual(await reward(call.replace('paint', 'draw'), prompt), none);
  assert.deepEqual(await reward(call, promptOf(PROMPT)), none);
});

test('a tool that cannot be enforced is a fault of its line', async (t) => {
  const wrong = { properties: { color: { type: 'string', pattern: '(?<=a)b' } } };
  const other = { type: 'function', function: { name: 'draw', parameters: wrong } };
  const lines = [TOOLS, [...TOOLS, other], TOOLS].map((tools) => ({ ...PROMPT, tools }));
  const loading = loadDataset(writeRows(t, lines), {
    encode: encodeRow,
    maxLength: 999,
    objective,
  });
  await assert.rejects(loading, {
    name: 'DatasetError',
    message: /has a bad line.*line 2: tools\[1\]\.function\.parameters: #\/properties\/color/s,
  });
});

test('a format constrains completions, whose JSON reaches the grader', async () => {
  const format = { kind: 'json_schema', schema: { type: 'object' } } as const;
  const grading = gradingOf(equalsColor('{{sample.output_json.color}}'), { format });
  const prompt = promptOf(PROMPT);
  assert.equal(grading.constraintOf(prompt), format);
  const texts = ['{"color":"red"}', '{"color":"blue"}', '{"color":"r', '{"colour":"red"}'];
  const rewards = texts.map((text) => grading.reward(text, prompt));
  assert.deepEqual(await Promise.all(rewards), [
    { value: 1, fault: undefined },
    { value: 0, fault: undefined },
    { value: 0, fault: 'sample_parse_error' },
    { value: 0, fault: 'sample_parse_error' },
  ]);
});

test('a question has the seed of the run unless it sets one, and the reason of a failure is reported', async () => {
  const bodies: { seed: number }[] = [];
  const question = {
    ...{ type: 'score_model', name: 'judge', model: 'judge@2' },
    input: [{ role: 'user', content: 'Is {{sample.output_text}} red?' }],
  };
  const answered = {
    choices: [{ message: { content: '{"steps":[],"result":0.5}' } }],
    usage: { prompt_tokens: 9, completion_tokens: 7 },
  };
  const answering = {
    async post(_: string, body: string) {
      bodies.push(JSON.parse(body));
      return JSON.stringify(answered);
    },
  };
  const seeded = { ...question, sampling_params: { seed: 9 } };
  for (const grader of [question, seeded]) {
    const reward = await gradingOf(grader, answering).reward('Rose', promptOf(PROMPT));
    assert.deepEqual(reward, { value: 0.5, fault: undefined });
  }
  assert.deepEqual(pluck(bodies, 'seed'), [5, 9]);
  const post = async () => JSON.stringify({ error: { message: 'No such model.' } });
  const { fault } = await gradingOf(question, { post }).reward('Rose', promptOf(PROMPT));
  assert.equal(fault, 'model_grader_server_error: judge: No such model.');
});

test('a summary counts the errors of each grader, and those of the formula', async () => {
  const { reward } = createGrading(
    {
      ...{ type: 'multi', name: 'both', calculate_output: '1 / color + 0 * json' },
      graders: [
        equalsColor('{{sample.output_text}}'),
        { ...equalsColor('{{sample.output_json.color}}'), name: 'json' },
      ],
    },
    { modelText, format: undefined, post: () => assert.fail(), base: 'base', seed: 5 },
  );
  const rewards = await Promise.all(
    ['red', 'blue', '{"color":"red"}'].map((text) => reward(encode(text), promptOf(PROMPT))),
  );
  assert.deepEqual(pluck(rewards, 'value'), [1, 0, 0]);
  const { samples, errors, graders } = summarizeGraders(rewards.map(({ graded }) => graded!));
  assert.deepEqual([samples, errors], [3, { sample_parse_error: 2, other_error: 2 }]);
  assert.deepEqual(
    graders.map((grader) => [grader.name, grader.score, grader.errors]),
    [
      ['color', 1 / 3, {}],
      ['json', 1 / 3, { sample_parse_error: 2 }],
    ],
  );
});

test('the reason why Python failed is reported', async () => {
  const runPython: RunPython = async () => {
    throw new PythonError('runtime', 'division by zero');
  };
  const python = { type: 'python', name: 'p', source: 'grade = len' };
  const failed = await gradingOf(python, { runPython }).reward('Rose', promptOf(PROMPT));
  assert.equal(failed.fault, 'python_grader_runtime_error: p: division by zero');
});
