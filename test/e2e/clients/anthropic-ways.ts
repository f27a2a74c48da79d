// Anthropic's client.
import assert from 'node:assert/strict';
import Anthropic from '@anthropic-ai/sdk';
import { z } from 'zod';
import { type Access, City, QUESTION, RESULT, type Ways, WEATHER } from './ways.ts';

const messages = [{ role: 'user' as const, content: QUESTION }];
const ASK = { model: 'base', max_tokens: 60, temperature: 0, messages };
const TOOL = { ...WEATHER, input_schema: z.toJSONSchema(City) as Anthropic.Tool.InputSchema };
const FORCED = { ...ASK, tools: [TOOL], tool_choice: { type: 'any' as const } };

/** Returns the ways to ask a server. */
export function anthropicWays({ baseURL, apiKey }: Access): Ways {
  const client = new Anthropic({ baseURL: baseURL.replace(/\/v1$/, ''), apiKey, maxRetries: 0 });
  return {
    messages: {
      async text() {
        assert.match(await client.messages.stream(ASK).finalText(), /\w/);
        const [block] = (await client.messages.create(ASK)).content;
        assert.ok(block?.type === 'text' && /\w/.test(block.text));
      },
      tools: async () => answerCall(client, await client.messages.create(FORCED)),
      'streamed tools': async () =>
        answerCall(client, await client.messages.stream(FORCED).finalMessage()),
      async 'token counts'() {
        const { input_tokens } = await client.messages.countTokens({ model: 'base', messages });
        const { usage } = await client.messages.create(ASK);
        assert.equal(input_tokens, usage.input_tokens + usage.cache_read_input_tokens!);
      },
    },
  };
}

/** Continues with the result of the message's call. Returns the city of the call. */
async function answerCall(client: Anthropic, { content }: Anthropic.Message): Promise<string> {
  const [use] = content.filter((block) => block.type === 'tool_use');
  const last = await client.messages.create({
    ...ASK,
    tools: [TOOL],
    messages: [
      ...messages,
      { role: 'assistant', content },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: use!.id, content: RESULT }] },
    ],
  });
  assert.ok(last.content.length > 0);
  return City.parse(use!.input).city;
}
