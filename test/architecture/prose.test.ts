// The words: patterns of stilted English that a test can see, and exports without a docstring.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { docstringFaults, documentFaults, proseFaults } from './prose.ts';
import { readSources } from './source.ts';

const sources = readSources(['src', 'adapters', 'trainer', 'scripts']);
const documents = [
  ...['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'SECURITY.md'],
  ...readdirSync('docs', { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

test('comments and strings are plain English, as far as patterns tell', () => {
  assert.deepEqual(proseFaults(sources), []);
});

test('documents are plain English, as far as patterns tell', () => {
  assert.ok(documents.length > 20);
  const faults = documents.flatMap((path) =>
    documentFaults({ path, text: withoutExamples(readFileSync(path, 'utf8')) }),
  );
  assert.deepEqual(faults, []);
});

test('documents have no markers of a merge conflict', () => {
  const marker = /^(?:<{7} |={7}$|>{7} )/m;
  const isMarked = (text: string) => marker.test(text);
  assert.deepEqual(
    documents.filter((path) => isMarked(readFileSync(path, 'utf8'))),
    [],
  );
  assert.ok(isMarked('| a |\n<<<<<<< HEAD\n| b |'));
});

test('every exported function, class and type has a docstring', () => {
  assert.deepEqual(docstringFaults(sources), []);
});

/** The style page shows bad sentences in a table of pairs. */
function withoutExamples(text: string): string {
  return text.replace(/^\| before \| after \|\n(\|.*\n)+/gm, (table) =>
    table.replace(/[^\n]/g, ''),
  );
}

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
  const table =
    '<!-- a: written by `b` -->\n| 3 % |\n<!-- end of a -->\nIt takes 3 % of a processor.';
  assert.equal(documentFaults({ path: 'README.md', text: table }).length, 2);
});

test('an export without a docstring is found', () => {
  assert.equal(docstringFaults(source('export function a() {}')).length, 1);
  assert.equal(docstringFaults(source('/** Adds. */\nexport async function a() {}')).length, 0);
  assert.equal(docstringFaults(source('export interface A {}\nexport const b = 1;')).length, 1);
});
