// Anthropic's official client, unmodified, against a listening server.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { serveKeyed } from './keyed.ts';
import { idle, listen } from './served.ts';
import { toolServing, written } from './tool-serving.ts';

let reply = 'Hello, world';
const { prompts, options } = toolServing(() => reply);
const served = serveKeyed({
  ...options,
  tenants: { acme: {} },
  adapters: ['alpha'],
  maxSeqLength: 2048,
});
const server = await listen(served.app);
const apiKey = served.keys['acme']!.text;
const client = new Anthropic({ baseURL: server.url, apiKey, maxRetries: 0 });

const hello = { role: 'user' as const, content: 'Hi' };
const request = { model: 'alpha', max_tokens: 300, messages: [hello], temperature: 0 };
const weather = {
  name: 'get_weather',
  description: 'Tells the weather',
  input_schema: { type: 'object' as const, properties: { city: { type: 'string' } } },
};
const call = (city: string) => written('get_weather', `{"city": "${city}"}`);
const inputsOf = (content: readonly Anthropic.ContentBlock[]) =>
  content.map((block) => block.type === 'tool_use' && block.input);

describe('a message', () => {
  test('has one text, the reason of its end and the usage', async () => {
    reply = 'Hello, world';
    const { id, _request_id, ...message } = await client.messages.create(request);
    assert.match(id, /^msg_[0-9a-f]{32}$/);
    assert.match(_request_id ?? '', /^req_/);
    const { input_tokens, cache_read_input_tokens } = message.usage;
    assert.deepEqual(message, {
      type: 'message',
      role: 'assistant',
      model: 'alpha',
      content: [{ type: 'text', text: 'Hello, world' }],
      stop_reason: 'end_turn',
      stop_sequence: null,
      usage: {
        input_tokens,
        cache_creation_input_tokens: 0,
        cache_read_input_tokens,
        output_tokens: 12,
      },
    });
    const counted = await client.messages.countTokens({ model: 'alpha', messages: [hello] });
    assert.equal(counted.input_tokens, input_tokens + cache_read_input_tokens!);
  });

  test('is the same in a stream', async () => {
    reply = 'Hello, world';
    const stream = client.messages.stream(request);
    const types: string[] = [];
    stream.on('streamEvent', ({ type }) => types.push(type));
    const streamed = await stream.finalMessage();
    const plain = await client.messages.create(request);
    const sum = ({ usage }: Anthropic.Message) =>
      usage.input_tokens + usage.cache_read_input_tokens!;
    assert.equal(sum(streamed), sum(plain));
    const others = ['id', 'usage', 'parsed_output', 'stop_details', '_request_id'];
    const comparable = (message: object) =>
      JSON.parse(
        JSON.stringify(message, (name, value) => (others.includes(name) ? undefined : value)),
      );
    assert.deepEqual(comparable(streamed), comparable(plain));
    assert.deepEqual(
      types.filter((type, i) => type !== types[i - 1]),
      [
        'message_start',
        'content_block_start',
        'content_block_delta',
        'content_block_stop',
        'message_delta',
        'message_stop',
      ],
    );
  });

  test('ends at a stop sequence, and names it', async () => {
    reply = 'Hello, world';
    const stops = { ...request, stop_sequences: ['zzz', ', w'] };
    const plain = await client.messages.create(stops);
    const streamed = await client.messages.stream(stops).finalMessage();
    for (const { content, stop_reason, stop_sequence } of [plain, streamed]) {
      const texts = content.map((block) => block.type === 'text' && block.text);
      assert.deepEqual(texts, ['Hello']);
      assert.deepEqual([stop_reason, stop_sequence], ['stop_sequence', ', w']);
    }
  });

  test('ends at max_tokens, or where the context ends', async () => {
    reply = 'x'.repeat(2500);
    const short = await client.messages.create({ ...request, max_tokens: 5 });
    assert.deepEqual([short.stop_reason, short.usage.output_tokens], ['max_tokens', 5]);
    const whole = await client.messages.stream({ ...request, max_tokens: 32_000 }).finalMessage();
    assert.equal(whole.stop_reason, 'model_context_window_exceeded');
    const { input_tokens, cache_read_input_tokens: cached, output_tokens } = whole.usage;
    assert.equal(input_tokens + cached! + output_tokens, 2048);
  });
});

