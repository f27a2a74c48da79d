// Fields of vLLM that bound or show an answer, each with the meaning that it has there.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type {
  ChatCompletion,
  ChatCompletionChunk,
  Completion,
} from '../../src/contracts/openai.ts';
import { assertRefused, readChunks, readOk, serve, utf8 } from './served.ts';

const CHAT = '/v1/chat/completions';
const COMPLETIONS = '/v1/completions';
const seen: number[][] = [];
const { post } = serve({
  adapters: ['alpha'],
  reply: (promptIds) => {
    seen.push([...promptIds]);
    return utf8('Hello');
  },
});
const messages = [{ role: 'user', content: 'Hi' }];
const complete = async (fields: object) => {
  const body = { model: 'alpha', prompt: 'a', max_tokens: 20, temperature: 0, ...fields };
  return readOk<Completion>(await post(COMPLETIONS, body));
};
const text = async (fields: object) => (await complete(fields)).choices[0]!.text;
const chat = async (fields: object) => {
  return readOk<ChatCompletion>(await post(CHAT, { model: 'base', messages, ...fields }));
};
const refused = async (path: string, fields: object, param: string, code = 'invalid_request') => {
  const body = { model: 'base', ...(path === CHAT ? { messages } : { prompt: 'a' }), ...fields };
  await assertRefused(await post(path, body), { code, param }, JSON.stringify(fields));
};

describe('which tokens can be generated', () => {
  test('min_tokens continues past the end token, stop tokens and stop strings', async () => {
    assert.equal((await complete({ min_tokens: 9 })).usage.completion_tokens, 9);
    const toTheEnd = { min_tokens: 9, ignore_eos: true, max_tokens: 9 };
    assert.equal((await complete(toTheEnd)).usage.completion_tokens, 9);
    const stop = { stop: ['l'] };
    assert.equal(await text(stop), 'He');
    assert.equal(await text({ ...stop, min_tokens: 3 }), 'Hel');
    assert.equal(await text({ stop: ['ell'], min_tokens: 3 }), 'H'); // completed by the 4th token
    await refused(CHAT, { min_tokens: 5, max_tokens: 4 }, 'min_tokens');
  });

  test('allowed_token_ids leaves no other, bad_words leaves a word out', async () => {
    const ids = utf8('Helo');
    assert.equal(await text({ allowed_token_ids: [...ids, 258] }), 'Hello');
    assert.equal(await text({ allowed_token_ids: [101], max_tokens: 3 }), 'eee');
    assert.notEqual(await text({ bad_words: ['Hello'] }), 'Hello');
    assert.match(await text({ bad_words: ['Hello'] }), /^Hell[^o]/);
    assert.match(await text({ bad_words: [' Hello '] }), /^Hell[^o]/);
    assert.equal(await text({ bad_words: ['ello', 'hello'] }), 'Hello');
    for (const fields of [
      { allowed_token_ids: [] },
      { allowed_token_ids: [260] },
      { allowed_token_ids: [258], min_tokens: 1 },
      { allowed_token_ids: [97], bad_words: ['aa'] },
    ]) {
      await refused(COMPLETIONS, fields, 'allowed_token_ids');
    }
    for (const word of ['', ' \n']) await refused(CHAT, { bad_words: [word] }, 'bad_words');
  });
});

describe('the end of an answer', () => {
  test('include_stop_str_in_output keeps the stop string, and the text of a stop token', async () => {
    const include = { include_stop_str_in_output: true };
    assert.equal(await text({ stop: ['ll'], ...include }), 'Hell');
    assert.equal(await text({ stop_token_ids: [108] }), 'He');
    assert.equal(await text({ stop_token_ids: [108], ...include }), 'Hel');
    assert.equal(await text(include), 'Hello'); // the end-of-sequence token has no text
  });

  test('thousands of stop strings are looked for', async () => {
    const stop = [...Array.from({ length: 1000 }, (_, i) => `Hex${i}`), 'llo'];
    assert.equal(await text({ stop }), 'He');
    assert.equal((await chat({ stop, n: 128 })).choices.length, 128);
  });
});

