// What a stranger reads if a request is refused: each message says what to do next.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readError, serve } from './served.ts';

const CHAT = '/v1/chat/completions';
const messages = [{ role: 'user', content: 'a' }];
const chat = { model: 'base', messages };
const schema = { type: 'object', properties: {} };

const REFUSED: readonly [what: string, url: string, body: unknown, message: RegExp][] = [
  ['an unknown route', '/v1/chats', chat, /\/docs lists all routes/],
  ['an unknown model', CHAT, { ...chat, model: 'nobody' }, /GET \/v1\/models lists the models/],
  [
    'two constraints',
    CHAT,
    { ...chat, structured_outputs: { json: schema }, guided_regex: 'a' },
    /cannot be combined with .*\. Send only one of them/,
  ],
  [
    'tools in two forms',
    CHAT,
    {
      ...chat,
      tools: [{ type: 'function', function: { name: 'f', parameters: schema } }],
      functions: [{ name: 'f', parameters: schema }],
    },
    /functions: cannot be combined with tools\. Send only one of them/,
  ],
  [
    'a result without its call',
    '/v1/responses',
    { model: 'base', input: [{ type: 'function_call_output', call_id: 'c', output: 'x' }] },
    /Send the function_call item before its output/,
  ],
  [
    'a route of OpenAI that is missing',
    '/v1/images/generations',
    {},
    /\/v1\/images of OpenAI's API is not supported/,
  ],
];

for (const [what, url, body, expected] of REFUSED) {
  test(`the message says what to do: ${what}`, async () => {
    const response = await serve().post(url, body);
    assert.ok(response.status >= 400 && response.status < 500);
    assert.match((await readError(response)).message, expected);
  });
}

test('the message says what to do: a body that is too large, with the limit in MiB', async () => {
  const response = await serve().post(CHAT, { ...chat, user: 'x'.repeat(2 ** 20) });
  assert.equal(response.status, 413);
  assert.match((await readError(response)).message, /larger than 1 MiB.* in several requests/);
});

test('the message says what to do: a body that is not JSON', async () => {
  const response = await serve().post(CHAT, '{"model": base}');
  assert.match((await readError(response)).message, /not one valid JSON value\. Check its quotes/);
});
