// Function tools of the Responses API: how calls are answered and streamed, and how their results continue.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ApiResponse } from '../../src/contracts/responses.ts';
import { pluck } from '../pluck.ts';
import { keeping } from './kept.ts';
import { connect } from './openai-client.ts';
import { assertRefused, readOk, serve } from './served.ts';
import { toolServing, written } from './tool-serving.ts';

const URL = '/v1/responses';
const weather = {
  type: 'function' as const,
  name: 'get_weather',
  parameters: { type: 'object', properties: { city: { type: 'string' } } },
  strict: true,
};
const clock = { type: 'function' as const, name: 'clock', parameters: null, strict: null };
const request = { model: 'base', input: 'Weather?', tools: [weather, clock], temperature: 0 };
const shown = { ...weather, description: null };

let answer = '';
const { prompts, options } = toolServing(() => answer);
const served = serve({ ...options, ...keeping() });
const { post } = served;
const client = await connect(served);

const respond = async (fields: object = {}) =>
  readOk<ApiResponse>(await post(URL, { ...request, ...fields }));

describe('a response with calls', () => {
  const text = `Sure.\n${written('get_weather', '{"city": "Paris"}')}\n${written('clock', '{}')}`;

  test('has a message and an item for each call, and repeats the tools', async () => {
    answer = text;
    const response = await respond();
    const part = response.id.replace('resp_', '');
    const [message, first, second] = response.output;
    assert.ok(message?.type === 'message' && first?.type === 'function_call');
    assert.equal(message.content[0]!.text, 'Sure.');
    assert.match(first.call_id, /^call_\w{24}$/);
    assert.deepEqual(first, {
      type: 'function_call',
      id: `fc_${part}_1`,
      call_id: first.call_id,
      name: 'get_weather',
      arguments: '{"city": "Paris"}',
      status: 'completed',
    });
    assert.ok(second?.type === 'function_call' && second.call_id !== first.call_id);
    assert.equal(response.status, 'completed');
    assert.deepEqual(response.tools, [shown, { ...clock, description: null }]);
    assert.equal(response.tool_choice, 'auto');
    assert.match(prompts.at(-1)!, /get_weather/);
  });

  test('has no message if there are only calls', async () => {
    answer = written('clock', '{}');
    const { output } = await respond({ parallel_tool_calls: false });
    assert.deepEqual(pluck(output, 'type'), ['function_call']);
  });

  test('has a call of the named function, if one is required', async () => {
    answer = 'Not at all';
    const choice = { type: 'function', name: 'clock' };
    const { output, tool_choice } = await respond({ tool_choice: choice });
    assert.deepEqual(tool_choice, choice);
    assert.deepEqual(
      output.map((item) => item.type === 'function_call' && [item.name, item.arguments]),
      [['clock', '{}']],
    );
  });

  test('that is cut off has incomplete arguments', async () => {
    answer = text;
    const response = await respond({ max_output_tokens: text.indexOf('ris') });
    assert.equal(response.status, 'incomplete');
    const call = response.output[1];
    assert.ok(call?.type === 'function_call');
    assert.deepEqual([call.arguments, call.status], ['{"city": "Pa', 'incomplete']);
    const next = { previous_response_id: response.id, input: 'Go on' };
    assert.equal((await respond(next)).status, 'completed');
  });

  test('that is cut off in the name of a further call has only the whole ones', async () => {
    answer = text;
    const cut = { ...request, max_output_tokens: text.indexOf('ock"') };
    for (const response of [
      await client.responses.create(cut),
      await client.responses.stream(cut).finalResponse(),
    ]) {
      assert.deepEqual([response.status, response.output_text], ['incomplete', 'Sure.']);
      assert.deepEqual(
        response.output
          .slice(1)
          .map((item) => item.type === 'function_call' && [item.name, item.status]),
        [['get_weather', 'completed']],
      );
    }
  });

  test('calls only allowed tools', async () => {
    answer = text;
    const choice = {
      type: 'allowed_tools',
      mode: 'auto',
      tools: [{ type: 'function', name: 'clock' }],
    };
    const { output, tool_choice } = await respond({ tool_choice: choice });
    const names = output.flatMap((item) => (item.type === 'function_call' ? item.name : []));
    assert.deepEqual([...new Set(names)], ['clock']);
    assert.deepEqual(tool_choice, choice);
    const none = await respond({ tool_choice: 'none' });
    assert.deepEqual([none.tool_choice, none.output.length], ['none', 1]);
    assert.ok(!prompts.at(-1)!.includes('clock'));
  });
});

describe('the official client', () => {
  test('streams calls with their typed events', async () => {
    answer = `Hm${written('get_weather', '{"city": "Rome"}')}`;
    const stream = client.responses.stream(request);
    const types: string[] = [];
    stream.on('event', ({ type, sequence_number: number }) => {
      assert.equal(number, types.length);
      types.push(type.replace('response.', ''));
    });
    const { output } = await stream.finalResponse();
    const [message, call] = output;
    assert.ok(message?.type === 'message' && call?.type === 'function_call');
    assert.deepEqual([call.name, call.status], ['get_weather', 'completed']);
    assert.deepEqual(JSON.parse(call.arguments), { city: 'Rome' });
    const changes = types.filter((type, i) => type !== types[i - 1]);
    assert.deepEqual(changes, [
      'created',
      'in_progress',
      'output_item.added',
      'content_part.added',
      'output_text.delta',
      'output_text.done',
      'content_part.done',
      'output_item.done',
      'output_item.added',
      'function_call_arguments.delta',
      'function_call_arguments.done',
      'output_item.done',
      'completed',
    ]);
  });
});

