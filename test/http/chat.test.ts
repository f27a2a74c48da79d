import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type OpenAI from 'openai';
import type {
  ChatCompletion,
  ChatCompletionChunk,
  Completion,
  CompletionChunk,
} from '../../src/contracts/openai.ts';
import { pluck } from '../pluck.ts';
import { assertRefused, readChunks, readOk, serve, utf8 } from './served.ts';

const URL = '/v1/chat/completions';
const messages = [{ role: 'user', content: 'Hi' }];
const request = { model: 'base', messages, max_tokens: 5, temperature: 0 };

/** On the wire a member is absent, never undefined. */
type Sent<T> = T extends readonly (infer Item)[]
  ? Sent<Item>[]
  : T extends object
    ? { [K in keyof T]: Sent<Exclude<T[K], undefined>> }
    : T;

// What we send is what the official client's types say: checked when this file is compiled.
const asOfficial = (answer: Sent<ChatCompletion>) => answer satisfies OpenAI.ChatCompletion;
const asOfficialChunk = (chunk: Sent<ChatCompletionChunk>) =>
  chunk satisfies OpenAI.ChatCompletionChunk;
// Its type forgets that the first token of an echoed prompt has null for logprobs.
const asOfficialCompletion = ({ choices, ...answer }: Sent<Completion>) =>
  ({
    ...answer,
    choices: choices.map((choice) => ({ ...choice, logprobs: null })),
  }) satisfies OpenAI.Completion;

describe('a chat completion', () => {
  const { post } = serve({ reply: () => utf8('Hello') });

  test('has one message, a reason to end and the usage of the rendered prompt', async () => {
    const answer = asOfficial(await readOk<Sent<ChatCompletion>>(await post(URL, request)));
    const prompt = 'xuser\nHix' + 'xassistant\n'; // each x is a control token
    assert.match(answer.id, /^chatcmpl-/);
    assert.equal(answer.object, 'chat.completion');
    assert.deepEqual(answer.choices, [
      {
        index: 0,
        message: { role: 'assistant', content: 'Hello', refusal: null },
        logprobs: null,
        finish_reason: 'length',
      },
    ]);
    assert.equal(answer.usage.prompt_tokens, prompt.length);
  });

  test('takes content in parts, and generates to the end of the context by default', async () => {
    const content = ['H', 'i'].map((text) => ({ type: 'text', text }));
    const messages = [{ role: 'developer', content }];
    const body = { ...request, messages, max_tokens: null, ignore_eos: true };
    const { choices, usage } = await readOk<ChatCompletion>(await post(URL, body));
    assert.equal(choices[0]!.finish_reason, 'length');
    assert.equal(usage.total_tokens, 256);
  });

  test('gives logprobs with bytes and alternatives', async () => {
    const body = { ...request, max_tokens: 1, logprobs: true, top_logprobs: 1 };
    const { choices } = await readOk<ChatCompletion>(await post(URL, body));
    const [token] = choices[0]!.logprobs!.content!;
    assert.equal(token!.token, 'H');
    assert.deepEqual(token!.bytes, [72]);
    assert.ok(Math.abs(token!.logprob) < 1e-6);
    assert.deepEqual(pluck(token!.top_logprobs, 'token'), ['H']);
  });

  test('needs a chat template, as a response does', async () => {
    const { post } = serve({ chatTemplate: undefined });
    await assertRefused(await post(URL, request), { param: 'messages' });
    const response = await post('/v1/responses', { model: 'base', input: 'Hi' });
    await assertRefused(response, { param: 'input' });
  });
});

test('a completion is the official client’s too', async () => {
  const { post } = serve();
  const body = { model: 'base', prompt: 'a', max_tokens: 1 };
  const { choices } = asOfficialCompletion(await readOk(await post('/v1/completions', body)));
  assert.equal(choices[0]!.text, 'H');
});

describe('a streamed chat completion', () => {
  const { post } = serve({ reply: () => utf8('Hé, you') });
  type Chunks = readonly ChatCompletionChunk[];
  const stream = async (fields: object): Promise<Chunks> =>
    readChunks(await post(URL, { ...request, stream: true, ...fields }));
  const choicesOf = (chunks: Chunks) => chunks.flatMap(({ choices }) => choices);
  const textOf = (choices: Chunks[number]['choices']) =>
    choices.map(({ delta }) => delta.content ?? '').join('');

  test('sends the role, a chunk per character, the reason, the usage and [DONE]', async () => {
    const body = { ...request, stream: true, stream_options: { include_usage: true } };
    const response = await post(URL, { ...body, max_tokens: 4 });
    assert.equal(response.headers.get('content-type'), 'text/event-stream; charset=utf-8');
    const chunks = await readChunks<Sent<ChatCompletionChunk>>(response);
    const { id, created, model, object, system_fingerprint } = asOfficialChunk(chunks[0]!);
    assert.equal(object, 'chat.completion.chunk');
    const head = { id, object, created, model, system_fingerprint };
    const choice = (delta: object, finish_reason: string | null = null) => ({
      ...head,
      choices: [{ index: 0, delta, logprobs: null, finish_reason }],
      usage: null,
    });
    assert.deepEqual(chunks, [
      choice({ role: 'assistant', content: '' }),
      choice({ content: 'H' }),
      choice({ content: 'é' }),
      choice({ content: ',' }),
      choice({}, 'length'),
      {
        ...head,
        choices: [],
        usage: {
          prompt_tokens: 20,
          completion_tokens: 4,
          total_tokens: 24,
          prompt_tokens_details: { cached_tokens: 0 },
        },
      },
    ]);
  });

  test('has no usage unless it is requested', async () => {
    const chunks = await stream({});
    assert.ok(chunks.length > 2);
    assert.ok(chunks.every((chunk) => !('usage' in chunk)));
  });

  test('never sends text of a stop string, and finishes with stop', async () => {
    const choices = choicesOf(await stream({ max_tokens: 20, stop: ', y' }));
    assert.equal(textOf(choices), 'Hé');
    assert.equal(choices.at(-1)!.finish_reason, 'stop');
  });

  test('cut inside a character it sends U+FFFD, never half of it', async () => {
    assert.equal(textOf(choicesOf(await stream({ max_tokens: 2 }))), 'H\ufffd');
  });

  test('interleaves n choices, each with its role, text and end', async () => {
    const choices = choicesOf(await stream({ n: 3 }));
    for (const index of [0, 1, 2]) {
      const own = choices.filter((choice) => choice.index === index);
      assert.equal(own[0]!.delta.role, 'assistant');
      assert.equal(textOf(own), 'Hé, ');
      assert.equal(own.filter((choice) => choice.finish_reason !== null).length, 1);
      assert.equal(own.at(-1)!.finish_reason, 'length');
    }
  });

  test('of completions has text chunks of the same object', async () => {
    const body = { model: 'base', prompt: 'a', max_tokens: 1, stream: true };
    const chunks = await readChunks<CompletionChunk>(await post('/v1/completions', body));
    const choice = { index: 0, logprobs: null };
    assert.equal(chunks[0]!.object, 'text_completion');
    assert.deepEqual(pluck(chunks, 'choices'), [
      [{ ...choice, text: 'H', finish_reason: null }],
      [{ ...choice, text: '', finish_reason: 'length' }],
    ]);
  });
});
