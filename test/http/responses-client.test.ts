// The official client's Responses API, unmodified, against a listening server.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createOpenAI } from '@ai-sdk/openai';
import { generateText } from 'ai';
import type OpenAI from 'openai';
import { connect } from './openai-client.ts';
import { idle, serve, utf8 } from './served.ts';

const served = serve({ adapters: ['alpha'], reply: () => utf8('Hello, world') });
const client = await connect(served);
const hello = { model: 'alpha', input: 'Hi' };

test('creates a response, and takes its output back as input', async () => {
  const first = await client.responses.create(hello);
  assert.equal(first.output_text, 'Hello, world');
  const streamed = await client.responses.stream(hello).finalResponse();
  const output = [...first.output, ...streamed.output] as OpenAI.Responses.ResponseInput;
  const input = [{ role: 'user' as const, content: 'Hi' }, ...output];
  assert.equal((await client.responses.create({ ...hello, input })).output_text, 'Hello, world');
});

test('streams typed events in their order, numbered without gaps', async () => {
  const types: string[] = [];
  const stream = await client.responses.create({ ...hello, stream: true, max_output_tokens: 2 });
  for await (const event of stream) {
    assert.equal(event.sequence_number, types.length);
    types.push(event.type);
  }
  assert.deepEqual(types, [
    'response.created',
    'response.in_progress',
    'response.output_item.added',
    'response.content_part.added',
    'response.output_text.delta',
    'response.output_text.delta',
    'response.output_text.done',
    'response.content_part.done',
    'response.output_item.done',
    'response.incomplete',
  ]);
});

test('gathers a stream into the response that a plain request gets', async () => {
  const include = ['message.output_text.logprobs' as const];
  const body = { ...hello, include, temperature: 0 };
  const stream = client.responses.stream(body);
  let last = '';
  stream.on('response.output_text.delta', ({ snapshot }) => {
    last = snapshot;
  });
  const { output_parsed, ...streamed } = await stream.finalResponse();
  const plain = await client.responses.create(body);
  assert.equal(last, 'Hello, world');
  assert.equal(streamed.output_text, 'Hello, world');
  const [message] = streamed.output;
  assert.ok(message?.type === 'message' && message.content[0]?.type === 'output_text');
  assert.equal(message.content[0].logprobs?.length, 12);
  const anyIds = (response: object) =>
    JSON.parse(JSON.stringify(response), (name, value) =>
      ['id', 'created_at', 'completed_at', 'parsed', '_request_id', 'cached_tokens'].includes(name)
        ? undefined
        : value,
    );
  assert.deepEqual(anyIds(streamed), anyIds(plain));
});

test('gets a failed response if a stream fails, with the text before it', async () => {
  served.engine.failAt(6);
  const response = await client.responses.stream(hello).finalResponse();
  assert.equal(response.status, 'failed');
  assert.equal(response.error?.code, 'server_error');
  assert.equal(response.output_text, 'Hello');
});

test('gets an ordinary error if nothing was sent yet', async () => {
  await assert.rejects(client.responses.create({ ...hello, model: 'no-such', stream: true }), {
    status: 404,
    code: 'model_not_found',
  });
});

test('the AI SDK sends hints, and the thoughts of other models', async () => {
  const openai = createOpenAI({ baseURL: client.baseURL, apiKey: 'anything' });
  const { text } = await generateText({
    model: openai.responses('alpha'),
    messages: [
      { role: 'user', content: 'Hi' },
      {
        role: 'assistant',
        content: [
          {
            type: 'reasoning',
            text: 'A greeting',
            providerOptions: { openai: { itemId: 'rs_1', reasoningEncryptedContent: 'x' } },
          },
          { type: 'text', text: 'Hello' },
        ],
      },
      { role: 'user', content: 'Again' },
    ],
    providerOptions: {
      openai: {
        store: false,
        forceReasoning: true,
        reasoningEffort: 'low',
        reasoningSummary: 'auto',
        textVerbosity: 'low',
        include: ['reasoning.encrypted_content'],
      },
    },
  });
  assert.equal(text, 'Hello, world');
});

test('that aborts a stream frees the slot', async () => {
  const stream = await client.responses.create({ ...hello, stream: true, ...{ ignore_eos: true } });
  for await (const event of stream) if (event.type === 'response.output_text.delta') break;
  await idle(served, 150);
});
