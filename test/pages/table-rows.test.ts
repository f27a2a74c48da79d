// Rows of a table become rows that the trainer accepts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FORMS, guessForm, isComplete, toLines } from '../../src/pages/table-rows.js';
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
    const { form, mapping } = guessForm(columns);
    assert.equal(form.id, id);
    assert.ok(isComplete(form, mapping));
  });
}

test('every form makes rows that the trainer accepts, without empty ones', () => {
  for (const form of FORMS) {
    const mapping = Object.fromEntries(form.roles.map(({ id }, i) => [id, i]));
    const { lines, skipped } = toLines(ROWS, form, mapping);
    assert.equal(lines.length + skipped, 2, form.id);
    assert.equal(skipped, form.roles.length > 1 ? 1 : 0, form.id);
    for (const line of lines) assert.ok(parseRow(line), form.id);
  }
});

test('a pair keeps its system prompt, and cells lose their outer blanks', () => {
  const { form, mapping } = guessForm(['prompt', 'chosen', 'rejected', 'system']);
  const { lines } = toLines(ROWS, form, mapping);
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
  const [form] = FORMS.filter(({ id }) => id === 'classifier');
  assert.ok(!isComplete(form!, { text: 0, label: 0 }));
  assert.ok(!isComplete(form!, { text: 0, label: -1 }));
  assert.ok(isComplete(form!, { text: 1, label: 0 }));
});
