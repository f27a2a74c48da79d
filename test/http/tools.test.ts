// Tools over HTTP: what a request may say, what the prompt shows, and how calls are answered and streamed.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ChatCompletion, ChatCompletionChunk } from '../../src/contracts/openai.ts';
import { pluck } from '../pluck.ts';
import { connect } from './openai-client.ts';
import { assertRefused, readChunks, readError, readOk, serve } from './served.ts';
import { toolServing, written } from './tool-serving.ts';

const URL = '/v1/chat/completions';
const weather = {
  type: 'function',
  function: {
    name: 'get_weather',
    parameters: { type: 'object', properties: { city: { type: 'string' } } },
  },
} as const;
const clock = { type: 'function', function: { name: 'clock' } } as const;
const question = { role: 'user' as const, content: 'Weather?' };
const request = { model: 'base', messages: [question], tools: [weather, clock], temperature: 0 };

/** A server whose model answers as a test says. */
function serveAnswers(answer: (prompt: string) => string) {
  const { prompts, options } = toolServing(answer);
  return { ...serve(options), prompts };
}

describe('an answer with calls', () => {
  const text = `Sure.\n${written('get_weather', '{"city": "Paris"}')}\n${written('clock', '{}')}`;
  const { post, prompts } = serveAnswers(() => text);
  const ask = async (fields: object = {}) =>
    (await readOk<ChatCompletion>(await post(URL, { ...request, ...fields }))).choices[0]!;

  test('has content, calls and their reason, and the prompt shows the tools', async () => {
    const { message, finish_reason } = await ask();
    assert.equal(finish_reason, 'tool_calls');
    const [first, second] = message.tool_calls!;
    assert.match(first!.id, /^call_\w{24}$/);
    assert.notEqual(first!.id, second!.id);
    assert.deepEqual(message, {
      role: 'assistant',
      content: 'Sure.',
      refusal: null,
      tool_calls: [
        {
          id: first!.id,
          type: 'function',
          function: { name: 'get_weather', arguments: '{"city": "Paris"}' },
        },
        { id: second!.id, type: 'function', function: { name: 'clock', arguments: '{}' } },
      ],
    });
    assert.ok(prompts.at(-1)!.includes('{"type": "function", "function": {"name": "clock"}}'));
  });

  test('that is cut off ends with length', async () => {
    const { message, finish_reason } = await ask({ max_tokens: text.indexOf('ris') });
    assert.equal(finish_reason, 'length');
    assert.equal(message.tool_calls![0]!.function.arguments, '{"city": "Pa');
  });

  test('that is cut off in the name of a further call has only the whole ones', async () => {
    const { message, finish_reason } = await ask({ max_tokens: text.indexOf('ock"') });
    assert.equal(finish_reason, 'length');
    assert.deepEqual([message.content, message.tool_calls!.length], ['Sure.', 1]);
  });

  test('has one call without parallel_tool_calls', async () => {
    const { message } = await ask({ parallel_tool_calls: false });
    assert.equal(message.tool_calls!.length, 1);
  });

  test('calls only allowed tools, whatever the model prefers', async () => {
    const tool_choice = {
      type: 'allowed_tools',
      allowed_tools: { mode: 'auto', tools: [{ type: 'function', function: { name: 'clock' } }] },
    };
    const { message } = await ask({ tool_choice });
    assert.ok(message.tool_calls!.length > 0);
    for (const call of message.tool_calls!) assert.equal(call.function.name, 'clock');
    assert.ok(prompts.at(-1)!.includes('get_weather'));
  });

  test('is text with tool_choice none, and the prompt then shows no tools', async () => {
    const { message, finish_reason } = await ask({ tool_choice: 'none' });
    assert.deepEqual([message.content, finish_reason], [text, 'stop']);
    assert.ok(!prompts.at(-1)!.includes('clock'));
  });

  test('has a function_call for the older functions', async () => {
    const functions = request.tools.map((tool) => tool.function);
    const { message, finish_reason } = await ask({ tools: undefined, functions });
    assert.equal(finish_reason, 'function_call');
    assert.deepEqual(message.function_call, {
      name: 'get_weather',
      arguments: '{"city": "Paris"}',
    });
    assert.equal(message.tool_calls, undefined);
  });
});