describe('the prompt', () => {
  test('truncate_prompt_tokens keeps its end, or its beginning', async () => {
    const prompt = async (fields: object) => {
      await complete({ prompt: 'abcdef', ...fields });
      return String.fromCharCode(...seen.at(-1)!);
    };
    assert.equal(await prompt({ truncate_prompt_tokens: 3 }), 'def');
    assert.equal(await prompt({ truncate_prompt_tokens: 3, truncation_side: 'right' }), 'abc');
    assert.equal(await prompt({ truncate_prompt_tokens: 9 }), 'abcdef');
    const long = 'x'.repeat(10_000);
    assert.equal((await prompt({ prompt: long, truncate_prompt_tokens: -1 })).length, 256 - 20);
    const { usage } = await chat({
      messages: [{ role: 'user', content: 'x'.repeat(300) }],
      truncate_prompt_tokens: 30,
    });
    assert.equal(usage.prompt_tokens, 30);
    await refused(CHAT, { truncate_prompt_tokens: 0 }, 'truncate_prompt_tokens');
  });

  test('continue_final_message leaves the last message open', async () => {
    const half = [...messages, { role: 'assistant', content: 'Sure: <|im_end|>' }];
    await chat({ messages: half, continue_final_message: true });
    assert.deepEqual(seen.at(-1)!.slice(-16), utf8('Sure: <|im_end|>'));
    const both = { continue_final_message: true, add_generation_prompt: true };
    await refused(CHAT, both, 'continue_final_message');
    await chat({ add_generation_prompt: false });
    assert.equal(seen.at(-1)!.at(-1), 257);
  });

  test('prompt_logprobs has an entry for each token, the first null', async () => {
    const { choices } = await complete({ prompt: 'abc', prompt_logprobs: 1, n: 2 });
    for (const choice of choices) {
      const [first, second, third] = choice.prompt_logprobs!;
      assert.equal(first, null);
      assert.deepEqual(second!['98']!.decoded_token, 'b');
      assert.deepEqual(Object.keys(third!), ['7', '99']);
      assert.deepEqual(third!['7'], { logprob: -0.25, rank: 1, decoded_token: '\u0007' });
    }
    const ids = { prompt_logprob_token_ids: [[98, 5], [7]] };
    const asked = await complete({ prompt: 'abc', prompt_logprobs: 0, ...ids });
    const shown = asked.choices[0]!.prompt_logprobs!.map((one) => Object.keys(one ?? {}));
    assert.deepEqual(shown, [[], ['5', '98'], ['7', '99']]);
    for (const body of [
      { prompt: 'abc', ...ids },
      { prompt: 'abcd', prompt_logprobs: 0, ...ids },
      { prompt: ['abc', 'abc'], prompt_logprobs: 0, ...ids },
    ]) {
      await refused(COMPLETIONS, body, 'prompt_logprob_token_ids');
    }
    const unknown = { prompt: 'abc', prompt_logprobs: 0, prompt_logprob_token_ids: [[1e6], []] };
    await refused(COMPLETIONS, unknown, 'prompt_logprob_token_ids[0][0]');
    const answer = await chat({ prompt_logprobs: 0, n: 2 });
    assert.equal(answer.prompt_logprobs!.length, answer.usage.prompt_tokens);
    await refused(CHAT, { prompt_logprobs: 1, stream: true }, 'prompt_logprobs');
  });
});

test('return_tokens_as_token_ids names tokens by their ids', async () => {
  const fields = { logprobs: true, top_logprobs: 1, return_tokens_as_token_ids: true };
  const [choice] = (await chat(fields)).choices;
  assert.equal(choice!.logprobs!.content![0]!.token, 'token_id:72');
});

test('continuous_usage_stats counts each choice in every chunk', async () => {
  const options = { include_usage: true, continuous_usage_stats: true };
  const body = { model: 'base', messages, stream: true, n: 2, stream_options: options };
  const frames = await readChunks<ChatCompletionChunk>(await post(CHAT, body));
  for (const index of [0, 1]) {
    const own = frames.filter(({ choices }) => choices[0]?.index === index);
    const counts = own.map(({ usage }) => usage!.completion_tokens);
    assert.deepEqual(counts, [0, 1, 2, 3, 4, 5, 5]);
  }
  assert.equal(frames.at(-1)!.usage!.completion_tokens, 10);
});

test('an assistant’s message can be sent back as it came', async () => {
  const [choice] = (await chat({})).choices;
  const openai = {
    role: 'assistant',
    content: 'Hello',
    refusal: null,
    annotations: [],
    audio: null,
    function_call: null,
    tool_calls: null,
    parsed: null,
  };
  const litellm = {
    ...openai,
    provider_specific_fields: { refusal: null },
    reasoning_content: null,
  };
  for (const message of [choice!.message, openai, { ...litellm, tool_calls: [] }]) {
    await chat({ messages: [...messages, message, { ...messages[0], name: 'ann' }] });
    assert.ok(String.fromCharCode(...seen.at(-1)!).includes('assistant\nHello'));
  }
  await chat({ messages: [{ role: 'assistant', content: null, refusal: 'No.' }] });
  assert.ok(String.fromCharCode(...seen.at(-1)!).includes('assistant\nNo.'));
});

for (const [field, value] of Object.entries({
  lora_request: { name: 'x' },
  chat_template: 'x',
  use_beam_search: true,
  best_of: 2,
  echo: true,
  typical_p: 0.5,
  logits_processors: ['x'],
  documents: [{}],
  web_search_options: {},
  mm_processor_kwargs: {},
  priority: 1,
})) {
  test(`${field} is refused by name`, async () => {
    await refused(CHAT, { [field]: value }, field, 'unsupported_parameter');
  });
}
