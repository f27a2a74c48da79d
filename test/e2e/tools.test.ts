// Tools with the real base and the official client: a forced call has valid arguments, and its result ends the task.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { temporaryFolder } from '../fixtures.ts';
import { startServing } from './program.ts';
import { fetchBase } from './served.ts';

const base = await fetchBase();
const skip = 'reason' in base ? base.reason : false;

test('runTools calls a function with valid arguments, and the answer follows', {
  skip,
}, async (t) => {
  const dir = 'dir' in base ? base.dir : '';
  const serving = await startServing(['--model', dir], temporaryFolder(t));
  t.after(() => serving.stop());
  const client = new OpenAI({ baseURL: `${serving.url}/v1`, apiKey: 'none' });
  const cities: string[] = [];
  const weather = {
    name: 'get_weather',
    description: 'Get the weather of a city',
    parameters: {
      type: 'object',
      properties: {
        city: { type: 'string', maxLength: 20 },
        unit: { enum: ['celsius', 'kelvin'] },
      },
      required: ['city', 'unit'],
      additionalProperties: false,
    },
    parse: JSON.parse,
    function: ({ city, unit }: { city: string; unit: string }) => {
      assert.ok(['celsius', 'kelvin'].includes(unit));
      cities.push(city);
      return 'It is sunny in Paris.';
    },
  };
  const request = { model: 'base', temperature: 0, max_tokens: 100 };
  const runner = client.chat.completions.runTools({
    ...request,
    messages: [{ role: 'user', content: 'What is the weather in Paris?' }],
    tools: [{ type: 'function', function: weather }],
    tool_choice: { type: 'function', function: { name: 'get_weather' } },
    stream: true,
  });
  await runner.done();
  assert.deepEqual(cities, ['Paris']);
  const { choices } = await client.chat.completions.create({
    ...request,
    messages: runner.messages,
  });
  assert.match(choices[0]!.message.content!, /weather|sun/i);
});
