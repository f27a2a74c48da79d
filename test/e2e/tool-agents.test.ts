// Agents of TypeScript on the real base: with tools and a format of the final answer, the model chooses in every step between a
// call and the answer. A turn of the conversation shows the small model when to do which. It does not always choose the call, so
// only the form of what it does is checked.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, type ModelMessage, Output, stepCountIs, tool } from 'ai';
import OpenAI from 'openai';
import { zodFunction, zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { type Serving, startServing } from './program.ts';
import { fetchBase, preparedHome } from './served.ts';

const base = await fetchBase();
const QUESTION = 'What is the weather in Paris?';
const City = z.object({ city: z.enum(['Paris', 'Rome']) });
const Report = City.extend({ sky: z.enum(['sunny', 'rainy']) });
const WEATHER = { name: 'get_weather', description: 'Get the weather of a city' };
/** A turn that shows a small model when to call and when to answer. */
const EXAMPLE: OpenAI.Chat.ChatCompletionMessageParam[] = [
  { role: 'user', content: 'What is the weather in Rome?' },
  {
    role: 'assistant',
    content: null,
    tool_calls: [
      {
        id: 'call_1',
        type: 'function',
        function: { name: 'get_weather', arguments: '{"city":"Rome"}' },
      },
    ],
  },
  { role: 'tool', tool_call_id: 'call_1', content: 'It is rainy in Rome.' },
  { role: 'assistant', content: '{"city":"Rome","sky":"rainy"}' },
];
/** The same turn as the messages of ai. */
const AI_EXAMPLE: ModelMessage[] = [
  { role: 'user', content: 'What is the weather in Rome?' },
  {
    role: 'assistant',
    content: [
      { type: 'tool-call', toolCallId: 'call_1', toolName: 'get_weather', input: { city: 'Rome' } },
    ],
  },
  {
    role: 'tool',
    content: [
      {
        type: 'tool-result',
        toolCallId: 'call_1',
        toolName: 'get_weather',
        output: { type: 'text', value: 'It is rainy in Rome.' },
      },
    ],
  },
  { role: 'assistant', content: '{"city":"Rome","sky":"rainy"}' },
];
/** A tool that remembers the cities of its calls. */
function createWeather() {
  const cities: string[] = [];
  const getWeather = ({ city }: z.infer<typeof City>) => {
    cities.push(city);
    return `It is sunny in ${city}.`;
  };
  return { cities, getWeather };
}

describe('agents of TypeScript', { skip: 'reason' in base ? base.reason : false }, () => {
  let serving: Serving;
  before(async () => {
    assert.ok('dir' in base);
    serving = await startServing(['--model', base.dir], await preparedHome(base.dir, { after }));
  });
  after(() => serving.stop());
  const access = () => ({ baseURL: `${serving.url}/v1`, apiKey: 'none' });

  test("openai's runTools", async () => {
    const { cities, getWeather } = createWeather();
    const client = new OpenAI({ ...access(), maxRetries: 0 });
    const runner = client.chat.completions.runTools({
      model: 'base',
      temperature: 0,
      max_tokens: 60,
      messages: [...EXAMPLE, { role: 'user', content: QUESTION }],
      tools: [zodFunction({ ...WEATHER, parameters: City, function: getWeather })],
      tool_choice: 'auto',
      response_format: zodResponseFormat(Report, 'report'),
    });
    const answer = await runner.finalContent();
    assert.ok(Report.safeParse(JSON.parse(answer!)).success, answer!);
    const calls = cities.flatMap(() => ['assistant', 'tool']);
    assert.deepEqual(
      runner.messages.slice(EXAMPLE.length).map(({ role }) => role),
      ['user', ...calls, 'assistant'],
    );
  });

  for (const [name, model] of Object.entries({
    'openai-compatible': () => {
      const provider = { name: 'lorikeet', supportsStructuredOutputs: true };
      return createOpenAICompatible({ ...access(), ...provider })('base');
    },
    'openai, chat': () => createOpenAI(access()).chat('base'),
    'openai, responses': () => createOpenAI(access()).responses('base'),
  })) {
    test(`ai with the provider ${name}`, async () => {
      const { cities, getWeather: execute } = createWeather();
      const { output } = await generateText({
        model: model(),
        ...{ temperature: 0, maxOutputTokens: 60, maxRetries: 0 },
        messages: [...AI_EXAMPLE, { role: 'user', content: QUESTION }],
        tools: {
          get_weather: tool({ description: WEATHER.description, inputSchema: City, execute }),
        },
        stopWhen: stepCountIs(4),
        output: Output.object({ schema: Report }),
      });
      assert.ok(Report.safeParse(output).success, JSON.stringify(output));
      assert.ok(
        cities.every((city) => City.safeParse({ city }).success),
        `${cities}`,
      );
    });
  }
});
