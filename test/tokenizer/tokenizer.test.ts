import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { FileError } from '../../src/common/errors.ts';
import { createTokenizer, loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { sharedPath, skipUnless } from '../shared.ts';
import { toyTokenizer } from './toy.ts';

const golden = sharedPath('golden', 'tokenizer');
const skip = skipUnless(golden);
const strings = golden && JSON.parse(readFileSync(path.join(golden, 'strings.json'), 'utf8'));
const tokenizer = golden ? (await loadTokenizer(golden))! : undefined!;

test('all golden strings have the golden ids', { skip }, () => {
  for (const { text, ids } of strings.strings) {
    assert.deepEqual(tokenizer.encode(text, { specials: true }), ids, JSON.stringify(text));
  }
});

test('ids decode to the golden texts, with and without control tokens', { skip }, () => {
  for (const { ids, decoded, decoded_without_special } of strings.strings) {
    assert.equal(tokenizer.decode(ids, { skipSpecials: false }), decoded);
    assert.equal(tokenizer.decode(ids, { skipSpecials: true }), decoded_without_special);
  }
});

test('every prefix of an id list decodes to the golden text', { skip }, () => {
  for (const { ids, decoded_prefixes } of strings.prefixes) {
    for (const [i, decoded] of decoded_prefixes.entries()) {
      assert.equal(tokenizer.decode(ids.slice(0, i + 1), { skipSpecials: false }), decoded);
    }
  }
});

test('the text of a control token is ordinary text unless it is trusted', () => {
  const toy = toyTokenizer();
  const text = 'a<eos> b<bos>';
  const trusted = toy.encode(text, { specials: true });
  assert.deepEqual(
    trusted.filter((id) => toy.specialIds.has(id)),
    [3, 2],
  );
  const ordinary = toy.encode(text, { specials: false });
  assert.ok(!ordinary.some((id) => toy.specialIds.has(id)));
  assert.equal(toy.decode(ordinary, { skipSpecials: true }), text);
});

test('T38: random text with the texts of control tokens has no control ids', {
  skip,
}, () => {
  const controls = [...tokenizer.specialIds].map((id) => tokenizer.idToToken(id)!);
  const parts = fc.oneof(
    fc.constantFrom(...controls),
    fc.string({ unit: 'grapheme', maxLength: 6 }),
  );
  fc.assert(
    fc.property(fc.array(parts, { maxLength: 6 }), (some) => {
      const ids = tokenizer.encode(some.join(''), { specials: false });
      assert.ok(!ids.some((id) => tokenizer.specialIds.has(id)));
    }),
  );
});

test('characters without a token become bytes and are decoded again', () => {
  const toy = toyTokenizer();
  const ids = toy.encode('é 🗼', { specials: false });
  assert.deepEqual(ids.map(toy.idToToken).slice(0, 2), ['<0xC3>', '<0xA9>']);
  assert.equal(toy.decode(ids, { skipSpecials: true }), 'é 🗼');
  assert.deepEqual([...toy.tokenBytes(ids[0]!)], [0xc3]);
});

test('affixes are the tokens that the post-processor adds', () => {
  const toy = toyTokenizer();
  const bare = toy.encode('abc', { specials: false });
  assert.deepEqual(toy.encode('abc', { specials: false, affixes: true }), [2, ...bare]);
  assert.deepEqual(toy.encode('', { specials: false, affixes: true }), [2]);
});

test('lstrip and rstrip make an added token include the white space next to it', () => {
  const token = { id: 2, content: '<x>', special: true };
  const json = (flags: object) => ({
    added_tokens: [{ ...token, ...flags }],
    decoder: { type: 'Fuse' },
    model: { vocab: { a: 0, ' ': 1 }, merges: [] },
  });
  const encode = (flags: object) =>
    createTokenizer(json(flags), {}).encode('a <x>  a', { specials: true });
  assert.deepEqual(encode({}), [0, 1, 2, 1, 1, 0]);
  assert.deepEqual(encode({ lstrip: true }), [0, 2, 1, 1, 0]);
  assert.deepEqual(encode({ rstrip: true }), [0, 1, 2, 0]);
});

test('an unknown id gives no text', () => {
  const toy = toyTokenizer();
  assert.equal(toy.decode([99_999, 4 + 0x61], { skipSpecials: true }), 'a');
  assert.equal(toy.idToToken(99_999), undefined);
});

test('a folder without tokenizer.json has no tokenizer; an invalid file is named', async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'tokenizer-'));
  t.after(() => rm(folder, { recursive: true }));
  assert.equal(await loadTokenizer(folder), undefined);
  const file = path.join(folder, 'tokenizer.json');
  for (const [content, field] of [
    ['{', 'tokenizer.json'],
    ['{"model":{"type":"Unigram","vocab":{},"merges":[]}}', 'tokenizer.json: model.type'],
    ['{"model":{"vocab":{"a":-1},"merges":[]}}', 'tokenizer.json: model.vocab'],
    ['{"model":{"vocab":{"a":1e9},"merges":[]}}', 'tokenizer.json: vocab'],
    ['{"model":{"vocab":{},"merges":[1]}}', 'tokenizer.json: model.merges'],
    ['{"model":{"vocab":{},"merges":[]},"decoder":{"type":"CTC"}}', 'tokenizer.json: decoder'],
  ] as const) {
    await writeFile(file, content);
    await assert.rejects(
      loadTokenizer(folder),
      (error) => error instanceof FileError && error.field === field,
      content,
    );
  }
});

test('all files with end tokens are read', { skip }, async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'tokenizer-'));
  t.after(() => rm(folder, { recursive: true }));
  for (const file of ['tokenizer.json', 'tokenizer_config.json']) {
    await copyFile(path.join(golden!, file), path.join(folder, file));
  }
  await writeFile(path.join(folder, 'generation_config.json'), '{"eos_token_id":[0,2]}');
  await writeFile(path.join(folder, 'chat_template.jinja'), 'of its own');
  const loaded = (await loadTokenizer(folder))!;
  assert.deepEqual(loaded.eosTokenIds, [0, 2]);
  assert.equal(loaded.chatTemplate, 'of its own');
});
