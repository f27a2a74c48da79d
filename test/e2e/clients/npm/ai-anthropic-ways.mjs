// The AI SDK with its provider for Anthropic.
import assert from 'node:assert/strict';
import { createAnthropic } from '@ai-sdk/anthropic';
import { generateText, Output, stepCountIs, streamText, tool } from 'ai';
import { City, createWeather, firstOf, QUESTION, Report, WEATHER } from './ways.ts';

const OPTIONS = { temperature: 0, maxOutputTokens: 60, maxRetries: 0, prompt: QUESTION };

/** Returns the ways to ask a server. */
export function createWays(access) {
  const model = createAnthropic(access)('base');
  const callOnce = async (ask) => {
    const { cities, getWeather: execute } = createWeather();
    const tools = {
      [WEATHER.name]: tool({ description: WEATHER.description, inputSchema: City, execute }),
    };
    const prepareStep = ({ stepNumber }) => ({
      toolChoice: stepNumber === 0 ? 'required' : 'auto',
    });
    const request = { ...OPTIONS, model, tools, prepareStep, stopWhen: stepCountIs(2) };
    assert.equal((await ask(request)).length, 2);
    return firstOf(cities);
  };
  return {
    messages: {
      tools: () => callOnce(async (request) => (await generateText(request)).steps),
      'streamed tools': () => callOnce((request) => streamText(request).steps),
      async output() {
        const output = Output.object({ schema: Report });
        return (await generateText({ ...OPTIONS, model, output })).output.city;
      },
    },
  };
}