const sql = {
  type: 'custom' as const,
  name: 'sql',
  description: 'Runs a query',
  format: { type: 'grammar' as const, syntax: 'regex' as const, definition: 'SELECT "\\w+"' },
};

const query = written('sql', String.raw`{"input": "SELECT \"name\""}`);

describe('a custom tool', () => {
  test('is called with a text that its expression allows, streamed and not', async () => {
    const asked = { ...request, tools: [sql, clock], tool_choice: { type: 'custom', name: 'sql' } };
    answer = 'Not at all';
    const forced = await respond({ ...asked, max_output_tokens: 200 });
    const [made] = forced.output;
    assert.ok(made?.type === 'custom_tool_call');
    assert.match(made.input, /^SELECT "\w+"$|^$/);
    assert.deepEqual(forced.tool_choice, asked.tool_choice);
    assert.deepEqual(forced.tools[0], sql);
    answer = query;
    const stream = client.responses.stream({ ...request, tools: [sql] });
    const types: string[] = [];
    stream.on('event', ({ type }) => types.push(type.replace('response.', '')));
    const { output } = await stream.finalResponse();
    const [call] = output;
    assert.ok(call?.type === 'custom_tool_call');
    assert.deepEqual([call.name, call.input], ['sql', 'SELECT "name"']);
    assert.match(call.id ?? '', /^ctc_/);
    assert.deepEqual(types, [
      'created',
      'in_progress',
      'output_item.added',
      'custom_tool_call_input.delta',
      'custom_tool_call_input.done',
      'output_item.done',
      'completed',
    ]);
  });
});

for (const [kind, tools, called, output] of [
  ['function_call', request.tools, written('get_weather', '{"city": "Paris"}'), 'sunny'],
  ['custom_tool_call', [sql], query, 'Ada'],
] as const) {
  test(`the result of a ${kind} continues, sent with all items or to the kept response`, async () => {
    answer = called;
    const asked = { ...request, tools: [...tools] };
    const first = await client.responses.create(asked);
    const [call] = first.output;
    assert.ok(call?.type === 'function_call' || call?.type === 'custom_tool_call');
    const result = { type: `${call.type}_output` as const, call_id: call.call_id, output };
    answer = 'Here it is.';
    const input = [{ role: 'user' as const, content: 'Weather?' }, call, result];
    const whole = await client.responses.create({ ...asked, input });
    const next = { ...asked, input: [result], previous_response_id: first.id };
    const kept = await client.responses.create(next);
    assert.deepEqual([whole.output_text, kept.output_text], [answer, answer]);
    const [ofWhole, ofKept] = prompts.slice(-2);
    assert.equal(ofWhole, ofKept);
    assert.match(ofKept!, new RegExp(`Weather\\?.*${call.name}.*${output}`, 's'));
    const { data: items } = await client.responses.inputItems.list(kept.id);
    assert.deepEqual(pluck(items, 'type'), [`${kind}_output`, kind, 'message']);
    assert.deepEqual({ ...items[1], id: call.id }, call);
  });
}

test('bad tools, choices and results are refused by name', async () => {
  const call = { type: 'function_call', call_id: 'c', name: 'clock', arguments: '{}' };
  const format = (syntax: string) => ({ type: 'grammar', syntax, definition: '(' });
  const result = { type: 'function_call_output', call_id: 'c' };
  const faults: Record<string, [fields: object, param: string][]> = {
    invalid_request: [
      [{ tools: [{ type: 'custom', name: 'a b' }] }, 'tools[0].name'],
      [{ tools: [{ ...sql, format: format('regex') }] }, 'tools[0].parameters'],
      [{ tools: [clock, { ...clock, name: 'a b' }] }, 'tools[1].name'],
      [{ tools: [clock, clock] }, 'tools[1].name'],
      [{ tools: [{ ...clock, parameters: { type: 'array' } }] }, 'tools[0].parameters.type'],
      [{ tools: Array(129).fill(clock) }, 'tools'],
      [{ tools: [], tool_choice: 'required' }, 'tool_choice'],
      [{ tool_choice: { type: 'function', name: 'other' } }, 'tool_choice.name'],
      [{ tool_choice: { type: 'web_search' } }, 'tool_choice'],
      [{ input: [{ ...result, output: '' }] }, 'input[0].call_id'],
      [{ input: [call, result] }, 'input[1].output'],
      [{ input: [{ ...call, arguments: '[' }] }, 'input[0].arguments'],
    ],
    unknown_parameter: [
      [{ tools: [{ type: 'custom', name: 'x', parameters: {} }] }, 'tools[0].parameters'],
      [{ tools: [{ ...clock, x: 1 }] }, 'tools[0].x'],
    ],
    unsupported_parameter: [
      [{ tools: [{ type: 'web_search' }] }, 'tools[0].type'],
      [{ tools: [{ ...sql, format: format('lark') }] }, 'tools[0].format.syntax'],
      [{ tools: [null] }, 'tools[0].type'],
      [{ tools: [{ ...clock, defer_loading: true }] }, 'tools[0].defer_loading'],
      [{ input: [{ ...call, caller: { type: 'x' } }] }, 'input[0].caller'],
    ],
  };
  for (const [code, rows] of Object.entries(faults)) {
    for (const [fields, param] of rows) {
      await assertRefused(await post(URL, { ...request, ...fields }), { code, param });
    }
  }
});