describe('a streamed answer with calls', () => {
  const stream = async (answer: string, fields: object = {}) => {
    const { post } = serveAnswers(() => answer);
    const response = await post(URL, { ...request, stream: true, ...fields });
    const chunks = await readChunks<ChatCompletionChunk>(response);
    return chunks.map(({ choices }) => choices[0]!);
  };

  test('begins a call with id, type and name, and goes on with pieces of arguments', async () => {
    const choices = await stream(written('get_weather', '{"city": "P"}'));
    const deltas = choices.map(({ delta }) => delta);
    const [opening, first, ...rest] = deltas;
    assert.deepEqual(opening, { role: 'assistant', content: null });
    const { id } = first!.tool_calls![0]!;
    assert.match(id!, /^call_\w{24}$/);
    const called = { name: 'get_weather', arguments: '' };
    assert.deepEqual(first, { tool_calls: [{ index: 0, id, type: 'function', function: called }] });
    const pieces = [...'{"city": "P"}'].map((piece) => ({
      tool_calls: [{ index: 0, function: { arguments: piece } }],
    }));
    assert.deepEqual(rest, [...pieces, {}]);
    assert.equal(choices.at(-1)!.finish_reason, 'tool_calls');
  });

  test('drops the beginning of a further call that is cut off', async () => {
    const answer = `${written('clock', '{}')}\n${written('clock', '{}')}`;
    const choices = await stream(answer, { max_tokens: answer.lastIndexOf('ock') });
    const contents = choices.flatMap(({ delta }) => delta.content ?? []);
    assert.deepEqual(contents, []);
    assert.equal(choices.at(-1)!.finish_reason, 'length');
  });

  test('holds back what may become a tag, and loses no log-probability', async () => {
    const choices = await stream('a <tool', { logprobs: true });
    const contents = choices.flatMap(({ delta }) => delta.content ?? []);
    assert.deepEqual(contents, ['a', ' <tool']);
    const scored = choices.flatMap(({ logprobs }) => logprobs?.content ?? []);
    assert.equal(scored.map(({ token }) => token).join(''), 'a <tool');
  });

  test('has function_call deltas for the older functions', async () => {
    const functions = [clock.function];
    const choices = await stream(written('clock', '{}'), { tools: undefined, functions });
    const deltas = choices.flatMap(({ delta }) => delta.function_call ?? []);
    assert.deepEqual(deltas[0], { name: 'clock', arguments: '' });
    assert.equal(choices.at(-1)!.finish_reason, 'function_call');
  });
});

test('the official client runs tools to the end of a task, streamed or not', async () => {
  const call = written('get_weather', '{"city": "Paris"}');
  const { app, prompts } = serveAnswers((prompt) =>
    prompt.includes('<tool_response>\n21 degrees') ? 'It is 21 degrees.' : call,
  );
  const client = await connect({ app });
  for (const stream of [false, true] as const) {
    const cities: string[] = [];
    const tool = {
      type: 'function' as const,
      function: {
        name: 'get_weather',
        description: 'The weather of a city',
        parameters: { type: 'object', properties: { city: { type: 'string' } } },
        parse: JSON.parse,
        function: ({ city }: { city: string }) => {
          cities.push(city);
          return '21 degrees';
        },
      },
    };
    const body = { model: 'base', messages: [question], tools: [tool], temperature: 0 };
    const runner = stream
      ? client.chat.completions.runTools({ ...body, stream })
      : client.chat.completions.runTools({ ...body, stream });
    assert.equal(await runner.finalContent(), 'It is 21 degrees.');
    assert.deepEqual(cities, ['Paris']);
    assert.ok(prompts.at(-1)!.includes(call));
  }
});

