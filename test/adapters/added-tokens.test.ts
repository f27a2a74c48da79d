// The tokens in the files that transformers saves beside an adapter.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { FolderTokens, readAddedTokens } from '../../adapters/registry/added-tokens.ts';
import { temporaryFolder } from '../fixtures.ts';

const plain = { special: false, lstrip: false, rstrip: false };
const token = { id: 300, content: 'new', ...plain };
const listed = { ...token, single_word: false, normalized: true };

type Files = Readonly<Record<string, unknown>>;

function write(t: { after(fn: () => void): void }, files: Files): string {
  const directory = temporaryFolder(t);
  for (const [name, content] of Object.entries(files)) {
    const text = typeof content === 'string' ? content : JSON.stringify(content);
    writeFileSync(path.join(directory, name), text);
  }
  return directory;
}

const tokenizer = (added: unknown) => ({
  version: '1.0',
  added_tokens: added,
  model: { vocab: {} },
});
const FOUND: Readonly<Record<string, [Files, unknown]>> = {
  'tokenizer.json': [{ 'tokenizer.json': tokenizer([listed]) }, { tokens: [token] }],
  'tokenizer.json that ends after them': [
    { 'tokenizer.json': `{"added_tokens": [${JSON.stringify(listed)}], "model": {"vocab": {"a` },
    { tokens: [token] },
  ],
  'tokenizer_config.json, with the end of an answer': [
    {
      'tokenizer_config.json': {
        added_tokens_decoder: { 300: { ...listed, special: true } },
        eos_token: { content: 'new' },
      },
    },
    { tokens: [{ ...token, special: true }], eos_token: 'new' },
  ],
  'added_tokens.json': [{ 'added_tokens.json': { new: 300 } }, { tokens: [token] }],
  'no file': [{ 'chat_template.jinja': 'x' }, undefined],
};
for (const [what, [files, expected]] of Object.entries(FOUND))
  test(`read from ${what}`, async (t) => {
    assert.deepEqual(await readAddedTokens(write(t, files)), expected);
  });

const REFUSED: Readonly<Record<string, [Files, string]>> = {
  'a token without a text': [
    { 'tokenizer.json': tokenizer([{ ...listed, content: '' }]) },
    'tokenizer.json: added_tokens.0.content',
  ],
  'a token of whole words only': [
    { 'tokenizer.json': tokenizer([{ ...listed, single_word: true }]) },
    'tokenizer.json: added_tokens.0.single_word',
  ],
  'tokens that are cut off': [{ 'tokenizer.json': '{"added_tokens": [{"id": 3' }, 'tokenizer.json'],
  'no JSON': [{ 'added_tokens.json': '{"new": }' }, 'added_tokens.json'],
  'an id that is no number': [{ 'added_tokens.json': { new: 'x' } }, 'added_tokens.json: new'],
};
for (const [what, [files, param]] of Object.entries(REFUSED))
  test(`refused by the file and the field: ${what}`, async (t) => {
    await assert.rejects(readAddedTokens(write(t, files)), { code: 'adapter_invalid', param });
  });

test('files are read again when they change, and else not', async (t) => {
  const directory = write(t, { 'added_tokens.json': { new: 300, old: 5 } });
  const folders = new FolderTokens(({ tokens }) => {
    return { tokens: tokens.filter(({ content }) => content !== 'old') };
  });
  const first = await folders.of(directory);
  assert.deepEqual(first, { tokens: [token] });
  assert.equal(await folders.of(directory), first);
  writeFileSync(path.join(directory, 'added_tokens.json'), JSON.stringify({ newer: 301 }));
  const second = await folders.of(directory);
  assert.deepEqual(second!.tokens, [{ ...token, id: 301, content: 'newer' }]);
});
