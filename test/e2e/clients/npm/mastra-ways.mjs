// Mastra.
import assert from 'node:assert/strict';
import { Agent } from '@mastra/core/agent';
import { createTool } from '@mastra/core/tools';
import { City, createWeather, firstOf, QUESTION, Report, WEATHER } from './ways.ts';

/** Returns the ways to ask a server. */
export function createWays(access) {
  return { chat: waysOf(access, 'chat'), responses: waysOf(access, 'responses') };
}

function waysOf({ baseURL, apiKey }, api) {
  const make = (tools = {}) =>
    new Agent({
      id: 'weather',
      name: 'weather',
      instructions: 'Answer briefly.',
      model: { providerId: 'lorikeet', modelId: 'base', url: baseURL, apiKey, api },
      tools,
    });
  const options = { modelSettings: { temperature: 0, maxOutputTokens: 60, maxRetries: 0 } };
  const callOnce = async (ask) => {
    const { cities, getWeather } = createWeather();
    const { name: id, description } = WEATHER;
    const execute = async (input) => ({ weather: getWeather(input) });
    const weather = createTool({ id, description, inputSchema: City, execute });
    const prepareStep = ({ stepNumber }) => ({
      toolChoice: stepNumber === 0 ? 'required' : 'none',
    });
    assert.ok(await ask(make({ weather }), { ...options, maxSteps: 2, prepareStep }));
    return firstOf(cities);
  };
  return {
    tools: () => callOnce(async (agent, request) => (await agent.generate(QUESTION, request)).text),
    'streamed tools': () =>
      callOnce(async (agent, request) => (await agent.stream(QUESTION, request)).text),
    async output() {
      const structuredOutput = { schema: Report };
      const { object } = await make().generate(QUESTION, { ...options, structuredOutput });
      return object.city;
    },
  };
}
