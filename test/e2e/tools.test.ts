// Structured output and tools with the real base and clients of TypeScript: each way ends a task unchanged.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateObject, generateText, streamObject, streamText, tool } from 'ai';
import OpenAI from 'openai';
import { zodFunction, zodResponseFormat, zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { type Serving, startServing } from './program.ts';
import { fetchBase, preparedHome } from './served.ts';

const base = await fetchBase();
const QUESTION = 'What is the weather in Paris?';
const messages = [{ role: 'user' as const, content: QUESTION }];
const City = z.object({ city: z.enum(['Paris', 'Rome']) });
const Report = City.extend({ sky: z.enum(['sunny', 'rainy']) });
const WEATHER = { name: 'get_weather', description: 'Get the weather of a city' };

/** A question, a call with valid arguments, and its result. */
function checkHistory(history: readonly OpenAI.Chat.ChatCompletionMessageParam[]): void {
  const roles = history.map(({ role }) => role);
  assert.deepEqual(roles, ['user', 'assistant', 'tool']);
  const [, called, result] = history;
  assert.ok(called?.role === 'assistant' && result?.role === 'tool');
  const [call] = called.tool_calls!;
  assert.ok(call?.type === 'function');
  assert.deepEqual(JSON.parse(call.function.arguments), { city: 'Paris' });
  assert.equal(result.tool_call_id, call.id);
  assert.equal(result.content, 'It is sunny in Paris.');
}

describe('clients of TypeScript', { skip: 'reason' in base ? base.reason : false }, () => {
  let serving: Serving;
  before(async () => {
    assert.ok('dir' in base);
    serving = await startServing(['--model', base.dir], await preparedHome(base.dir, { after }));
  });
  after(() => serving.stop());
  const access = () => ({ baseURL: `${serving.url}/v1`, apiKey: 'none' });

  describe('openai', () => {
    const client = () => new OpenAI({ ...access(), maxRetries: 0 });
    const chat = { model: 'base', temperature: 0, max_tokens: 60, messages };
    const respond = { model: 'base', temperature: 0, max_output_tokens: 60, input: QUESTION };

    const ways: Record<string, () => Promise<z.infer<typeof City> | null>> = {
      async parse() {
        const format = zodResponseFormat(Report, 'report');
        const answer = await client().chat.completions.parse({ ...chat, response_format: format });
        return answer.choices[0]!.message.parsed;
      },
      async stream() {
        const format = zodResponseFormat(Report, 'report');
        const stream = client().chat.completions.stream({ ...chat, response_format: format });
        return (await stream.finalChatCompletion()).choices[0]!.message.parsed;
      },
      async 'responses.parse'() {
        const text = { format: zodTextFormat(Report, 'report') };
        return (await client().responses.parse({ ...respond, text })).output_parsed;
      },
      async 'responses.stream'() {
        const text = { format: zodTextFormat(Report, 'report') };
        const stream = client().responses.stream({ ...respond, text });
        return (await stream.finalResponse()).output_parsed;
      },
      async 'responses.create'() {
        const parameters = z.toJSONSchema(City);
        const { output } = await client().responses.create({
          ...respond,
          tools: [{ type: 'function', ...WEATHER, parameters, strict: true }],
          tool_choice: 'required',
        });
        const [call] = output;
        assert.ok(call?.type === 'function_call');
        return City.parse(JSON.parse(call.arguments));
      },
    };
    for (const [way, run] of Object.entries(ways)) {
      test(`${way} gives a checked object`, async () => {
        assert.equal((await run())!.city, 'Paris');
      });
    }

    test('runTools calls a function with valid arguments, and the answer follows', async () => {
      const cities: string[] = [];
      const weather = zodFunction({
        ...WEATHER,
        parameters: City,
        function: ({ city }) => {
          cities.push(city);
          return 'It is sunny in Paris.';
        },
      });
      const runner = client().chat.completions.runTools({
        ...chat,
        tools: [weather],
        tool_choice: { type: 'function', function: { name: 'get_weather' } },
        stream: true,
      });
      await runner.done();
      assert.deepEqual(cities, ['Paris']);
      checkHistory(runner.messages);
      const after = { ...chat, messages: runner.messages };
      const [answer] = (await client().chat.completions.create(after)).choices;
      assert.match(answer!.message.content!, /\w/);
      assert.ok(!answer!.message.tool_calls);
    });
  });

  for (const [name, model] of Object.entries({
    'openai-compatible': () => {
      const provider = { name: 'lorikeet', supportsStructuredOutputs: true };
      return createOpenAICompatible({ ...access(), ...provider })('base');
    },
    'openai, chat': () => createOpenAI(access()).chat('base'),
    'openai, responses': () => createOpenAI(access()).responses('base'),
  })) {
    describe(`ai with the provider ${name}`, () => {
      const options = { temperature: 0, maxOutputTokens: 60, maxRetries: 0, prompt: QUESTION };

      test('generates and streams an object', async () => {
        const request = { model: model(), schema: Report, ...options };
        const { object } = await generateObject(request);
        assert.equal(object.city, 'Paris');
        const streamed = streamObject(request);
        let last: unknown;
        for await (const partial of streamed.partialObjectStream) last = partial;
        assert.deepEqual(last, object);
        assert.deepEqual(await streamed.object, object);
      });

      test('calls a tool, and answers with its result', async () => {
        const cities: string[] = [];
        const execute = ({ city }: z.infer<typeof City>) => {
          cities.push(city);
          return 'It is sunny in Paris.';
        };
        const tools = {
          get_weather: tool({ description: WEATHER.description, inputSchema: City, execute }),
        };
        const request = {
          model: model(),
          tools,
          stopWhen: ({ steps }: { steps: unknown[] }) => steps.length === 2,
          prepareStep: ({ stepNumber }: { stepNumber: number }) => ({
            toolChoice: stepNumber === 0 ? ('required' as const) : ('none' as const),
          }),
          ...options,
        };
        assert.ok((await generateText(request)).text);
        assert.ok(await streamText(request).text);
        assert.deepEqual(cities, ['Paris', 'Paris']);
      });
    });
  }
});