describe('the prompt', () => {
  test('is counted even if it does not fit', async () => {
    const messages = [{ role: 'user' as const, content: 'x'.repeat(3000) }];
    const { input_tokens } = await client.messages.countTokens({ model: 'alpha', messages });
    assert.ok(input_tokens > 3000);
    const asked = client.messages.create({ ...request, messages });
    await assert.rejects(asked, /maximum context length is 2048 tokens/);
  });

  test('has the system text, joined blocks, and no thoughts', async () => {
    reply = 'A';
    await client.messages.create({
      ...request,
      system: [
        { type: 'text', text: 'Be ', cache_control: { type: 'ephemeral' } },
        { type: 'text', text: 'brief.' },
      ],
      messages: [
        { role: 'user', content: [{ type: 'text', text: 'one' }] },
        { role: 'user', content: 'two' },
        {
          role: 'assistant',
          content: [
            { type: 'thinking', thinking: 'secret', signature: '' },
            { type: 'text', text: 'three' },
          ],
        },
        hello,
      ],
    });
    const plain = await served.ask('acme', '/v1/chat/completions', {
      model: 'base',
      max_tokens: 1,
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'one\ntwo' },
        { role: 'assistant', content: 'three' },
        hello,
      ],
    });
    assert.equal(plain.status, 200);
    assert.equal(prompts.at(-2), prompts.at(-1));
  });

  test('is continued if its last message is the assistant’s', async () => {
    reply = 'ris';
    const messages = [hello, { role: 'assistant' as const, content: 'Pa' }];
    await client.messages.create({ ...request, messages });
    assert.ok(prompts.at(-1)!.endsWith('Pa'));
  });
});