describe('a call is forced', () => {
  const mood = {
    type: 'function',
    function: {
      name: 'set_mood',
      parameters: {
        type: 'object',
        properties: {
          mood: { enum: ['good', 'bad'] },
          level: { type: 'integer', minimum: 1, maximum: 3 },
        },
        required: ['mood', 'level'],
        additionalProperties: false,
      },
    },
  } as const;
  const forced = { ...request, tools: [mood, clock], max_tokens: 300 };
  const { post } = serveAnswers(() => 'Hello, I will not call anything.');
  const ask = async (fields: object) =>
    (await readOk<ChatCompletion>(await post(URL, { ...forced, ...fields }))).choices[0]!;
  const named = (name: string) => ({ type: 'function', function: { name } });

  test('by name, with arguments that satisfy the schema', async () => {
    const { message, finish_reason } = await ask({ tool_choice: named('set_mood') });
    assert.deepEqual([finish_reason, message.content], ['tool_calls', null]);
    const [call] = message.tool_calls!;
    assert.equal(message.tool_calls!.length, 1);
    const { mood: chosen, level } = JSON.parse(call!.function.arguments);
    assert.ok(['good', 'bad'].includes(chosen) && level >= 1 && level <= 3);
  });

  test('by required, by allowed_tools, and by the older function_call', async () => {
    const single = { parallel_tool_calls: false };
    const { message } = await ask({ tool_choice: 'required', ...single });
    assert.equal(message.tool_calls!.length, 1);
    const allowed = { mode: 'required', tools: [named('clock')] };
    const tool_choice = { type: 'allowed_tools', allowed_tools: allowed };
    const other = await ask({ tool_choice, ...single });
    const calls = pluck(other.message.tool_calls!, 'function');
    assert.deepEqual(calls, [{ name: 'clock', arguments: '{}' }]);
    const older = { tools: [], functions: [clock.function], function_call: { name: 'clock' } };
    assert.deepEqual((await ask(older)).message.function_call, { name: 'clock', arguments: '{}' });
  });

  test('or not: with response_format the answer is a call or has the format', async () => {
    const response_format = {
      type: 'json_schema',
      json_schema: { name: 'x', schema: { enum: ['Hello', 'Bye'] } },
    };
    const { message } = await ask({ response_format });
    assert.match(message.content!, /^"(Hello|Bye)"$/);
    assert.equal(message.tool_calls, undefined);
  });
});

describe('a history with calls', () => {
  const { post, prompts } = serveAnswers(() => 'ok');
  const called = { name: 'clock', arguments: '{"zone":"UTC"}' };

  test('is rendered with calls and results, in both spellings', async () => {
    const newer = [
      {
        role: 'assistant',
        content: null,
        tool_calls: [{ id: 'c', type: 'function', function: called }],
      },
      { role: 'tool', tool_call_id: 'c', content: [{ type: 'text', text: 'noon' }] },
    ];
    const older = [
      { role: 'assistant', content: null, function_call: called },
      { role: 'function', name: 'clock', content: 'noon' },
    ];
    for (const messages of [newer, older]) {
      await readOk(await post(URL, { ...request, tools: [], messages: [question, ...messages] }));
      const shown = prompts.at(-1)!;
      assert.ok(shown.includes(written('clock', '{"zone": "UTC"}')), shown);
      assert.ok(shown.includes('<tool_response>\nnoon\n</tool_response>'), shown);
    }
  });
});

