// The answers of POST /v1/responses. The corpus has its bad inputs.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type OpenAI from 'openai';
import type { ApiResponse } from '../../src/contracts/responses.ts';
import { pluck } from '../pluck.ts';
import { assertRefused, readOk, recordPrompts, serve } from './served.ts';

const URL = '/v1/responses';
const request = { model: 'base', input: 'Hi', max_output_tokens: 5, temperature: 0 };

// What we send is what the official client's types say: checked when this file is compiled. They require counts that this
// server does not have, and list the errors and efforts of OpenAI's models. Formats and tools are repeated as they came.
const asOfficial = ({ usage, output, error, reasoning, text, tools, ...response }: ApiResponse) =>
  ({
    ...response,
    output: [],
    tools: [],
    error: null,
    output_text: '',
  }) satisfies OpenAI.Responses.Response;

describe('a response', () => {
  const { prompts, reply } = recordPrompts();
  const { post } = serve({ reply });

  test('has one message, the settings of the request and the usage', async () => {
    const body = { ...request, metadata: { topic: 'greetings' }, instructions: 'Be brief' };
    const response = await readOk<ApiResponse>(await post(URL, body));
    asOfficial(response);
    assert.match(response.id, /^resp_[0-9a-f]{32}$/);
    const { id, output, usage, created_at, completed_at, ...rest } = response;
    assert.deepEqual(output, [
      {
        type: 'message',
        id: id.replace('resp_', 'msg_'),
        status: 'incomplete',
        role: 'assistant',
        content: [{ type: 'output_text', annotations: [], logprobs: [], text: 'Hello' }],
      },
    ]);
    assert.deepEqual(usage, {
      input_tokens: 37,
      input_tokens_details: { cached_tokens: 0 },
      output_tokens: 5,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: 42,
    });
    assert.ok(Math.abs(created_at - Date.now() / 1000) < 5);
    assert.equal(completed_at, null);
    assert.deepEqual(rest, {
      object: 'response',
      status: 'incomplete',
      background: false,
      conversation: null,
      error: null,
      incomplete_details: { reason: 'max_output_tokens' },
      frequency_penalty: 0,
      instructions: 'Be brief',
      max_output_tokens: 5,
      max_tool_calls: null,
      metadata: { topic: 'greetings' },
      model: 'toy',
      parallel_tool_calls: true,
      presence_penalty: 0,
      previous_response_id: null,
      prompt_cache_key: null,
      reasoning: { effort: null, summary: null },
      safety_identifier: null,
      service_tier: 'default',
      store: false,
      temperature: 0,
      text: { format: { type: 'text' } },
      tool_choice: 'auto',
      tools: [],
      top_logprobs: 0,
      top_p: 1,
      truncation: 'disabled',
    });
  });

  test('is completed if the model stops', async () => {
    const body = { ...request, max_output_tokens: 50, store: true };
    const response = await readOk<ApiResponse>(await post(URL, body));
    assert.equal(response.status, 'completed');
    assert.equal(response.output[0]!.status, 'completed');
    assert.equal(response.incomplete_details, null);
    assert.ok(response.completed_at! >= response.created_at);
    assert.equal(response.store, false);
  });

  test('renders instructions and items as messages', async () => {
    const first = await readOk<ApiResponse>(await post(URL, request));
    const input = [
      { role: 'developer', content: 'D' },
      { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'U' }] },
      ...first.output,
      { role: 'assistant', content: [{ type: 'refusal', refusal: 'No' }] },
    ];
    await readOk(await post(URL, { ...request, instructions: 'I', input }));
    assert.equal(
      prompts.at(-1),
      '|system\nI||system\nD||user\nU||assistant\nHello||assistant\nNo||assistant\n',
    );
  });

  test('does not show the model another model’s reasoning', async () => {
    const input = [
      { role: 'user', content: 'U' },
      { type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: 'x' },
      { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'A' }] },
      { role: 'user', content: 'V' },
    ];
    await readOk(await post(URL, { ...request, input }));
    assert.equal(prompts.at(-1), '|user\nU||assistant\nA||user\nV||assistant\n');
    const orphan = { type: 'function_call_output', call_id: 'c', output: '' };
    const wrong = await post(URL, { ...request, input: [...input, orphan] });
    await assertRefused(wrong, { param: 'input[4].call_id' });
  });

  test('has logprobs if they are included', async () => {
    const include = ['message.output_text.logprobs'];
    const body = { ...request, max_output_tokens: 1, include, top_logprobs: 1 };
    const { output } = await readOk<ApiResponse>(await post(URL, body));
    const [message] = output;
    assert.ok(message?.type === 'message');
    const [token] = message.content[0]!.logprobs;
    assert.equal(token!.token, 'H');
    assert.deepEqual(token!.bytes, [72]);
    assert.deepEqual(pluck(token!.top_logprobs, 'token'), ['H']);
  });
});

test('old turns are dropped if the request allows it, but not instructions and system messages', async () => {
  const { prompts, reply } = recordPrompts();
  const { post } = serve({ reply });
  const message = (role: string, content: string) => ({ role, content });
  const input = [
    message('system', 'S'),
    ...['1', '2', '3', '4', '5', '6'].flatMap((turn) => [
      message('user', turn.repeat(20)),
      message('assistant', 'A'),
    ]),
    message('user', 'last'),
  ];
  const body = { ...request, instructions: 'I', input, max_output_tokens: 100 };
  await assertRefused(await post(URL, body), { code: 'context_length_exceeded', param: 'input' });
  await readOk(await post(URL, { ...body, truncation: 'auto' }));
  assert.equal(
    prompts.at(-1),
    `|system\nI||system\nS||user\n${'5'.repeat(20)}||assistant\nA|` +
      `|user\n${'6'.repeat(20)}||assistant\nA||user\nlast||assistant\n`,
  );
  const last = [message('user', 'x'.repeat(5000))];
  const tooLong = await post(URL, { ...body, input: last, truncation: 'auto' });
  await assertRefused(tooLong, { code: 'context_length_exceeded' });
});
