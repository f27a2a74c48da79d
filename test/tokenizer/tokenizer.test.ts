import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { sharedPath, skipUnless } from '../shared.ts';

const golden = sharedPath('golden', 'tokenizer');
const skip = skipUnless(golden);
const strings = golden && JSON.parse(readFileSync(path.join(golden, 'strings.json'), 'utf8'));
const tokenizer = golden ? (await loadTokenizer(golden))! : undefined!;

test('every golden string has the golden ids', { skip }, () => {
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
