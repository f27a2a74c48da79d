// The AI SDK with a provider.
import assert from 'node:assert/strict';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import {
  generateObject,
  generateText,
  type LanguageModel,
  type ModelMessage,
  Output,
  stepCountIs,
  streamObject,
  streamText,
  tool,
} from 'ai';
import {
  type Access,
  City,
  checkAgent,
  createWeather,
  EXAMPLE,
  firstOf,
  QUESTION,
  Report,
  type Ways,
  WEATHER,
} from './ways.ts';

const CALL = { toolCallId: 'call_1', toolName: WEATHER.name };
const SHOWN: ModelMessage[] = [
  { role: 'user', content: EXAMPLE.question },
  {
    role: 'assistant',
    content: [{ type: 'tool-call', ...CALL, input: { city: EXAMPLE.city } }],
  },
  {
    role: 'tool',
    content: [{ type: 'tool-result', ...CALL, output: { type: 'text', value: EXAMPLE.result } }],
  },
  { role: 'assistant', content: EXAMPLE.answer },
];
const OPTIONS = { temperature: 0, maxOutputTokens: 60, maxRetries: 0 };

/** Returns the ways of the provider for OpenAI. */
export function aiOpenaiWays(access: Access): Ways {
  const provider = createOpenAI(access);
  return {
    chat: waysOf(() => provider.chat('base')),
    responses: waysOf(() => provider.responses('base')),
  };
}

/** Returns the ways of the provider for compatible servers. */
export function aiCompatibleWays(access: Access): Ways {
  const options = { ...access, name: 'lorikeet', supportsStructuredOutputs: true };
  return { chat: waysOf(() => createOpenAICompatible(options)('base')) };
}

function waysOf(model: () => LanguageModel): Ways[string] {
  const request = () => ({ model: model(), schema: Report, ...OPTIONS, prompt: QUESTION });
  return {
    async output() {
      return (await generateObject(request())).object.city;
    },
    async 'streamed output'() {
      const streamed = streamObject(request());
      let last: unknown;
      for await (const partial of streamed.partialObjectStream) last = partial;
      const whole = await streamed.object;
      assert.deepEqual(whole, last);
      return whole.city;
    },
    tools: () => callOnce(async (tools) => (await generateText({ ...tools, model: model() })).text),
    'streamed tools': () => callOnce((tools) => streamText({ ...tools, model: model() }).text),
    agent: () => choose(model()),
  };
}

function weatherTool() {
  const { cities, getWeather: execute } = createWeather();
  const { name, description } = WEATHER;
  return { cities, tools: { [name]: tool({ description, inputSchema: City, execute }) } };
}

function onceOptions(tools: ReturnType<typeof weatherTool>['tools']) {
  return {
    ...OPTIONS,
    tools,
    prompt: QUESTION,
    stopWhen: ({ steps }: { steps: unknown[] }) => steps.length === 2,
    prepareStep: ({ stepNumber }: { stepNumber: number }) => ({
      toolChoice: stepNumber === 0 ? ('required' as const) : ('none' as const),
    }),
  };
}

/** Forces a call, and then an answer. */
async function callOnce(
  ask: (options: ReturnType<typeof onceOptions>) => PromiseLike<string>,
): Promise<string | undefined> {
  const { cities, tools } = weatherTool();
  assert.ok(await ask(onceOptions(tools)));
  assert.equal(cities.length, 1);
  return firstOf(cities);
}

/** Lets the model choose between calls and the answer. */
async function choose(model: LanguageModel): Promise<void> {
  const { cities, tools } = weatherTool();
  const { output } = await generateText({
    ...OPTIONS,
    model,
    tools,
    messages: [...SHOWN, { role: 'user', content: QUESTION }],
    stopWhen: stepCountIs(4),
    output: Output.object({ schema: Report }),
  });
  checkAgent(output, cities);
}