const madeCall = (fields: object = {}) => ({
  id: 'c',
  type: 'function',
  function: { name: 'clock', arguments: '{}', ...fields },
});
const said = (...messages: object[]) => ({ messages: [question, ...messages] });
const assistant = (...tool_calls: object[]) => ({ role: 'assistant', content: null, tool_calls });
const tool = (fields: object) => ({ type: 'function', function: { name: 'f', ...fields } });
const choice = (name: string) => ({ type: 'function', function: { name } });
const contradictory = {
  type: 'object',
  properties: { a: { type: 'string', minLength: 2, maxLength: 1 } },
  required: ['a'],
};
const older = { tools: [], functions: [{ name: 'f', parameters: contradictory }] };
const chosen = { tools: [], functions: [clock.function], function_call: { name: 'x' } };
const many = Array.from({ length: 129 }, (_, i) => tool({ name: `f${i}` }));
const allowed = {
  type: 'allowed_tools',
  allowed_tools: { mode: 'auto', tools: [choice('clock'), choice('other')] },
};
const result = { role: 'tool', tool_call_id: 'c' };
const olderResult = { role: 'function', name: 'clock', content: 'x' };
const nested = `{"a":${'['.repeat(1e5)}${']'.repeat(1e5)}}`;
const withParameters = (parameters: unknown) => ({ tools: [tool({ parameters })] });
const withArguments = (given: unknown) => said(assistant(madeCall({ arguments: given })));
const afterCall = (message: object) => said(assistant(madeCall()), message);
const PARAMETERS = 'tools[0].function.parameters';
const ARGUMENTS = 'messages[1].tool_calls[0].function.arguments';
const ALLOWED = 'tool_choice.allowed_tools';
const REFUSED: [why: string, fields: object, param: string][] = [
  ['a name twice', { tools: [clock, weather, clock] }, 'tools[2].function.name'],
  ['a bad name', { tools: [tool({ name: 'a b' })] }, 'tools[0].function.name'],
  ['a long name', { tools: [tool({ name: 'a'.repeat(65) })] }, 'tools[0].function.name'],
  ['no name', { tools: [{ type: 'function', function: {} }] }, 'tools[0].function.name'],
  ['parameters of another type', withParameters({ type: 'array' }), `${PARAMETERS}.type`],
  ['parameters that are no schema', withParameters([]), PARAMETERS],
  ['a schema that nothing satisfies', withParameters(contradictory), PARAMETERS],
  ['an older schema that nothing satisfies', older, 'functions[0].parameters'],
  ['an unknown field', { tools: [tool({ x: 1 })] }, 'tools[0].function.x'],
  ['another type of tool', { tools: [{ type: 'custom', custom: { name: 'f' } }] }, 'tools[0].type'],
  ['too many tools', { tools: many }, 'tools'],
  ['tools and functions', { functions: [clock.function] }, 'functions'],
  ['a choice of an absent tool', { tool_choice: choice('other') }, 'tool_choice.function.name'],
  ['a choice without tools', { tools: [], tool_choice: 'required' }, 'tool_choice'],
  ['an unknown choice', { tool_choice: 'any' }, 'tool_choice'],
  ['an unknown field of a choice', { tool_choice: { ...choice('clock'), x: 1 } }, 'tool_choice.x'],
  ['an absent allowed tool', { tool_choice: allowed }, `${ALLOWED}.tools[1].function.name`],
  ['a choice of an absent function', chosen, 'function_call.name'],
  ['parallel_tool_calls of another type', { parallel_tool_calls: 'yes' }, 'parallel_tool_calls'],
  ['a result without an id', afterCall({ role: 'tool', content: 'x' }), 'messages[2].tool_call_id'],
  ['a result without a call', said({ ...result, content: 'x' }), 'messages[1].tool_call_id'],
  ['an older result without a call', said(olderResult), 'messages[1].name'],
  ['a result without content', afterCall({ ...result, content: null }), 'messages[2]'],
  ['arguments that are no JSON', withArguments('{'), ARGUMENTS],
  ['arguments that are no object', withArguments('[]'), ARGUMENTS],
  ['arguments that are no text', withArguments({}), ARGUMENTS],
  ['arguments that are nested too deeply', withArguments(nested), ARGUMENTS],
  ['two calls of one id', said(assistant(madeCall(), madeCall())), 'messages[1].tool_calls[1].id'],
  [
    'calls of the user',
    { messages: [{ ...question, tool_calls: [madeCall()] }] },
    'messages[0].tool_calls',
  ],
  ['tools beyond the context', { tools: [tool({ description: 'x'.repeat(70_000) })] }, 'messages'],
];

describe('a request about tools is refused for', () => {
  const { post } = serveAnswers(() => 'ok');
  for (const [why, fields, param] of REFUSED) {
    test(why, async () => {
      await assertRefused(await post(URL, { ...request, ...fields }), { status: 400, param });
    });
  }

  test('parameters that refer to themselves, at the place of the reference', async () => {
    const body = { ...request, tools: [tool({ parameters: { $ref: '#' } })] };
    const { message } = await readError(await post(URL, body));
    assert.equal(message, `${PARAMETERS}: #/$ref refers to itself, with nothing in between`);
  });
});
