// The lines of a training file are found, and the bad ones of an error message explained and removed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  badLines,
  otherMethodFor,
  parseLineFaults,
  sharedFault,
  withoutLines,
} from '../../src/pages/fine-tuning/new-job/lines.ts';
import { orRowError, parseRow, refuseOtherObjective } from '../../src/rows/row-schema.ts';

test('a message is split into lines, whatever the faults contain', () => {
  const { rest, faults } = parseLineFaults(
    'The job failed due to an invalid training file. Line 2: messages[0].role: is not one of a, b. ' +
      'Line 12: is not JSON. Line 300: completion: is missing.',
  );
  assert.equal(rest, 'The job failed due to an invalid training file.');
  assert.deepEqual(
    [...faults],
    [
      [2, 'messages[0].role: is not one of a, b'],
      [12, 'is not JSON'],
      [300, 'completion: is missing'],
    ],
  );
  const other = parseLineFaults('suffix: must be 1 to 64 characters');
  assert.equal(other.rest, 'suffix: must be 1 to 64 characters');
  assert.equal(other.faults.size, 0);
});

const LINES = ['one', '', 'sch\u00f6n \u{1f99c}', 'x'.repeat(1000), 'last'];
const faults = new Map(LINES.map((_, i) => [i + 1, `fault ${i}`]));

for (const ending of ['\n', '\r\n']) {
  test(`bad lines are found and shortened, with ${JSON.stringify(ending)} at their ends`, () => {
    const shown = LINES.map((text, i) => ({
      number: i + 1,
      fault: `fault ${i}`,
      text: text.length > 400 ? `${text.slice(0, 400)}…` : text,
    }));
    assert.deepEqual(badLines(LINES.join(ending), faults), shown);
    const textOf = (text: string) => badLines(text, new Map([[2, 'is bad']]))[0]?.text;
    assert.equal(textOf('one'), '', 'not in the file');
    assert.equal(textOf(' [\n{"a": 1},\n2]'), '', 'the second element is in the third line');
  });
}

test('bad lines are removed, and the others stay as they are', () => {
  const text = 'a\r\n{"ü": 1}\n\nb\n{}';
  assert.equal(withoutLines(text, [1]), '{"ü": 1}\n\nb\n{}');
  assert.equal(withoutLines(text, [1, 4, 9]), '{"ü": 1}\n\n{}');
  const none = { 'no rows are left': ['x\n{"a"', [1, 2]], 'no text': ['', [1]] } as const;
  const unlike = { 'a list': ['[{},\nx]', [2]], 'a table': ['text,label\na\nb,c', [2]] } as const;
  for (const [what, [file, numbers]] of Object.entries({ ...none, ...unlike }))
    assert.equal(withoutLines(file, numbers), '', what);
});

test('a fault that all lines share is found, with the number of bad lines', () => {
  const message = (a: string, b: string) =>
    parseLineFaults(
      `The file is invalid. It has 12 bad lines; the first 2: Line 1: ${a}. Line 2: ${b}.`,
    );
  const { faults, count } = message('is not JSON', 'is not JSON');
  assert.equal(sharedFault(faults), 'is not JSON');
  assert.equal(count, 12);
  assert.equal(sharedFault(message('is not JSON', 'text: is empty').faults), '');
  const one = parseLineFaults('The file is invalid. Line 7: is not JSON.');
  assert.deepEqual([sharedFault(one.faults), one.count], ['', 1]);
});

const user = { role: 'user', content: 'Hi' };
const assistant = { role: 'assistant', content: 'Hello' };
for (const [row, objective, method] of [
  [
    {
      input: { messages: [user] },
      preferred_output: [assistant],
      non_preferred_output: [{ ...assistant, content: 'No' }],
    },
    'supervised',
    'dpo',
  ],
  [{ messages: [user, assistant] }, 'dpo', 'supervised'],
  [{ messages: [user], wanted: 'Hello' }, 'supervised', 'reinforcement'],
  [{ messages: [user, assistant] }, 'reinforcement', 'supervised'],
  [{ text: 'Hi' }, 'reinforcement', 'supervised'],
  [{ other: 1 }, 'supervised', undefined],
] as const) {
  test(`rows of ${Object.keys(row)} under ${objective} are for ${method}`, () => {
    const line = JSON.stringify(row);
    const error = orRowError(() => {
      const parsed = parseRow(line, { objective });
      refuseOtherObjective(parsed, objective);
      return parsed;
    });
    assert.ok(error instanceof Error);
    assert.equal(otherMethodFor(error.message), method);
  });
}
