// The rows that a job held out, as questions for its base and its adapter.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import Papa from 'papaparse';
import {
  heldOutRows,
  isEqual,
  messageText,
  rowsOf,
  toQuestion,
} from '../../src/pages/fine-tuning/held-out.ts';
import { describeExamples } from '../../trainer/data/load-dataset.ts';
import { splitDataset } from '../../trainer/data/load-rows.ts';

for (const [count, share, seed] of [
  [40, 0.3, 161344096],
  [2, 0.01, 0],
  [11, 0.99, 2147483647],
  [1000, 0.05, 7],
] as const) {
  test(`of ${count} rows the same ${share * 100}% as in the trainer are held out`, () => {
    const examples = Array.from({ length: count }, (_, i) => ({
      ids: Int32Array.of(i),
      labels: Int32Array.of(i),
      weights: undefined,
    }));
    const { validation } = splitDataset(describeExamples(examples, 0), share, seed)!;
    const rows = examples.map((_, i) => `row ${i}`);
    assert.deepEqual(
      heldOutRows(rows, share, seed),
      validation.examples.map(({ ids: [i] }) => `row ${i}`),
    );
  });
}

test('all rows of a validation file are held out', () => {
  assert.deepEqual(heldOutRows(['a', 'b'], undefined, 1), ['a', 'b']);
});

test('rows are the lines of a file, the elements of a list, or the rows of a table', () => {
  const rows = (text: string) => rowsOf(text, Papa);
  assert.deepEqual(rows('{"a":1}\r\n\n{"a":2}\n'), ['{"a":1}', '{"a":2}']);
  assert.deepEqual(rows(' [{"a":1},\n {"a":2} ]\n'), ['{"a":1}', '{"a":2}']);
  assert.deepEqual(rows('a;b\n"x\ny";\n"[1]";2\n'), ['{"a":"x\\ny"}', '{"a":[1],"b":"2"}']);
  assert.deepEqual(rows(''), []);
});

const question = (row: unknown) => toQuestion(JSON.stringify(row));
const system = { role: 'system', content: 'Be brief.' };
const user = { role: 'user', content: 'Why?' };
const assistant = { role: 'assistant', content: 'So.', weight: 1 };

test('a chat is asked without its last answer, with its instructions and tools', () => {
  const earlier = { role: 'assistant', content: 'Hm.', weight: 0 };
  const asked = question({ messages: [system, earlier, user, assistant], tools: [1] })!;
  assert.deepEqual(asked, {
    kind: 'chat',
    messages: [system, { role: 'assistant', content: 'Hm.' }, user],
    tools: [1],
    prompt: 'Why?',
    system: 'Be brief.',
    expected: 'So.',
    item: {},
  });
});

test('pairs expect the preferred output, and prompts of graded jobs nothing', () => {
  const pair = { input: { messages: [user] }, preferred_output: [assistant] };
  assert.equal(question(pair)?.expected, 'So.');
  const graded = question({ messages: [user], wanted: 'Blue.' });
  assert.equal(graded?.expected, undefined);
  assert.deepEqual(graded?.item, { wanted: 'Blue.' });
});

test('prompts are continued, texts classified, and other rows ask nothing', () => {
  const continued = question({ prompt: 'a', completion: 'b' });
  assert.deepEqual([continued?.kind, continued?.prompt, continued?.expected], ['prompt', 'a', 'b']);
  const classified = question({ text: 'fine', label: 1 });
  assert.deepEqual([classified?.kind, classified?.expected], ['text', '1']);
  assert.equal(question({ text: 'alone' }), undefined);
  assert.equal(question({ input_ids: [1] }), undefined);
});

const SAME = {
  ShareGPT: {
    system: 'Be brief.',
    conversations: [
      { from: 'human', value: 'Why?' },
      { from: 'gpt', value: 'So.' },
    ],
  },
  Alpaca: { system: 'Be brief.', instruction: 'Why?', input: '', output: 'So.' },
  "TRL's completion": { prompt: [system, user], completion: [assistant] },
  "TRL's preference": { prompt: [system, user], chosen: [assistant], rejected: [user] },
};
for (const [form, row] of Object.entries(SAME)) {
  test(`rows of ${form} ask what the same chat asks`, () => {
    const { kind, messages, system: instructions, prompt, expected } = question(row)!;
    assert.deepEqual([kind, messages], ['chat', [system, user]]);
    assert.deepEqual([instructions, prompt, expected], ['Be brief.', 'Why?', 'So.']);
  });
}

test('other rows ask nothing', () => {
  for (const row of [[], null, 1, { input: 'a' }, { messages: 'a' }, { prompt: [] }])
    assert.equal(question(row), undefined);
  assert.equal(toQuestion('PAR1\u0000'), undefined);
});

test('answers are equal by their JSON values, or as texts without the space around them', () => {
  assert.ok(isEqual('{"b":[1,2],"a":{"d":1,"c":2}}', ' {"a": {"c": 2, "d": 1}, "b": [1, 2]}'));
  assert.ok(!isEqual('{"a":[1,2]}', '{"a":[2,1]}'));
  assert.ok(isEqual(' even\n', 'even'));
  assert.ok(!isEqual('Even', 'even'));
  const call = { function: { name: 'find', arguments: '{"a":1}' } };
  assert.equal(
    messageText({ role: 'assistant', content: null, tool_calls: [call] }),
    '[["find",{"a":1}]]',
  );
});
