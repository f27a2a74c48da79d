// Rows of a table become rows that the trainer accepts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  decodeText,
  FORM_IDS,
  guessTable,
  isComplete,
  type Table,
  takesSystem,
  toClassifier,
  toLines,
  withForm,
} from '../../src/pages/fine-tuning/new-job/table.ts';
import { parseRow } from '../../src/rows/row-schema.ts';

const ROWS = [
  [' Is it far? ', 'Two miles.', 'It depends.', 'Be brief.'],
  ['Why?', '', 'x', ''],
];

for (const [columns, id] of [
  [['question', 'answer'], 'chat'],
  [['id', 'Instruction', 'Output', 'System prompt'], 'chat'],
  [['utterance', 'intent'], 'classifier'],
  [['text', 'label', 'split'], 'classifier'],
  [['prompt', 'chosen', 'rejected'], 'pairs'],
  [['id', 'text'], 'text'],
  [['a', 'b'], 'chat'],
  [['id', 'question', 'kind'], 'chat'],
] as const) {
  test(`${columns.join(', ')} are columns of the form ${id}`, () => {
    const table = guessTable([columns]);
    assert.equal(table.form, id);
    assert.ok(isComplete(table));
  });
}

test('every form makes rows that the trainer accepts, without empty ones', () => {
  for (const form of FORM_IDS) {
    const table = withForm(guessTable([[], ...ROWS]), form);
    const mapping = Object.fromEntries(Object.keys(table.mapping).map((id, i) => [id, i]));
    const lines = toLines({ ...table, mapping });
    assert.equal(lines.length, form === 'text' ? 2 : 1, form);
    for (const line of lines) assert.ok(parseRow(line), form);
  }
});

test('a pair keeps its system prompt, and cells lose their outer blanks', () => {
  const lines = toLines(guessTable([['prompt', 'chosen', 'rejected', 'system'], ...ROWS]));
  assert.deepEqual(JSON.parse(lines[0]!), {
    input: {
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'Is it far?' },
      ],
    },
    preferred_output: [{ role: 'assistant', content: 'Two miles.' }],
    non_preferred_output: [{ role: 'assistant', content: 'It depends.' }],
  });
});

test('a column has one role, and needed roles have a column', () => {
  const isReady = (mapping: Table['mapping']) => isComplete({ form: 'classifier', mapping });
  assert.ok(!isReady({ text: 0, label: 0 }));
  assert.ok(!isReady({ text: 0, label: -1 }));
  assert.ok(isReady({ text: 1, label: 0 }));
});

test('a typed system prompt is in every row, unless a column has it', () => {
  const typed = {
    ...guessTable([['question', 'answer', 'system'], ...ROWS]),
    system: ' Be kind. ',
  };
  const prompts = (table: Table) =>
    toLines(table).map((line) => JSON.parse(line).messages[0].content);
  assert.ok(!takesSystem(typed));
  assert.deepEqual(prompts(typed), ['It depends.']);
  const free = { ...typed, mapping: { ...typed.mapping, system: -1 } };
  assert.ok(takesSystem(free));
  assert.deepEqual(prompts(free), ['Be kind.']);
  assert.ok(!takesSystem({ ...typed, form: 'classifier' }));
});

test('few different answers look like classes, and their rows become rows of a classifier', () => {
  const answers = Array.from({ length: 20 }, (_, i) => (i % 2 ? 'odd' : 'even '));
  const chat = (answer: string, i: number) =>
    JSON.stringify({
      messages: [
        { role: 'system', content: 'Odd or even?' },
        { role: 'user', content: String(i) },
        { role: 'assistant', content: answer },
      ],
    });
  const plain = (completion: string, i: number) =>
    JSON.stringify({ prompt: String(i), completion });
  for (const toLine of [chat, plain]) {
    const found = toClassifier([...answers.map(toLine), '']);
    assert.deepEqual(found?.classes, ['even', 'odd']);
    assert.deepEqual(JSON.parse(found.lines[1]!), { text: '1', label: 'odd' });
    for (const line of found.lines) assert.equal(parseRow(line).kind, 'labelled');
    assert.equal(
      toClassifier(answers.map((one, i) => toLine(one + i, i))),
      undefined,
      'all differ',
    );
    assert.equal(toClassifier(answers.map((_, i) => toLine('yes', i))), undefined, 'one class');
  }
  const others = [
    ...['{"text": "a"}', 'no JSON', '{"messages": [{"role": "user", "content": "a"}]}'],
    '{"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}',
    '{"messages": "[{\\"role\\": \\"user\\"}]"}',
    '{"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "assistant", "content": "b"}]}',
  ];
  for (const other of others) assert.equal(toClassifier([...answers.map(chat), other]), undefined);
});

test('a table in UTF-8, UTF-16 or Latin 1 is read with its accents', () => {
  const text = 'Größe;café';
  assert.deepEqual(decodeText(Buffer.from(text)), { text, isUnicode: true });
  const wide = Buffer.from(`\ufeff${text}`, 'utf16le');
  assert.deepEqual(decodeText(wide), { text, isUnicode: true });
  assert.deepEqual(decodeText(Buffer.from(text, 'latin1')), { text, isUnicode: false });
});
