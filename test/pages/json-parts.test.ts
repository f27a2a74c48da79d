// JSON as the playground shows it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { jsonParts } from '../../src/pages/playground/json-parts.ts';

const shown = (text: string) =>
  jsonParts(text)
    .map((part) => part.text)
    .join('');
const kinds = (text: string) =>
  jsonParts(text)
    .filter(({ kind }) => kind !== 'mark')
    .map(({ kind, text: part }) => `${kind} ${part}`);

test('JSON is indented as JSON.stringify does it, and every value keeps its text', () => {
  for (const value of [{}, [], [[]], { a: [1, { b: 'x: {"y"}, [' }], c: {} }, 'text', ['\\"', '']])
    assert.equal(shown(JSON.stringify(value)), JSON.stringify(value, null, 2));
  assert.equal(shown('{"n":1.50e2}'), '{\n  "n": 1.50e2\n}');
});

test('text that is cut off, or is no JSON, loses nothing', () => {
  assert.equal(shown('{"a":"b c'), '{\n  "a": "b c');
  assert.equal(shown('{"x'), '{\n  "x');
  assert.equal(shown('Hello, {you}'), 'Hello, {you}');
  assert.equal(shown(''), '');
});

test('keys, strings, numbers and literals differ', () => {
  assert.deepEqual(kinds('{"a":"b","c":[-1,true],"d":{"a":null}}'), [
    ...['attr "a"', 'string "b"', 'attr "c"', 'number -1', 'literal true'],
    ...['attr "d"', 'attr "a"', 'literal null'],
  ]);
});

test('a key is marked if its object has it already', () => {
  const duplicates = (text: string) =>
    jsonParts(text).flatMap(({ text: part, isDuplicate }, i) => (isDuplicate ? [[i, part]] : []));
  assert.equal(duplicates('{"a":{"b":1},"b":[{"a":1},{"a":2}]}').length, 0);
  assert.deepEqual(
    duplicates('{"a":1,"b":2,"a":3}').map(([, part]) => part),
    ['"a"'],
  );
});
