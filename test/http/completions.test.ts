import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Completion, CompletionChunk } from '../../src/contracts/openai.ts';
import type { Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { pluck } from '../pluck.ts';
import {
  assertRefused,
  createByteTokenizer,
  readChunks,
  readFrames,
  readOk,
  serve,
  utf8,
} from './served.ts';

const URL = '/v1/completions';
const NONE_CACHED = { prompt_tokens_details: { cached_tokens: 0 } };
const request = { model: 'base', prompt: 'Say', max_tokens: 5, temperature: 0 };

function countingTokenizer(onEncode: () => void): Tokenizer {
  const tokenizer = createByteTokenizer();
  return {
    ...tokenizer,
    encode(...args) {
      onEncode();
      return tokenizer.encode(...args);
    },
  };
}

describe('a completion', () => {
  const { post } = serve({ reply: () => utf8('Hello, world') });

  test('has the text, a reason to end and the usage', async () => {
    const startedS = Math.floor(Date.now() / 1000);
    const { id, created, ...body } = await readOk<Completion>(await post(URL, request));
    assert.match(id, /^cmpl-[0-9a-f]{32}$/);
    assert.ok(created >= startedS && created <= Date.now() / 1000, 'Unix seconds');
    assert.deepEqual(body, {
      object: 'text_completion',
      model: 'toy',
      system_fingerprint: 'bbbbbbbbbbbb-base-ffffffff',
      choices: [{ index: 0, text: 'Hello', logprobs: null, finish_reason: 'length' }],
      usage: { ...{ prompt_tokens: 3, completion_tokens: 5, total_tokens: 8 }, ...NONE_CACHED },
    });
  });

  const ENDS: [what: string, fields: object, text: string, reason: string, tokens: number][] = [
    ['at the end token, which is neither text nor counted', {}, 'Hello, world', 'stop', 12],
    ['past it with ignore_eos', { ignore_eos: true }, 'Hello, world', 'length', 20],
    ['before a stop string, whose tokens count', { stop: ['zz', ', w'] }, 'Hello', 'stop', 8],
    ['at a stop token id', { stop_token_ids: [44] }, 'Hello', 'stop', 5],
    [
      'after 16 tokens by default',
      { max_tokens: null, ignore_eos: true },
      'Hello, world',
      'length',
      16,
    ],
  ];
  for (const [what, fields, text, reason, tokens] of ENDS) {
    test(`ends ${what}`, async () => {
      const body = { ...request, max_tokens: 20, ...fields };
      const { choices, usage } = await readOk<Completion>(await post(URL, body));
      assert.deepEqual([choices[0]!.text, choices[0]!.finish_reason], [text, reason]);
      assert.equal(usage.completion_tokens, tokens);
    });
  }

  test('takes token ids, arrays of them and arrays of texts, n choices each', async () => {
    for (const [prompt, count] of [
      [[1, 2, 3], 2],
      [[[1, 2], [3]], 4],
      [['ab', 'c'], 4],
    ] as const) {
      const answer = await post(URL, { ...request, prompt, n: 2, best_of: 2 });
      const { choices, usage } = await readOk<Completion>(answer);
      assert.deepEqual(pluck(choices, 'index'), [...Array(count).keys()]);
      assert.deepEqual([usage.prompt_tokens, usage.completion_tokens], [3, count * 5]);
    }
  });

  test('fills the context exactly, and refuses one token more with both counts', async () => {
    const fits = { ...request, prompt: 'x'.repeat(250), max_tokens: 6, ignore_eos: true };
    const full = await readOk<Completion>(await post(URL, fits));
    assert.equal(full.choices[0]!.finish_reason, 'length');
    assert.equal(full.usage.total_tokens, 256);
    const refused = await post(URL, { ...fits, max_tokens: 7 });
    const refusal = { code: 'context_length_exceeded', param: 'prompt' };
    assert.equal(
      (await assertRefused(refused, refusal)).message,
      "This model's maximum context length is 256 tokens. However, you requested 257 tokens (250 in the prompt, " +
        '7 in the completion). Please reduce the length of the prompt or completion.',
    );
  });
});

describe('a completion with echo and logprobs', () => {
  const { post } = serve({ reply: () => utf8('é!') });

  test('of many prompts tokenizes none after the first that does not fit', async () => {
    let encoded = 0;
    const { post } = serve({ tokenizer: countingTokenizer(() => encoded++) });
    const body = { ...request, prompt: ['a', 'b'.repeat(300), ...Array(50).fill('c'.repeat(300))] };
    await assertRefused(await post(URL, body), { code: 'context_length_exceeded' });
    assert.equal(encoded, 2);
  });

  test('lets others have their turn while it tokenizes many prompts', async () => {
    const seen: string[] = [];
    const { post } = serve({
      tokenizer: countingTokenizer(() => seen.push('encode')),
      limits: { maxCharsPerTurn: 100 },
    });
    const answer = post(URL, { ...request, max_tokens: 1, prompt: Array(8).fill('a'.repeat(100)) });
    while (seen.filter((what) => what === 'encode').length < 8) {
      await nextTurn();
      seen.push('other');
    }
    await readOk(await answer);
    assert.ok(seen.slice(seen.indexOf('encode')).filter((what) => what === 'other').length >= 7);
  });

  const echo = async (fields: object) =>
    readOk<Completion>(await post(URL, { ...request, echo: true, ...fields }));

  test('scores the prompt without generating', async () => {
    const { choices, usage } = await echo({ prompt: 'abc', logprobs: 1, max_tokens: 0 });
    const logprobs = {
      tokens: ['a', 'b', 'c'],
      token_logprobs: [null, -0.098, -0.099],
      top_logprobs: [null, { '\x07': -0.25, b: -0.098 }, { '\x07': -0.25, c: -0.099 }],
      text_offset: [0, 1, 2],
    };
    assert.deepEqual(choices, [{ index: 0, text: 'abc', logprobs, finish_reason: 'length' }]);
    assert.deepEqual(usage, {
      ...{ prompt_tokens: 3, completion_tokens: 0, total_tokens: 3 },
      ...NONE_CACHED,
    });
  });

  test('repeats the prompt without logprobs too', async () => {
    const { choices } = await echo({ prompt: 'abc', max_tokens: 0 });
    assert.deepEqual(choices, [{ index: 0, text: 'abc', logprobs: null, finish_reason: 'length' }]);
  });

  for (const [what, prompt, max_tokens, expected] of [
    [
      'writes half a character by its bytes, at the offset of the whole',
      'a',
      3,
      { text: 'aé!', tokens: ['a', 'bytes:\\xc3', 'bytes:\\xa9', '!'], offsets: [0, 1, 1, 2] },
    ],
    [
      'names control tokens, which are no part of the text',
      [256, 97],
      0,
      { text: 'a', tokens: ['<|im_start|>', 'a'], offsets: [0, 0] },
    ],
  ] as const) {
    test(what, async () => {
      const { choices } = await echo({ prompt, logprobs: 0, max_tokens });
      const { tokens, text_offset: offsets } = choices[0]!.logprobs!;
      assert.deepEqual({ text: choices[0]!.text, tokens, offsets }, expected);
    });
  }

  test('streams the same as it answers whole', async () => {
    const body = { ...request, prompt: ['abc', 'd'], echo: true, logprobs: 2, n: 2, max_tokens: 3 };
    const whole = await readOk<Completion>(await post(URL, body));
    const chunks = await readChunks<CompletionChunk>(await post(URL, { ...body, stream: true }));
    for (const { index, text, logprobs } of whole.choices) {
      const choices = chunks.flatMap((chunk) => chunk.choices);
      const parts = choices.filter((choice) => choice.index === index);
      assert.equal(parts.map((part) => part.text).join(''), text);
      for (const [key, list] of Object.entries(logprobs!)) {
        const streamed = parts.flatMap((part) => part.logprobs?.[key as 'tokens'] ?? []);
        assert.deepEqual(streamed, list);
      }
    }
  });
});

describe('a model without a tokenizer', () => {
  const { post } = serve({ tokenizer: undefined, chatTemplate: undefined, reply: () => [9, 8] });

  test('answers token ids, with logprobs by id and no text', async () => {
    const body = { ...request, prompt: [5, 6], echo: true, logprobs: 0, max_tokens: 2 };
    const { choices } = await readOk<Completion>(await post(URL, body));
    assert.equal(choices[0]!.text, '');
    assert.deepEqual(
      choices[0]!.logprobs!.tokens,
      [5, 6, 9, 8].map((id) => `token_id:${id}`),
    );
    assert.deepEqual(choices[0]!.logprobs!.text_offset, [0, 0, 0, 0]);
  });

  test('streams a chunk per token', async () => {
    const body = { ...request, prompt: [5, 6], max_tokens: 2, stream: true };
    const frames = await readFrames(await post(URL, body));
    assert.equal(frames.length, 4); // two tokens, the end, [DONE]
  });

  test('refuses text and messages', async () => {
    await assertRefused(await post(URL, request), { param: 'prompt' });
    const messages = [{ role: 'user', content: 'hi' }];
    const chat = await post('/v1/chat/completions', { model: 'base', messages });
    await assertRefused(chat, { status: 400, param: 'messages' });
  });
});

test('the first of n choices has the seed itself, and the others seeds of their own', async () => {
  const { post, engine } = serve({ reply: () => [] });
  engine.run = async (batch) => ({
    rows: (batch.kind === 'prefill' ? [batch.sampler] : batch.rows.map((row) => row.sampler)).map(
      (sampler) => [{ ok: true, ...sampler!.sample({ logits: new Float32Array(260) })! }],
    ),
    promptLogprobs: [],
  });
  const texts = async (seed: number, n: number) => {
    const body = { model: 'base', prompt: [1], max_tokens: 8, seed, n, logprobs: 0 };
    const { choices } = await readOk<Completion>(await post(URL, body));
    return choices.map((choice) => choice.logprobs!.tokens.join());
  };
  for (const seed of [5, 2 ** 53 - 2, Number.MAX_SAFE_INTEGER]) {
    const choices = await texts(seed, 8);
    assert.deepEqual(choices.slice(0, 1), await texts(seed, 1));
    assert.deepEqual(choices, await texts(seed, 8));
    assert.equal(new Set(choices).size, 8, `equal choices with seed ${seed}`);
  }
  assert.notDeepEqual(await texts(Number.MAX_SAFE_INTEGER, 1), await texts(0, 1));
});

test('more prompts than the engine queues are all answered', async () => {
  const { post } = serve({ admission: { maxWaiting: 70 }, reply: () => utf8('ok') });
  const prompts = Array.from({ length: 300 }, (_, i) => [i % 200]);
  const body = { ...request, prompt: prompts, max_tokens: 2 };
  const { choices } = await readOk<Completion>(await post(URL, body));
  assert.equal(choices.length, 300);
  assert.ok(choices.every((choice) => choice.text === 'ok'));
});