describe('tools', () => {
  test('are called, and the conversation continues with their results', async () => {
    reply = `Sure.${call('Paris')}`;
    const tooled = { ...request, tools: [weather] };
    const message = await client.messages.create(tooled);
    const [text, use] = message.content;
    assert.ok(text?.type === 'text' && use?.type === 'tool_use');
    assert.deepEqual([text.text, use.name, use.input], ['Sure.', 'get_weather', { city: 'Paris' }]);
    assert.equal(message.stop_reason, 'tool_use');
    reply = 'It is sunny.';
    const result = { type: 'tool_result' as const, tool_use_id: use.id, content: 'sunny' };
    const messages: Anthropic.MessageParam[] = [
      hello,
      { role: 'assistant', content: message.content },
      { role: 'user', content: [result, { type: 'text', text: 'So?' }] },
    ];
    const last = await client.messages.create({ ...tooled, messages });
    assert.equal(last.stop_reason, 'end_turn');
    assert.match(prompts.at(-1)!, /get_weather.*Paris.*sunny.*So\?/s);
    const { input_tokens } = await client.messages.countTokens({
      model: 'alpha',
      tools: [weather],
      messages,
    });
    assert.equal(input_tokens, last.usage.input_tokens + last.usage.cache_read_input_tokens!);
  });

  test('are streamed as JSON, and several in one message', async () => {
    reply = `${call('Rome')}\n${call('Oslo')}`;
    const stream = client.messages.stream({ ...request, tools: [weather] });
    let json = '';
    stream.on('inputJson', (part) => {
      json += part;
    });
    const { content, stop_reason } = await stream.finalMessage();
    assert.deepEqual(inputsOf(content), [{ city: 'Rome' }, { city: 'Oslo' }]);
    assert.equal(json, '{"city": "Rome"}{"city": "Oslo"}');
    assert.equal(stop_reason, 'tool_use');
  });

  test('are dropped if their name is cut off', async () => {
    reply = `${call('Rome')}\n${call('Oslo')}`;
    const cut = { ...request, tools: [weather], max_tokens: reply.lastIndexOf('weather') };
    for (const { content, stop_reason } of [
      await client.messages.create(cut),
      await client.messages.stream(cut).finalMessage(),
    ]) {
      assert.deepEqual(inputsOf(content), [{ city: 'Rome' }]);
      assert.equal(stop_reason, 'max_tokens');
    }
  });

  test('are called as tool_choice says', async () => {
    reply = `Not at all${call('Rome')}\n${call('Oslo')}`;
    const tooled = { ...request, tools: [weather] };
    const forced = { type: 'tool' as const, name: 'get_weather' };
    const single = { type: 'auto' as const, disable_parallel_tool_use: true };
    const typesFor = async (tool_choice: Anthropic.ToolChoice) =>
      (await client.messages.create({ ...tooled, tool_choice })).content.map(({ type }) => type);
    assert.deepEqual(await typesFor(forced), ['tool_use']);
    assert.deepEqual(await typesFor(single), ['text', 'tool_use']);
    assert.deepEqual(await typesFor({ type: 'none' }), ['text']);
  });

  test('may have answers of a JSON Schema instead', async () => {
    reply = 'not JSON';
    const schema = { type: 'object', properties: { a: { const: 1 } }, required: ['a'] };
    const output_config = { format: { type: 'json_schema' as const, schema } };
    const { content } = await client.messages.create({ ...request, output_config });
    assert.ok(content[0]?.type === 'text');
    assert.deepEqual(JSON.parse(content[0].text), { a: 1 });
  });

  test('read schemas as the field lorikeet says', async () => {
    reply = '{"b":2,"a":1}';
    const properties = { a: { const: 1 }, b: { const: 2 } };
    const schema = { type: 'object', properties, required: ['a', 'b'] };
    const output_config = { format: { type: 'json_schema' as const, schema } };
    for (const [lorikeet, expected] of [
      [{}, '{"a":1,"b":2}'],
      [{ property_order: 'any' }, reply],
    ] as const) {
      const body = { ...request, output_config, ...{ lorikeet } };
      const [block] = (await client.messages.create(body)).content;
      assert.equal(block?.type === 'text' && block.text, expected);
    }
  });
});

describe('errors', () => {
  test('are the client’s own classes, with the type, the id and the field', async () => {
    const stranger = new Anthropic({ baseURL: server.url, apiKey: 'wrong', maxRetries: 0 });
    const unknown = { ...request, model: 'no-such' };
    const cases: [() => Promise<unknown>, status: number, type: string, message: RegExp][] = [
      [() => client.messages.create(unknown), 404, 'not_found_error', /model/],
      [() => client.messages.create({ ...unknown, stream: true }), 404, 'not_found_error', /model/],
      [
        () => client.messages.create({ ...request, max_tokens: 0 }),
        400,
        'invalid_request_error',
        /max_tokens/,
      ],
      [() => stranger.messages.create(request), 401, 'authentication_error', /x-api-key/],
    ];
    for (const [fail, status, type, message] of cases) {
      await assert.rejects(fail, (error) => {
        assert.ok(error instanceof Anthropic.APIError);
        assert.deepEqual([error.status, error.type], [status, type]);
        assert.match(error.requestID ?? '', /^req_/);
        assert.match(error.message, message);
        return true;
      });
    }
  });

  test('after the first event are in the stream', async () => {
    reply = 'Hello, world';
    served.engine.failAt(6);
    const stream = client.messages.stream(request);
    let text = '';
    stream.on('text', (part) => {
      text += part;
    });
    await assert.rejects(stream.finalMessage(), (error) => {
      assert.ok(error instanceof Anthropic.APIError);
      assert.equal(error.type, 'api_error');
      return true;
    });
    assert.equal(text, 'Hello');
  });

  test('a client that aborts a stream frees the slot', async () => {
    reply = 'x'.repeat(1500);
    const stream = await client.messages.create({ ...request, max_tokens: 1500, stream: true });
    for await (const { type } of stream) if (type === 'content_block_delta') break;
    await idle(served, 150);
  });
});
