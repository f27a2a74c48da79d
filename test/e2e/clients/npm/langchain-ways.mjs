// LangChain, whose agents are graphs of LangGraph.
import assert from 'node:assert/strict';
import { ChatAnthropic } from '@langchain/anthropic';
import { ChatOpenAI } from '@langchain/openai';
import { createAgent, createMiddleware, HumanMessage, ToolMessage, tool } from 'langchain';
import { z } from 'zod';
import { City, createWeather, firstOf, QUESTION, RESULT, Report, WEATHER } from './ways.ts';

const OPTIONS = { model: 'base', temperature: 0, maxTokens: 60, maxRetries: 0 };
const callOnce = createMiddleware({
  name: 'call once',
  wrapModelCall(request, handler) {
    const hasResult = ToolMessage.isInstance(request.messages.at(-1));
    return handler({ ...request, toolChoice: hasResult ? 'none' : WEATHER.name });
  },
});

/** Returns the ways to ask a server. */
export function createWays({ baseURL, apiKey }) {
  const openai = (options) =>
    new ChatOpenAI({ ...OPTIONS, apiKey, configuration: { baseURL }, ...options });
  const anthropic = new ChatAnthropic({
    ...OPTIONS,
    apiKey,
    anthropicApiUrl: baseURL.replace(/\/v1$/, ''),
  });
  return {
    chat: waysOf(openai({ useResponsesApi: false })),
    responses: waysOf(openai({ useResponsesApi: true })),
    // Its package leaves enums out of the schema that it sends.
    messages: waysOf(anthropic, z.object({ isSunny: z.boolean() })),
  };
}

function waysOf(chat, output = Report) {
  const structured = async (method, schema) =>
    (await chat.withStructuredOutput(schema, { name: 'report', method }).invoke(QUESTION)).city;
  const weather = (execute) => tool(execute, { ...WEATHER, schema: City });
  return {
    tools: () => structured('functionCalling', Report),
    output: () => structured('jsonSchema', output),
    async 'streamed tools'() {
      const bound = chat.bindTools([weather(() => RESULT)], { tool_choice: WEATHER.name });
      let called;
      for await (const chunk of await bound.stream(QUESTION)) {
        called = called ? called.concat(chunk) : chunk;
      }
      const [call] = called.tool_calls;
      const result = new ToolMessage({ content: RESULT, tool_call_id: call.id });
      const answer = await chat.invoke([new HumanMessage(QUESTION), called, result]);
      assert.ok(answer.text);
      return call.args.city;
    },
    async 'agent with a call'() {
      const { cities, getWeather } = createWeather();
      const agent = createAgent({
        model: chat,
        tools: [weather(getWeather)],
        middleware: [callOnce],
      });
      const { messages } = await agent.invoke({ messages: [new HumanMessage(QUESTION)] });
      assert.ok(messages.at(-1).text);
      return firstOf(cities);
    },
  };
}
