// Text of prompts and answers is in no log line, whatever goes wrong.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ServeError } from '../../src/common/errors.ts';
import { servePublished } from './published.ts';
import { idle, utf8 } from './served.ts';

const CANARY = 'c4n4ry';
const said = (part: string) => `${CANARY}-${part}`;

const COMPLETIONS = '/v1/completions';
const CHAT = '/v1/chat/completions';
const RESPONSES = '/v1/responses';
const MESSAGES = '/v1/messages';
const PREFETCH = '/v1/adapters/zen/prefetch';

const completion = (rest: object = {}) => ({
  model: 'zen',
  prompt: said('prompt'),
  max_tokens: 3,
  stop: [said('stop')],
  user: said('user'),
  prompt_cache_key: said('conversation'),
  safety_identifier: said('identifier'),
  metadata: { key: said('metadata') },
  ...rest,
});

const chat = (rest: object = {}) => {
  const { prompt, ...others } = completion();
  return { ...others, messages: [{ role: 'user', content: said('message') }], ...rest };
};

const response = (rest: object = {}) => {
  const { prompt, max_tokens, ...others } = completion();
  return { ...others, input: said('message'), max_output_tokens: max_tokens, ...rest };
};

const message = (rest: object = {}) => ({
  model: 'zen',
  max_tokens: 3,
  system: said('system'),
  messages: [{ role: 'user', content: [{ type: 'text', text: said('message') }] }],
  stop_sequences: [said('stop')],
  metadata: { user_id: said('user') },
  ...rest,
});

const tool = (name: string, description?: string) => ({
  type: 'function',
  function: { name, description },
});

const REQUESTS: [path: string, body: unknown][] = [
  [COMPLETIONS, completion()],
  [COMPLETIONS, completion({ stream: true, echo: true, logprobs: 2 })],
  [COMPLETIONS, completion({ model: said('model') })],
  [COMPLETIONS, completion({ model: `zen:${said('alias')}` })],
  [COMPLETIONS, completion({ model: 'zen+0.5*tone' })],
  [COMPLETIONS, completion({ prompt: said('long').repeat(2000) })],
  [COMPLETIONS, completion({ temperature: said('temperature') })],
  [COMPLETIONS, completion({ [said('field')]: said('value'), unknown_field: said('value') })],
  [COMPLETIONS, completion({ tools: [said('tool')] })],
  [COMPLETIONS, `{"prompt": "${said('truncated')}`],
  [COMPLETIONS, completion({ model: 'broken' })],
  [COMPLETIONS, completion({ model: 'lost' })],
  [MESSAGES, message()],
  [MESSAGES, message({ stream: true, tools: [{ name: 'f', description: said('tool') }] })],
  [MESSAGES, message({ messages: [{ role: said('role'), content: said('content') }] })],
  [MESSAGES, message({ tools: [{ name: said('a tool'), input_schema: {} }] })],
  [`${MESSAGES}/count_tokens`, message()],
  [CHAT, chat()],
  [CHAT, chat({ stream: true, n: 3 })],
  [CHAT, chat({ tools: [tool(said('tool')), tool(said('tool'))] })],
  [CHAT, chat({ tools: [tool('f', said('description'))], tool_choice: tool(said('choice')) })],
  [CHAT, chat({ messages: [{ role: 'tool', tool_call_id: said('id'), content: said('result') }] })],
  [CHAT, chat({ messages: [{ role: said('role'), content: said('message') }] })],
  [CHAT, chat({ messages: [{ role: 'user', content: [{ type: said('type') }] }] })],
  [RESPONSES, response()],
  [`${RESPONSES}/input_tokens`, response()],
  [RESPONSES, response({ stream: true, instructions: said('instructions') })],
  [RESPONSES, response({ input: [{ role: said('role'), content: said('message') }] })],
  [RESPONSES, response({ previous_response_id: said('response') })],
  [PREFETCH, { keep_warm_until: said('until') }],
  [`/v1/adapters/${said('name')}/prefetch`, {}],
];

test('T37: nothing that a request says is logged, be it served, refused or failed', async () => {
  const served = servePublished(undefined, { reply: () => utf8(said('answer').repeat(9)) });
  for (const name of ['zen', 'tone', 'broken', 'lost']) await served.publish('local', name);
  await served.store.delete('local/lost/1/adapter_model.safetensors');
  served.leases.beforeLease = ({ parts }) => {
    const isBroken = parts.length === 1 && parts[0]!.directory.includes(broken);
    if (isBroken) throw new ServeError('adapter_invalid', 'rank', { param: 'r' });
  };
  const { repository } = served;
  const broken = (await repository.readManifest('local', 'broken', 1))!.digest;
  const headers = { authorization: `Bearer ${said('key')}` };
  const statuses = new Set<number>();
  for (const [path, body] of REQUESTS) {
    const response = await served.post(path, body, { headers });
    await response.text();
    statuses.add(response.status);
  }
  const leaving = new AbortController();
  const gone = served.post(COMPLETIONS, completion({ max_tokens: 200 }), {
    headers,
    signal: leaving.signal,
  });
  leaving.abort();
  await gone.catch(() => {});
  served.engine.failAt(3);
  await (await served.post(COMPLETIONS, completion({ stream: true }), { headers })).text();
  await idle(served, 200);
  assert.deepEqual([...statuses].sort(), [200, 400, 404, 422, 503]);
  assert.ok(served.logged.some((line) => JSON.parse(line).msg === 'usage'));
  const leaks = served.logged.filter((line) => line.includes(CANARY));
  assert.deepEqual(leaks, []);
});
