// Real clients, unmodified, against a listening server.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, streamText } from 'ai';
import OpenAI from 'openai';
import { connect } from './openai-client.ts';
import { idle, serve, utf8 } from './served.ts';

const served = serve({ adapters: ['alpha'], reply: () => utf8('Hello, world') });
const client = await connect(served);
const { baseURL } = client;
const messages = [{ role: 'user' as const, content: 'Hi' }];

describe('the official client', () => {
  test('lists and retrieves models', async () => {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    assert.deepEqual(ids, ['toy', 'alpha']);
    assert.equal((await client.models.retrieve('alpha')).owned_by, 'shared');
  });

  test('completes', async () => {
    const { choices, usage } = await client.completions.create({ model: 'base', prompt: 'a' });
    assert.equal(choices[0]!.text, 'Hello, world');
    assert.equal(usage!.completion_tokens, 12);
  });

  test('chats, and streams with its helper', async () => {
    const answer = await client.chat.completions.create({ model: 'alpha', messages });
    assert.equal(answer.choices[0]!.message.content, 'Hello, world');
    const stream = client.chat.completions.stream({
      model: 'alpha',
      messages,
      stream_options: { include_usage: true },
    });
    assert.equal(await stream.finalContent(), 'Hello, world');
    assert.equal((await stream.totalUsage()).completion_tokens, 12);
  });

  test('embeds, in base64 by default', async () => {
    const plain = { model: 'alpha', input: ['a', 'bc'] };
    const { data, usage } = await client.embeddings.create(plain);
    const floats = await client.embeddings.create({ ...plain, encoding_format: 'float' });
    assert.deepEqual(data, floats.data);
    assert.equal(data[1]!.embedding.length, 4);
    assert.ok(data.every(({ embedding }) => Math.abs(Math.hypot(...embedding) - 1) < 1e-6));
    assert.deepEqual(usage, { prompt_tokens: 3, total_tokens: 3 });
  });

  test('throws its own error classes with code, param and request id', async () => {
    const failing = client.chat.completions.create({ model: 'no-such', messages });
    await assert.rejects(failing, (error) => {
      assert.ok(error instanceof OpenAI.NotFoundError);
      assert.equal(error.code, 'model_not_found');
      assert.equal(error.param, 'model');
      assert.match(error.requestID!, /^req_/);
      return true;
    });
    await assert.rejects(
      client.chat.completions.create({ model: 'base', messages, temperature: 3 }),
      OpenAI.BadRequestError,
    );
  });

  test('T29: throws if a stream fails, after the tokens that arrived', async () => {
    served.engine.failAt(6);
    const stream = await client.completions.create({ model: 'base', prompt: 'a', stream: true });
    let text = '';
    await assert.rejects(async () => {
      for await (const chunk of stream) text += chunk.choices[0]!.text;
    }, OpenAI.APIError);
    assert.equal(text, 'Hello');
  });

  test('can send back its answers as it stores them, and reports a prompt that is too long', async () => {
    const first = await client.chat.completions.create({ model: 'alpha', messages });
    const stream = client.chat.completions.stream({ model: 'alpha', messages });
    const streamed = await stream.finalMessage();
    for (const said of [first.choices[0]!.message, streamed]) {
      const turns = [...messages, said, ...messages];
      const answer = await client.chat.completions.create({ model: 'alpha', messages: turns });
      assert.equal(answer.choices[0]!.message.content, 'Hello, world');
    }
    // The Agents SDK repeats the message's other fields in the part.
    const { content, ...others } = first.choices[0]!.message;
    const part = { type: 'text' as const, text: content!, ...others };
    const repeated = { role: 'assistant' as const, content: [part] };
    const again = [...messages, repeated, ...messages];
    await client.chat.completions.create({ model: 'alpha', messages: again });
    const long = [{ role: 'user' as const, content: 'x'.repeat(300) }];
    await assert.rejects(client.chat.completions.create({ model: 'base', messages: long }), {
      code: 'context_length_exceeded',
      param: 'messages',
    });
  });

  test('that aborts a stream frees the slot', async () => {
    const stream = await client.completions.create({
      model: 'base',
      prompt: 'a',
      max_tokens: 200,
      stream: true,
      ...{ ignore_eos: true },
    });
    for await (const _ of stream) break;
    await idle(served, 150);
  });
});

describe('the ai package', () => {
  const provider = createOpenAICompatible({ name: 'lorikeet', baseURL, includeUsage: true });

  test('generates text', async () => {
    const { text, finishReason, usage } = await generateText({
      model: provider('alpha'),
      messages,
    });
    assert.equal(text, 'Hello, world');
    assert.equal(finishReason, 'stop');
    assert.equal(usage.outputTokens, 12);
  });

  test('can send back its answers, and reports a prompt that is too long', async () => {
    const { response } = await generateText({ model: provider('alpha'), messages });
    const turns = [...messages, ...response.messages, ...messages];
    const { text } = await generateText({ model: provider('alpha'), messages: turns });
    assert.equal(text, 'Hello, world');
    const prompt = 'x'.repeat(300);
    await assert.rejects(generateText({ model: provider('base'), prompt, maxRetries: 0 }), {
      statusCode: 400,
      message: /maximum context length is 256 tokens/,
    });
  });

  test('streams text', async () => {
    const result = streamText({ model: provider('base'), system: 'Be brief', messages });
    const deltas = [];
    for await (const delta of result.textStream) deltas.push(delta);
    assert.equal(deltas.join(''), 'Hello, world');
    assert.equal(deltas.length, 12);
    assert.equal((await result.usage).outputTokens, 12);
  });
});
