// No route ignores an unknown field or query parameter, and every field of OpenAI's and Anthropic's types has a row.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { treatmentOf } from '../../scripts/documented-fields.ts';
import { MESSAGE_FIELDS } from '../../src/http/schema/chat.ts';
import type { EndpointName, FieldRow } from '../../src/http/schema/fields.ts';
import { BLOCK_FIELDS } from '../../src/http/schema/message-blocks.ts';
import { MESSAGE_TOOL_FIELDS, messageFields } from '../../src/http/schema/messages.ts';
import { classifyFields, embeddingFields } from '../../src/http/schema/pooled.ts';
import { requestFields, STREAM_OPTION_FIELDS } from '../../src/http/schema/request-fields.ts';
import {
  CALL_ITEM_FIELDS,
  ITEM_PART_FIELDS,
  MESSAGE_ITEM_FIELDS,
} from '../../src/http/schema/response-items.ts';
import { responseFields } from '../../src/http/schema/responses.ts';
import { DEFAULT_LIMITS } from '../../src/http/wire/limits.ts';
import { type ApiDocument, OPTIONAL_PARTS, operationsOf } from './documented-routes.ts';
import { serveKeyed } from './keyed.ts';
import { assertRefused, readError, readOk, serve } from './served.ts';

// Tinker's clients of other versions send more fields.
const { tinker: _, ...parts } = OPTIONAL_PARTS;
const { ask } = serveKeyed({ tenants: { boss: {} }, admins: ['boss'], ...parts });
const document = await readOk<ApiDocument>(await ask('boss', '/openapi.json'));

/** Probes of balancers and scrapers, which may add a parameter to get past caches. */
const LENIENT = ['/health', '/livez', '/readyz', '/metrics'];
const routes = operationsOf(document).flatMap(({ name, requestBody }) => {
  const [method = '', path = ''] = name.split(' ');
  const url = path.replaceAll(/\{\w+\}/g, 'x');
  const isJson = requestBody?.content?.['application/json'] !== undefined;
  return LENIENT.includes(path) ? [] : [{ name, method, url, isJson }];
});

describe('every route', () => {
  assert.ok(routes.filter(({ isJson }) => isJson).length >= 20);
  for (const { name, url, method, isJson } of routes) {
    test(`refuses a query parameter that it does not know: ${name}`, async () => {
      const refused = await ask('boss', `${url}?surprise=1`, undefined, { method });
      await assertRefused(refused, { code: 'unknown_parameter', param: 'surprise' });
    });
    if (!isJson) continue;
    test(`refuses a field that it does not know: ${name}`, async () => {
      const response = await ask('boss', url, { surprise: 1 });
      assert.equal(response.status, 400);
      assert.deepEqual(await readError(response), {
        message: "Unknown parameter: 'surprise'.",
        type: 'invalid_request_error',
        param: 'surprise',
        code: 'unknown_parameter',
      });
    });
  }

  test('repeats only the beginning of a long name', async () => {
    const error = await readError(await ask('boss', '/v1/completions', { ['x'.repeat(1000)]: 1 }));
    assert.equal(error.param, 'x'.repeat(64));
  });
});

test('requests with the fields that vllm-router adds are served', async () => {
  const added = {
    ...{ stream: false, no_stop_trim: false, ignore_eos: false, skip_special_tokens: true },
    return_hidden_states: false,
  };
  const ofChat = {
    ...{ logprobs: false, continue_final_message: false, include_reasoning: true },
    ...{ separate_reasoning: true, stream_reasoning: true },
  };
  const messages = [{ role: 'user', content: 'hi' }];
  const { post } = serve();
  await readOk(
    await post('/v1/chat/completions', { messages, ...added, ...ofChat, model: 'base' }),
  );
  await readOk(
    await post('/v1/completions', { prompt: 'hi', ...added, echo: false, model: 'base' }),
  );
});

