// A tokenizer with the tokens of an adapter: which texts become them, and what they are as text.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AddedTokens } from '../../src/contracts/added-tokens.ts';
import { createChatTemplate } from '../../src/tokenizer/chat-template.ts';
import { createByteTokenizer } from '../http/served.ts';

const plain = { lstrip: false, rstrip: false };
const word = { id: 300, content: 'new word', special: false, ...plain };
const control = { id: 301, content: '<|tool|>', special: true, ...plain };
const tokensOf = (...tokens: AddedTokens['tokens']): AddedTokens => ({ tokens });
const TEMPLATE = "{% for m in messages %}{{ '<|tool|>' + m.content + eos_token }}{% endfor %}";
const base = createByteTokenizer(TEMPLATE);
const bytes = (text: string) => [...Buffer.from(text)];

test('text becomes a new token only if that is no control token', () => {
  const own = base.extended(tokensOf(word, control));
  const text = 'a new word <|tool|>';
  assert.deepEqual(own.encode(text, { specials: false }), [
    ...bytes('a '),
    300,
    ...bytes(' <|tool|>'),
  ]);
  assert.deepEqual(own.encode(text, { specials: true }), [...bytes('a '), 300, 32, 301]);
  assert.deepEqual(own.encodeInside('new word'), [300]);
  assert.deepEqual(
    base.encode(text, { specials: true }),
    bytes(text),
    'the base has no such token',
  );
  assert.equal(own.vocabSize, 302);
  assert.equal(own.decode([97, 300, 301, 98], { skipSpecials: true }), 'anew wordb');
  assert.equal(own.decode([97, 300, 301, 98], { skipSpecials: false }), 'anew word<|tool|>b');
  assert.equal(base.decode([97, 300, 98], { skipSpecials: true }), 'ab');
});

test('the chat template writes new control tokens, and a message never does', () => {
  const own = base.extended({ ...tokensOf(word, control), eos_token: '<|tool|>' });
  const messages = [{ role: 'user', content: 'a <|tool|> new word' }];
  const { ids } = createChatTemplate(own)!.render(messages, { addGenerationPrompt: false });
  assert.deepEqual(ids, [301, ...bytes('a <|tool|> '), 300, 301]);
  assert.deepEqual(own.eosTokenIds, [...base.eosTokenIds, 301]);
  const ofBase = createChatTemplate(base)!.render(messages, { addGenerationPrompt: false });
  assert.ok(ofBase.ids.every((id) => id < 300));
});

test('a reserved control token may be renamed, and tokens of the base are no new ones', () => {
  const renamed = { id: 256, content: '<|call|>', special: true, ...plain };
  const own = base.extended(tokensOf(renamed));
  assert.deepEqual(own.encode('<|call|><|im_start|>', { specials: true }), [
    256,
    ...bytes('<|im_start|>'),
  ]);
  const same = { id: 256, content: '<|im_start|>', special: true, ...plain };
  assert.equal(base.extended(tokensOf(same)), base);
});

const REFUSED: Readonly<Record<string, [AddedTokens, RegExp]>> = {
  'in the place of a word': [
    tokensOf({ ...word, id: 97 }),
    /^added_tokens: 97: is "a" in the base/,
  ],
  'with the text of another': [
    tokensOf({ ...control, content: '<|end|>' }),
    /^added_tokens: 301: "<\|end\|>" is token 258 of the base/,
  ],
  'with one id': [tokensOf(word, { ...control, id: 300 }), /^added_tokens: 300: is there twice/],
  'with one text': [tokensOf(word, { ...word, id: 302 }), /^added_tokens: 300: is there twice/],
  'of a large number': [
    tokensOf(
      ...Array.from({ length: 1025 }, (_, i) => ({ ...word, id: 300 + i, content: `w${i}` })),
    ),
    /^added_tokens: has 1025 tokens that the base lacks; the limit is 1024/,
  ],
};
for (const [what, [added, message]] of Object.entries(REFUSED))
  test(`refused: new tokens ${what}`, () => {
    assert.throws(() => base.extended(added), { message });
  });
