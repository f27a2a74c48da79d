// The answers of an adapter, freely and with a mask: from rows to questions, from answers to figures, and whole runs on the
// toy base.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { readAdapterFiles } from '../../adapters/peft/files.ts';
import { withAnswerModel } from '../../src/compose/answer-engine.ts';
import type { Constraint } from '../../src/contracts/generation.ts';
import { parseRow } from '../../src/rows/row-schema.ts';
import { loadConfig } from '../../src/settings/config.ts';
import { createToolTemplate } from '../../src/tools/tool-template.ts';
import { type QuestionOptions, toQuestion } from '../../trainer/data/questions.ts';
import { measureAnswers } from '../../trainer/evaluation/answers.ts';
import { temporaryFolder } from '../fixtures.ts';
import { createByteTokenizer } from '../http/served.ts';
import { PLAIN } from '../tools/templates.ts';
import { evaluateFiles, runToy, turns, writeRows } from './toy-runs.ts';

/** The toy base's vocabulary has no quotation marks. */
const tokenizer = createByteTokenizer(PLAIN);
const modelText = { tokenizer, template: createToolTemplate(tokenizer) };
const TOOL = {
  type: 'function',
  function: {
    name: 'paint',
    parameters: {
      type: 'object',
      properties: { color: { enum: ['red', 'blue'] }, coats: { type: 'integer' } },
      required: ['color'],
      additionalProperties: false,
    },
  },
};
const CALL = {
  messages: [
    { role: 'user', content: 'Paint it.' },
    {
      role: 'assistant',
      tool_calls: [
        {
          id: 'call_1',
          type: 'function',
          function: { name: 'paint', arguments: '{"color":"red","coats":2}' },
        },
      ],
    },
  ],
  tools: [TOOL],
};
const COLOR: Constraint = {
  kind: 'json_schema',
  schema: {
    type: 'object',
    properties: { color: { enum: ['red', 'blue'] }, tags: { items: { type: 'string' } } },
    required: ['color'],
    additionalProperties: false,
  },
};

function questionOf(row: object, options: Partial<QuestionOptions> = {}) {
  return toQuestion(parseRow(JSON.stringify(row)), { modelText, ...options });
}

const encode = (text: string) => modelText.tokenizer.encode(text, { specials: true });

test('rows that end with an object, a list or calls are questions; other rows only with a format', () => {
  const rows = ['{"a":1}', '[1]', 'It is blue.', '7', '"blue"'].map((answer) => turns('?', answer));
  assert.deepEqual(
    rows.map((row) => questionOf(row)?.wanted),
    [{ a: 1 }, [1], undefined, undefined, undefined],
  );
  const wanted = [{ name: 'paint', arguments: { color: 'red', coats: 2 } }];
  assert.deepEqual(questionOf(CALL)?.wanted, wanted);
  assert.deepEqual(questionOf({ prompt: 'a: ', completion: ' {"a":1}' })?.wanted, { a: 1 });
  const format: Constraint = { kind: 'choice', texts: ['red', 'blue'] };
  assert.equal(questionOf(turns('?', 'blue'), { format })?.wanted, 'blue');
  assert.equal(questionOf(turns('?', 'blue'), { format: { kind: 'any_text' } }), undefined);
  assert.equal(questionOf({ text: '{"a":1}' }), undefined);
});

test("an answer is read as the format's JSON, and is undefined if it is not of the format", () => {
  const { read, promptIds } = questionOf(turns('Which?', '{"color":"red"}'), { format: COLOR })!;
  assert.match(modelText.tokenizer.decode(promptIds, { skipSpecials: false }), /Which\?/);
  assert.deepEqual(read(encode('{ "tags": ["a"], "color": "blue" }')), {
    color: 'blue',
    tags: ['a'],
  });
  for (const text of ['{"color":"green"}', '{"color":"red"', 'red', '{}', '{"color":"red","x":1}'])
    assert.equal(read(encode(text)), undefined, text);
});

