// Prompts with variables, rows of files, and files in prompts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toCsv } from '../../src/pages/playground/row-run.ts';
import {
  filled,
  jsonlRows,
  partsOf,
  tableRows,
  toJsonl,
  variablesOf,
  withFile,
} from '../../src/pages/playground/templates.ts';

test('variables are found once each and replaced; one without a value stays', () => {
  const template = '{{ a }} and {{b c}}, {{a}}, {not} {{}} $&';
  assert.deepEqual(variablesOf(template), ['a', 'b c']);
  assert.equal(
    filled(template, { a: '$1 {{b c}}' }),
    '$1 {{b c}} and {{b c}}, $1 {{b c}}, {not} {{}} $&',
  );
  assert.equal(filled('{{toString}}', {}), '{{toString}}');
});

test('rows of JSONL and of tables become texts by column', () => {
  assert.deepEqual(jsonlRows('{"a":"x","b":[1]}\r\n\n{"a":null}\n'), [
    { a: 'x', b: '[1]' },
    { a: 'null' },
  ]);
  assert.throws(() => jsonlRows('{"a":1}\n[1]'), { message: 'Line 2 is not a JSON object.' });
  assert.throws(() => jsonlRows('{"a"'), { message: 'Line 1 is not a JSON object.' });
  assert.deepEqual(tableRows([['a', 'b'], ['1', '2'], ['3']]), [
    { a: '1', b: '2' },
    { a: '3', b: '' },
  ]);
});

test('written rows are read again, whatever their cells contain', async () => {
  const rows = [
    { a: 'x,"y"', b: 'two\nlines' },
    { a: 'ü', b: '', c: '3' },
  ];
  assert.equal(await toCsv(rows), 'a,b,c\r\n"x,""y""","two\nlines",\r\nü,,3');
  assert.deepEqual(jsonlRows(toJsonl(rows)), rows);
});

test('a prompt with files is split at them, and one without is whole', () => {
  const prompt = withFile(withFile('Compare:', 'a "1".txt', 'one\n'), 'b.md', '<file>\ntwo');
  assert.deepEqual(partsOf(`${prompt}And say why.`), [
    { text: 'Compare:' },
    { name: "a '1'.txt", text: 'one' },
    { name: 'b.md', text: '<file>\ntwo' },
    { text: 'And say why.' },
  ]);
  assert.deepEqual(partsOf('Hello\nthere'), [{ text: 'Hello\nthere' }]);
});