test("every field of OpenAI's and Anthropic's types has a row", () => {
  const bounds = { vocabSize: 1, limits: DEFAULT_LIMITS };
  const chat = readFileSync(
    'node_modules/openai/resources/chat/completions/completions.d.ts',
    'utf8',
  );
  const completions = readFileSync('node_modules/openai/resources/completions.d.ts', 'utf8');
  const responses = readFileSync('node_modules/openai/resources/responses/responses.d.ts', 'utf8');
  const messages = readFileSync(
    'node_modules/@anthropic-ai/sdk/resources/messages/messages.d.ts',
    'utf8',
  );
  const block = { ...BLOCK_FIELDS, type: 1 };
  const item = { ...MESSAGE_ITEM_FIELDS, content: 1 };
  const rows = requestFields(bounds);
  const tables: [string, string, object, number][] = [
    [chat, 'ChatCompletionCreateParamsBase', rows, 30],
    [completions, 'CompletionCreateParamsBase', rows, 15],
    [chat, 'ChatCompletionMessage', { ...MESSAGE_FIELDS, content: 1 }, 7],
    [chat, 'ChatCompletionAssistantMessageParam', { ...MESSAGE_FIELDS, content: 1 }, 7],
    [chat, 'ChatCompletionToolMessageParam', { ...MESSAGE_FIELDS, content: 1 }, 3],
    [chat, 'ChatCompletionStreamOptions', STREAM_OPTION_FIELDS, 2],
    [
      responses,
      'ResponseCreateParamsBase',
      responseFields({ ...bounds, keepsResponses: true }),
      30,
    ],
    [responses, 'EasyInputMessage', item, 4],
    [responses, 'ResponseOutputMessage', item, 6],
    [responses, 'ResponseFunctionToolCall', { ...CALL_ITEM_FIELDS, type: 1 }, 8],
    [
      responses,
      'ResponseFunctionToolCallOutputItem',
      { ...CALL_ITEM_FIELDS, type: 1, output: 1 },
      7,
    ],
    [responses, 'ResponseInputText', ITEM_PART_FIELDS, 3],
    [responses, 'ResponseOutputText', ITEM_PART_FIELDS, 4],
    [responses, 'ResponseOutputRefusal', ITEM_PART_FIELDS, 2],
    [messages, 'MessageCreateParamsBase', messageFields(bounds), 15],
    [messages, 'MessageCountTokensParams', messageFields(bounds), 8],
    [messages, 'TextBlockParam', block, 3],
    [messages, 'ToolUseBlockParam', block, 5],
    [messages, 'ToolResultBlockParam', block, 5],
    [messages, 'Tool', MESSAGE_TOOL_FIELDS, 8],
  ];
  for (const [source, name, table, least] of tables) {
    const fields = fieldsOf(source, name);
    assert.ok(fields.length >= least, `${name}: ${fields}`);
    assert.deepEqual(
      fields.filter((field) => !Object.hasOwn(table, field)),
      [],
      name,
    );
  }
});

/** The rows that an endpoint treats in this way, each as a function that says whether it accepts a value. */
function rowsOf(treatment: 'refused' | 'default only') {
  const bounds = { vocabSize: 1, limits: DEFAULT_LIMITS };
  const tables: readonly (readonly [EndpointName, Readonly<Record<string, FieldRow>>])[] = [
    ['chat', requestFields(bounds)],
    ['completions', requestFields(bounds)],
    ['chat', MESSAGE_FIELDS],
    ['responses', responseFields({ ...bounds, keepsResponses: true })],
    ['responses', CALL_ITEM_FIELDS],
    ['messages', messageFields(bounds)],
    ['messages', MESSAGE_TOOL_FIELDS],
    ['embeddings', embeddingFields({ ...bounds, hiddenSize: 1 })],
    ['classify', classifyFields(bounds)],
  ];
  return tables.flatMap(([endpoint, table]) =>
    Object.entries(table)
      .filter(([, row]) => treatmentOf(row, endpoint) === treatment)
      .map(([field, row]) => ({
        name: `${field} of ${endpoint}`,
        accepts: (value: unknown) => row[endpoint]!.safeParse(value).success,
      })),
  );
}

test('a refused field may ask for nothing, with null or [], and for nothing else', () => {
  const refused = rowsOf('refused');
  assert.ok(refused.length > 40);
  for (const { name, accepts } of refused) {
    for (const value of [undefined, null, []]) assert.ok(accepts(value), name);
    for (const value of [{}, false, true, 0, '', 'x', [null], { a: 1 }]) {
      assert.ok(!accepts(value), `${name}: ${JSON.stringify(value)}`);
    }
  }
});

test('a field with one accepted value accepts no value of another type', () => {
  const limited = rowsOf('default only');
  assert.ok(limited.length > 20);
  for (const { name, accepts } of limited) {
    assert.ok(accepts(null), name);
    for (const value of [12345, 'x', [{}]]) assert.ok(!accepts(value), name);
    assert.ok(!(accepts(true) && accepts(false)), name);
  }
});

/** Names of an interface's own members. */
function fieldsOf(source: string, name: string): string[] {
  const start = source.indexOf(`export interface ${name} {`);
  const body = source.slice(start, source.indexOf('\n}\n', start));
  return [...body.matchAll(/^ {4}(\w+)\??:/gm)].map(([, field]) => field!);
}
