// vLLM's token routes, and that they agree with generation.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Tokenized } from '../../src/contracts/management-api.ts';
import type { ChatCompletion, Completion } from '../../src/contracts/openai.ts';
import { pluck } from '../pluck.ts';
import { assertRefused, readError, readOk, serve, utf8 } from './served.ts';

const { app, post } = serve({ adapters: ['alpha'], basePath: '/openai' });
const START = 256;
const END = 257;
const messages = [{ role: 'user', content: 'Hi' }];
const tokenize = async (body: object) => readOk<Tokenized>(await post('/tokenize', body));

describe('POST …/render', () => {
  interface Rendered {
    model: string;
    token_ids: number[];
  }

  test('gives the tokens of each prompt of a completion, once for all its choices', async () => {
    const body = { model: 'alpha', prompt: ['Hé', 'a b'], n: 2, max_tokens: 3 };
    const rendered = await readOk<Rendered[]>(await post('/v1/completions/render', body));
    assert.deepEqual(
      rendered.map(({ model, token_ids }) => [model, token_ids]),
      [
        ['alpha', utf8('Hé')],
        ['alpha', utf8('a b')],
      ],
    );
    const ids = { model: 'base', prompt: [1, 2, 3] };
    const [same] = await readOk<Rendered[]>(await post('/v1/completions/render', ids));
    assert.deepEqual(same!.token_ids, [1, 2, 3]);
  });

  test('gives the tokens of a chat, as they are tokenized for an answer', async () => {
    const body = { model: 'base', messages };
    const { token_ids } = await readOk<Rendered>(await post('/v1/chat/completions/render', body));
    assert.deepEqual(token_ids, (await tokenize({ messages })).tokens);
  });

  test('refuses what a generation refuses', async () => {
    for (const [url, body, param] of [
      ['/v1/completions/render', { model: 'base', prompt: 'x'.repeat(300) }, 'prompt'],
      ['/v1/completions/render', { model: 'base', prompt: 'x', logit_bias: [] }, 'logit_bias'],
      ['/v1/chat/completions/render', { model: 'none', messages }, 'model'],
    ] as const) {
      assert.equal((await readError(await post(url, body))).param, param, url);
    }
  });
});

describe('POST /tokenize', () => {
  test('gives the tokens that a completion of the text has', async () => {
    const { tokens, count, max_model_len, token_strs } = await tokenize({ prompt: 'Hé <|end|>' });
    assert.deepEqual(tokens, utf8('Hé <|end|>')); // a control token's name is text
    assert.deepEqual([count, max_model_len, token_strs], [tokens.length, 256, null]);
    const body = { model: 'base', prompt: 'Hé <|end|>' };
    const { usage } = await readOk<Completion>(await post('/v1/completions', body));
    assert.equal(usage.prompt_tokens, count);
  });

  test('gives the tokens that a chat of the messages has, and names them', async () => {
    const { tokens, count, token_strs } = await tokenize({ messages, return_token_strs: true });
    const turn = [START, ...utf8('user\nHi'), END];
    assert.deepEqual(tokens, [...turn, START, ...utf8('assistant\n')]);
    assert.equal(token_strs![0], '<|im_start|>');
    const body = { model: 'alpha', messages };
    const { usage } = await readOk<ChatCompletion>(await post('/v1/chat/completions', body));
    assert.equal(usage.prompt_tokens, count);
    const closed = await tokenize({ messages, add_generation_prompt: false });
    assert.deepEqual(closed.tokens, turn);
    const open = await tokenize({ messages, continue_final_message: true, model: 'alpha' });
    assert.deepEqual(open.tokens, turn.slice(0, -1));
  });

  test('answers below the base path, too', async () => {
    assert.equal((await post('/openai/tokenize', { prompt: 'a' })).status, 200);
  });

  for (const [body, status, param] of [
    [{}, 400, 'prompt'],
    [{ prompt: 'a', messages }, 400, 'prompt'],
    [{ prompt: 1 }, 400, 'prompt'],
    [{ prompt: 'x'.repeat(256 * 16 + 1) }, 400, 'prompt'],
    [{ messages, add_special_tokens: true }, 400, 'add_special_tokens'],
    [{ messages: [] }, 400, 'messages'],
    [{ messages, tools: [{}] }, 400, 'tools[0].type'],
    [{ prompt: 'a', model: 'no-such' }, 404, 'model'],
    [{ messages, chat_template_kwargs: { messages: 'x' } }, 400, 'chat_template_kwargs.messages'],
    [{ messages, chat_template_kwargs: { eos_token: 'x' } }, 400, 'chat_template_kwargs.eos_token'],
    [{ messages, chat_template_kwargs: { range: 'x' } }, 400, 'chat_template_kwargs.range'],
    [{ messages, chat_template_kwargs: { a: [1] } }, 400, 'chat_template_kwargs.a'],
    [{ messages, chat_template_kwargs: { a: 1e9 } }, 400, 'chat_template_kwargs.a'],
    [{ messages, chat_template_kwargs: { 'a.b': 1 } }, 400, 'chat_template_kwargs'],
  ] as const) {
    test(`refuses ${JSON.stringify(body).slice(0, 70)}`, async () => {
      await assertRefused(await post('/tokenize', body), { status, param });
    });
  }
});

test('POST /detokenize gives the text, control tokens with it', async () => {
  const tokens = [START, ...utf8('Hé'), END];
  const answer = await readOk<{ prompt: string }>(await post('/detokenize', { tokens }));
  assert.equal(answer.prompt, '<|im_start|>Hé<|im_end|>');
  for (const wrong of [[-1], [260], [1.5], 'x', undefined, Array(256 * 16 + 1).fill(1)]) {
    await assertRefused(await post('/detokenize', { tokens: wrong }), { param: 'tokens' });
  }
});

test('GET /tokenizer_info gives the configuration and the template that counts', async () => {
  const info = await readOk<Record<string, string>>(await app.request('/tokenizer_info'));
  assert.equal(info['tokenizer_class'], 'PreTrainedTokenizerFast');
  assert.equal(info['eos_token'], '<|end|>');
  assert.match(info['chat_template']!, /im_start/);
});

test('without a tokenizer there is nothing to tell', async () => {
  const bare = serve({ tokenizer: undefined, chatTemplate: undefined });
  assert.equal((await bare.app.request('/tokenizer_info')).status, 404);
  assert.equal((await bare.post('/tokenize', { prompt: 'a' })).status, 400);
  assert.equal((await bare.post('/detokenize', { tokens: [1] })).status, 404);
});

test('GET /v1/models tells the length of the context', async () => {
  const { data } = await readOk<{ data: { max_model_len: number }[] }>(
    await app.request('/v1/models'),
  );
  assert.deepEqual(pluck(data, 'max_model_len'), [256, 256]);
});