test('calls are valid if their arguments are; a broken call is not, other text is', () => {
  const { read } = questionOf(CALL)!;
  const call = (name: string, given: string) =>
    encode(`<tool_call>\n{"name": "${name}", "arguments": ${given}}\n</tool_call>`);
  assert.deepEqual(read(call('paint', '{"coats": 1, "color": "blue"}')), [
    { name: 'paint', arguments: { color: 'blue', coats: 1 } },
  ]);
  assert.equal(read(call('paint', '{"color": "green"}')), undefined);
  assert.equal(read(call('draw', '{"color": "red"}')), undefined);
  assert.equal(read(encode('<tool_call>\n{"name": "paint", "arguments": {"co')), undefined);
  assert.equal(read(encode('It is painted.')), 'It is painted.');
});

test('figures: shares of valid and right answers, and F1 over the leaves', async () => {
  const rows = [
    turns('1', '{"color":"red","tags":["a","b"]}'),
    turns('2', '{"color":"blue"}'),
    turns('3', '{"color":"blue"}'),
  ];
  const asked = rows.map((row) => questionOf(row, { format: COLOR })!);
  const free = ['{"color":"red","tags":["b","c"]}', 'blue', undefined];
  const masked = ['{"tags":["a","b"],"color":"red"}', '{"color":"blue"}', '{"color":"red"}'];
  const answers = { free: free.values(), masked: masked.values() };
  const figures = await measureAnswers(asked, {
    async answer({ constraint }) {
      const text = (constraint ? answers.masked : answers.free).next().value;
      return text === undefined ? undefined : encode(text);
    },
  });
  assert.deepEqual(figures, {
    answers: 3,
    valid_without_mask: 1 / 3,
    exact_match_without_mask: 0,
    field_f1_without_mask: (2 * 2) / (5 + 3),
    valid_with_mask: 1,
    exact_match_with_mask: 2 / 3,
    field_f1_with_mask: (2 * 4) / (5 + 5),
  });
});

test('eval: what was learned is right in both ways; what was not is valid with the mask alone', async (t) => {
  // The toy base's chat template has no token that ends a turn.
  const rows = (count: number, from: number) =>
    Array.from({ length: count }, (_, i) => ({
      prompt: `What is ${from + i}? `,
      completion: '[1,2]',
    }));
  const data = writeRows(t, rows(8, 100));
  const run = await runToy(t, { data: writeRows(t, rows(32, 0)), validation: data, epochs: 6 });
  const files = await readAdapterFiles(path.join(run.dir, 'adapter'));
  const config = loadConfig({}, { LORIKEET_HOME: temporaryFolder(t) });
  const signal = new AbortController().signal;
  const openProgress = async () => ({ update() {}, end() {} });
  const reporter = { notify() {}, openProgress };
  const integers = (count: number): Constraint => {
    const bounds = { minItems: count, maxItems: count };
    return { kind: 'json_schema', schema: { type: 'array', items: { enum: [1, 2] }, ...bounds } };
  };
  const evaluate = async (format?: Constraint) => {
    const { card } = await evaluateFiles(files, {
      ...{ data, format },
      withAnswers: ({ modelDir, ...served }, work) => {
        const context = { config: { ...config, model: modelDir }, signal, reporter };
        return withAnswerModel(served, context, work);
      },
    });
    const names = ['answers', 'valid_without_mask', 'exact_match_without_mask'];
    const masked = ['valid_with_mask', 'exact_match_with_mask', 'field_f1_with_mask'];
    return [...names, ...masked].map((name) => card[name]);
  };
  assert.deepEqual(await evaluate(), [8, 1, 1, 1, 1, 1]);
  assert.deepEqual(await evaluate(integers(2)), [8, 1, 1, 1, 1, 1]);
  assert.deepEqual(await evaluate(integers(3)), [8, 0, 0, 1, 0, 0.8]);
});
