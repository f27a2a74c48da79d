// Adapters whose tokens have places that the base's tables have anyway: only their tokenizer is their own.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ChatCompletion, Completion } from '../../src/contracts/openai.ts';
import { adapterFolder } from './adapter-folder.ts';
import { assertRefused, readOk, serve, utf8 } from './served.ts';

/** The model has 260 tokens, its tokenizer 259. */
const WORD = 259;
const { write, registry } = adapterFolder();

function writeAdapter(name: string, added_tokens: readonly object[], config: object = {}): void {
  write(name, { 'tokenizer.json': { added_tokens }, 'tokenizer_config.json': config });
}

const word = { id: WORD, content: '<word>', special: false };
writeAdapter('words', [word]);
writeAdapter('other', [{ ...word, content: '<other>' }]);
writeAdapter('control', [{ ...word, special: true }], { eos_token: '<word>' });
writeAdapter('same', [{ id: 256, content: '<|im_start|>', special: true }]);
writeAdapter('beyond', [{ ...word, id: 260 }]);
writeAdapter('padded', [{ ...word, id: 260, content: '[PAD]' }, word], { pad_token: '[PAD]' });
writeAdapter('clash', [{ ...word, id: 97 }]);

let said: number[] = [];
let prompt: readonly number[] = [];
const { post } = serve({
  registry,
  reply: (ids) => {
    prompt = ids;
    return said;
  },
});
const complete = async (model: string, text = 'a<word>b') => {
  const body = { model, prompt: text, temperature: 0, max_tokens: 4, logprobs: 1 };
  return (await readOk<Completion>(await post('/v1/completions', body))).choices[0]!;
};

test("a prompt has the adapter's tokens, and an answer their text", async () => {
  said = [...utf8('x'), WORD];
  const own = await complete('words');
  assert.deepEqual(prompt, [97, WORD, 98]);
  assert.equal(own.text, 'x<word>');
  assert.deepEqual(own.logprobs!.tokens, ['x', '<word>']);
  assert.deepEqual(own.logprobs!.text_offset, [0, 1]);
  for (const model of ['base', 'same']) {
    const other = await complete(model);
    assert.deepEqual(prompt, utf8('a<word>b'));
    assert.equal(other.text, 'x');
  }
  await complete('other', '<word><other>');
  assert.deepEqual(prompt, [...utf8('<word>'), WORD]);
});

test('a control token is in no text, and ends an answer', async () => {
  said = [...utf8('x'), WORD, ...utf8('y')];
  const own = await complete('control');
  assert.deepEqual(prompt, utf8('a<word>b'));
  assert.deepEqual([own.text, own.finish_reason], ['x', 'stop']);
  const messages = [{ role: 'user', content: 'a<word>' }];
  const body = { model: 'control', messages, temperature: 0, max_tokens: 4 };
  const chat = await readOk<ChatCompletion>(await post('/v1/chat/completions', body));
  assert.equal(chat.choices[0]!.message.content, 'x');
  assert.ok(!prompt.includes(WORD));
});

test('a constraint is written with the tokens of its adapter', async () => {
  said = [WORD];
  const body = {
    prompt: 'a',
    temperature: 0,
    max_tokens: 8,
    structured_outputs: { regex: '(<word>)?z?' },
  };
  const ask = async (model: string) => {
    const answer = await readOk<Completion>(await post('/v1/completions', { ...body, model }));
    return [answer.choices[0]!.text, answer.usage!.completion_tokens];
  };
  assert.deepEqual(await ask('words'), ['<word>', 1]);
  assert.deepEqual(await ask('other'), ['<word>', 6]);
});

test('tokens that do not fit are refused by their adapter', async () => {
  for (const [model, param, message] of [
    ['beyond', 'added_tokens', /beyond: has token 260, but 260 rows/],
    ['clash', 'added_tokens: 97', /clash: added_tokens: 97: is "a" in the base/],
    ['words+other', 'model', /two adapters with their own vocabularies cannot be composed/],
  ] as const) {
    const response = await post('/v1/completions', { model, prompt: 'a' });
    await assertRefused(response, { status: 422, param, message }, model);
  }
  said = [WORD];
  assert.equal((await complete('words+0.5*same')).text, '<word>');
  assert.equal((await complete('padded')).text, '<word>', 'a model never sees padding');
});
