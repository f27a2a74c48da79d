// The words: patterns of stilted English that a test can see, and exports without a docstring.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { docstringFaults, documentFaults, proseFaults } from './architecture/prose.ts';

const source = (text: string) => [{ path: 'src/a.ts', text }];

test('comments with a pattern of translated English are found', () => {
  for (const text of [
    '/** Throws where there is no memory. */',
    '// Of savers that meet: one is late.',
    '/**\n * What the store holds.\n */',
    '/** Whoever goes on removes it. */',
  ]) {
    assert.equal(proseFaults(source(text)).length, 1, text);
  }
  assert.deepEqual(proseFaults(source('/** Returns the folder where adapters are. */')).length, 0);
  assert.deepEqual(proseFaults(source('// Reads the tail\n// of the file.')), []);
});

test('strings with a pattern of translated English are found, in documents too', () => {
  assert.equal(proseFaults(source('const a = `"$' + '{name}" is no setting`;')).length, 1);
  assert.equal(proseFaults(source("const a = 'Of no use';")).length, 1);
  const text =
    'A server is slow where it has no disk.\n\n```\nwhere it is code\n```\n`where it is`';
  assert.equal(documentFaults({ path: 'README.md', text }).length, 1);
});

test('an export without a docstring is found', () => {
  assert.equal(docstringFaults(source('export function a() {}')).length, 1);
  assert.equal(docstringFaults(source('/** Adds. */\nexport async function a() {}')).length, 0);
  assert.equal(docstringFaults(source('export interface A {}\nexport const b = 1;')).length, 1);
});
