// OpenAI's Agents SDK.
import assert from 'node:assert/strict';
import {
  Agent,
  OpenAIConversationsSession,
  OpenAIProvider,
  Runner,
  tool,
  user,
} from '@openai/agents';
import { City, createWeather, firstOf, QUESTION, RESULT, Report, WEATHER } from './ways.ts';

const AGAIN = user('And in Rome?');

/** Returns the ways to ask a server. */
export function createWays(access) {
  return {
    chat: waysOf(createMakers(access, false)),
    responses: { ...waysOf(createMakers(access, true)), ...keptWays(access) },
  };
}

function createMakers(access, useResponses) {
  const modelProvider = new OpenAIProvider({ ...access, useResponses });
  const runner = new Runner({ modelProvider, tracingDisabled: true });
  const make = ({ toolChoice, ...options } = {}) =>
    new Agent({
      name: 'Paris',
      model: 'base',
      modelSettings: { temperature: 0, maxTokens: 60, toolChoice },
      ...options,
    });
  const withWeather = () => {
    const { cities, getWeather } = createWeather();
    const tools = [tool({ ...WEATHER, parameters: City, execute: getWeather })];
    return { cities, agent: make({ tools, toolChoice: 'required' }) };
  };
  return { runner, make, withWeather };
}

function waysOf({ runner, make, withWeather }) {
  return {
    async tools() {
      const { cities, agent } = withWeather();
      assert.ok((await runner.run(agent, QUESTION)).finalOutput);
      return firstOf(cities);
    },
    async 'streamed tools'() {
      const { cities, agent } = withWeather();
      const streamed = await runner.run(agent, QUESTION, { stream: true });
      const names = [];
      for await (const event of streamed) {
        if (event.type === 'run_item_stream_event') names.push(event.name);
      }
      await streamed.completed;
      assert.deepEqual(names.slice(0, 2), ['tool_called', 'tool_output']);
      assert.ok(streamed.finalOutput);
      return firstOf(cities);
    },
    async 'several turns'() {
      const { cities, agent } = withWeather();
      const { history } = await runner.run(agent, QUESTION);
      assert.ok(history.some((item) => JSON.stringify(item).includes(RESULT)));
      assert.ok((await runner.run(make(), [...history, AGAIN])).finalOutput);
      return firstOf(cities);
    },
    async output() {
      return (await runner.run(make({ outputType: Report }), QUESTION)).finalOutput.city;
    },
    async handoff() {
      const expert = make();
      const first = make({ toolChoice: 'required', handoffs: [expert] });
      assert.equal((await runner.run(first, QUESTION)).lastAgent, expert);
    },
  };
}

function keptWays(access) {
  const { runner, make, withWeather } = createMakers(access, true);
  return {
    async 'previous response'() {
      const agent = make({ outputType: Report });
      const first = await runner.run(agent, QUESTION);
      const previousResponseId = first.lastResponseId;
      const second = await runner.run(agent, [AGAIN], { previousResponseId });
      const [before, after] = [first, second].map((run) => run.rawResponses[0].usage);
      assert.ok(after.inputTokens > before.totalTokens);
    },
    async conversation() {
      const session = new OpenAIConversationsSession(access);
      const { cities, agent } = withWeather();
      await runner.run(agent, QUESTION, { session });
      const items = await session.getItems();
      assert.deepEqual(
        items.map(({ type }) => type),
        ['message', 'function_call', 'function_call_result', 'message'],
      );
      return firstOf(cities);
    },
  };
}
