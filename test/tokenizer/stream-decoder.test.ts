import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { createStopStrings, createStreamDecoder } from '../../src/tokenizer/stream-decoder.ts';
import { loadTokenizer, type Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { sharedPath, skipUnless } from '../shared.ts';
import { toyTokenizer } from './toy.ts';

const golden = sharedPath('golden', 'tokenizer');
const smol = golden ? (await loadTokenizer(golden))! : undefined;
const toy = toyTokenizer();

/** A simple reference: decodes everything and cuts at the stop string that is completed first. */
function decodeWithStop(tokenizer: Tokenizer, ids: readonly number[], stop: readonly string[]) {
  const text = tokenizer.decode(ids, { skipSpecials: true });
  for (let end = 1; end <= text.length; end++) {
    const ending = stop.filter((candidate) => text.slice(0, end).endsWith(candidate));
    if (ending.length > 0) return text.slice(0, end - Math.max(...ending.map((s) => s.length)));
  }
  return text;
}

function stream(tokenizer: Tokenizer, ids: readonly number[], stop: readonly string[]) {
  const decoder = createStreamDecoder(tokenizer, { stop: createStopStrings(stop) });
  const deltas = ids.map((id) => decoder.push(id));
  return { deltas, rest: decoder.end() };
}

test('all texts together are the decoded text, cut before the first stop string', () => {
  const stops = fc.array(fc.stringMatching(/^[ab c�]{1,4}$/u), { maxLength: 3 });
  const idsOf = (tokenizer: Tokenizer, text: string) => tokenizer.encode(text, { specials: true });
  const text = fc.oneof(
    fc.stringMatching(/^[abc ]{0,30}$/u),
    fc.string({ unit: 'grapheme', maxLength: 12 }),
  );
  for (const tokenizer of smol ? [toy, smol] : [toy]) {
    const noise = fc.array(fc.nat(Math.min(600, tokenizer.vocabSize - 1)), { maxLength: 20 });
    fc.assert(
      fc.property(text, noise, stops, (words, others, stop) => {
        const ids = [...idsOf(tokenizer, words), ...others];
        const { deltas, rest } = stream(tokenizer, ids, stop);
        const joined = deltas.map((delta) => delta.text).join('') + rest;
        assert.equal(joined, decodeWithStop(tokenizer, ids, stop));
      }),
    );
  }
});

test('no text contains an incomplete character', { skip: skipUnless(golden) }, () => {
  const { prefixes } = JSON.parse(readFileSync(path.join(golden!, 'strings.json'), 'utf8'));
  for (const { ids, decoded_prefixes } of prefixes) {
    const decoder = createStreamDecoder(smol!, { stop: createStopStrings([]) });
    let text = '';
    for (const [i, id] of ids.entries()) {
      text += decoder.push(id).text;
      assert.equal(text, decoded_prefixes[i].replace(/\uFFFD+$/u, ''));
    }
    assert.equal(decoder.end(), '');
  }
});

test('a generation that ends within a character ends with U+FFFD', () => {
  const [first] = toy.encode('é', { specials: false });
  assert.deepEqual(stream(toy, [first!], []), {
    deltas: [{ text: '', stopped: false }],
    rest: '\uFFFD',
  });
});

test('text that may become a stop string is held back until it cannot', () => {
  const ids = toy.encode('abcdd', { specials: false });
  const { deltas, rest } = stream(toy, ids, ['cde', 'bcdef']);
  assert.deepEqual(
    deltas.map(({ text }) => text),
    ['a', '', '', 'bcdd'],
  );
  assert.equal(rest, '');
});

test('no text follows a stop string', () => {
  const ids = toy.encode('a bc. d', { specials: false });
  const { deltas, rest } = stream(toy, ids, ['c.']);
  assert.equal(deltas.map(({ text }) => text).join(''), 'a b');
  assert.equal(deltas.at(-1)!.stopped, true);
  assert.equal(rest, '');
});
