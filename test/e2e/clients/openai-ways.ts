// OpenAI's client.
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { zodFunction, zodResponseFormat, zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import {
  type Access,
  City,
  checkAgent,
  createWeather,
  EXAMPLE,
  firstOf,
  QUESTION,
  RESULT,
  Report,
  type Ways,
  WEATHER,
} from './ways.ts';

const SHOWN: OpenAI.Chat.ChatCompletionMessageParam[] = [
  { role: 'user', content: EXAMPLE.question },
  {
    role: 'assistant',
    content: null,
    tool_calls: [
      {
        id: 'call_1',
        type: 'function',
        function: { name: WEATHER.name, arguments: JSON.stringify({ city: EXAMPLE.city }) },
      },
    ],
  },
  { role: 'tool', tool_call_id: 'call_1', content: EXAMPLE.result },
  { role: 'assistant', content: EXAMPLE.answer },
];
const OPTIONS = { model: 'base', temperature: 0 };
const CHAT = {
  ...OPTIONS,
  max_tokens: 60,
  messages: [{ role: 'user' as const, content: QUESTION }],
};
const RESPOND = { ...OPTIONS, max_output_tokens: 60, input: QUESTION };

/** Returns the ways to ask a server. */
export function openaiWays(access: Access): Ways {
  const client = new OpenAI({ ...access, maxRetries: 0 });
  return {
    chat: {
      async output() {
        const response_format = zodResponseFormat(Report, 'report');
        const answer = await client.chat.completions.parse({ ...CHAT, response_format });
        return answer.choices[0]!.message.parsed?.city;
      },
      async 'streamed output'() {
        const response_format = zodResponseFormat(Report, 'report');
        const stream = client.chat.completions.stream({ ...CHAT, response_format });
        return (await stream.finalChatCompletion()).choices[0]!.message.parsed?.city;
      },
      'streamed tools': () => runTool(client),
      agent: () => runAgent(client),
    },
    responses: {
      async output() {
        const text = { format: zodTextFormat(Report, 'report') };
        return (await client.responses.parse({ ...RESPOND, text })).output_parsed?.city;
      },
      async 'streamed output'() {
        const text = { format: zodTextFormat(Report, 'report') };
        const stream = client.responses.stream({ ...RESPOND, text });
        return (await stream.finalResponse()).output_parsed?.city;
      },
      async tools() {
        const parameters = z.toJSONSchema(City);
        const { output } = await client.responses.create({
          ...RESPOND,
          tools: [{ type: 'function', ...WEATHER, parameters, strict: true }],
          tool_choice: 'required',
        });
        const [call] = output;
        assert.ok(call?.type === 'function_call');
        return City.parse(JSON.parse(call.arguments)).city;
      },
    },
  };
}

/** Forces a call. The answer to its result follows. */
async function runTool(client: OpenAI): Promise<string | undefined> {
  const { cities, getWeather } = createWeather();
  const runner = client.chat.completions.runTools({
    ...CHAT,
    tools: [zodFunction({ ...WEATHER, parameters: City, function: getWeather })],
    tool_choice: { type: 'function', function: { name: WEATHER.name } },
    stream: true,
  });
  await runner.done();
  checkHistory(runner.messages);
  const after = { ...CHAT, messages: runner.messages };
  const [answer] = (await client.chat.completions.create(after)).choices;
  assert.match(answer!.message.content!, /\w/);
  assert.ok(!answer!.message.tool_calls);
  return firstOf(cities);
}

/** A question, a call with valid arguments, and its result. */
function checkHistory(history: readonly OpenAI.Chat.ChatCompletionMessageParam[]): void {
  const [question, called, result] = history;
  assert.equal(history.length, 3);
  assert.ok(question?.role === 'user' && called?.role === 'assistant' && result?.role === 'tool');
  const [call] = called.tool_calls!;
  assert.ok(call?.type === 'function');
  assert.deepEqual(JSON.parse(call.function.arguments), { city: 'Paris' });
  assert.deepEqual([result.tool_call_id, result.content], [call.id, RESULT]);
}

/** Lets the model choose between calls and the answer. */
async function runAgent(client: OpenAI): Promise<void> {
  const { cities, getWeather } = createWeather();
  const runner = client.chat.completions.runTools({
    ...CHAT,
    messages: [...SHOWN, ...CHAT.messages],
    tools: [zodFunction({ ...WEATHER, parameters: City, function: getWeather })],
    tool_choice: 'auto',
    response_format: zodResponseFormat(Report, 'report'),
  });
  checkAgent(JSON.parse((await runner.finalContent())!), cities);
  const calls = cities.flatMap(() => ['assistant', 'tool']);
  assert.deepEqual(
    runner.messages.slice(SHOWN.length).map(({ role }) => role),
    ['user', ...calls, 'assistant'],
  );
}
