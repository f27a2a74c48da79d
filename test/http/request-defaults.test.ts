// An adapter's own response_format and tools, for requests that leave them out.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ChatCompletion, Completion, Model } from '../../src/contracts/openai.ts';
import { CONFIG } from '../adapters/sample.ts';
import { adapterFolder } from './adapter-folder.ts';
import { assertRefused, readOk, serve, utf8 } from './served.ts';
import { written } from './tool-serving.ts';

const { write, registry } = adapterFolder();
const response_format = {
  type: 'json_schema',
  json_schema: { name: 'mood', schema: { enum: ['good', 'bad'] } },
};
const tools = [{ type: 'function', function: { name: 'clock' } }];
const faulty = [{ type: 'function', function: { name: 'a b' } }];
const classifier = { task_type: 'SEQ_CLS', id2label: { 0: 'bad' } };
write('formatted', { 'request_defaults.json': { response_format } });
write('tooled', { 'request_defaults.json': { tools } });
write('faulty', { 'request_defaults.json': { tools: faulty } });
write('moods', { 'adapter_config.json': { ...CONFIG, ...classifier } });

const call = written('clock', '{}');
let reply = 'Hello';
const { app, post } = serve({
  registry,
  maxSeqLength: 2048,
  reply: () => utf8(reply),
});
const chat = async (model: string, fields: object = {}) => {
  const messages = [{ role: 'user', content: 'How are you?' }];
  const body = { model, messages, temperature: 0, max_tokens: 60, ...fields };
  return (await readOk<ChatCompletion>(await post('/v1/chat/completions', body))).choices[0]!;
};

test('an answer has the format of its adapter, unless the request says otherwise', async () => {
  reply = 'Hello';
  assert.match((await chat('formatted')).message.content!, /^"(good|bad)"$/);
  const text = { response_format: { type: 'text' } };
  assert.equal((await chat('formatted', text)).message.content, 'Hello');
  assert.equal((await chat('base')).message.content, 'Hello');
  const body = { model: 'formatted', prompt: 'a', max_tokens: 20, temperature: 0 };
  const { choices } = await readOk<Completion>(await post('/v1/completions', body));
  assert.match(choices[0]!.text, /^"(good|bad)"$/);
  const asked = { model: 'formatted', input: 'a', max_output_tokens: 20, temperature: 0 };
  const response = await readOk<{ output: { content: { text: string }[] }[] }>(
    await post('/v1/responses', asked),
  );
  assert.match(response.output[0]!.content[0]!.text, /^"(good|bad)"$/);
});

test('an adapter’s tools can be called, unless the request has its own or none', async () => {
  reply = call;
  const { message } = await chat('tooled');
  assert.equal(message.tool_calls![0]!.function.name, 'clock');
  assert.equal((await chat('tooled', { tools: [] })).message.content, call);
  const other = [{ type: 'function', function: { name: 'other' } }];
  const { message: second } = await chat('tooled', { tools: other });
  assert.equal(second.tool_calls![0]!.function.name, 'other');
});

test('GET /v1/models/{id} shows them', async () => {
  const model = await readOk<Model>(await app.request('/v1/models/formatted'));
  assert.deepEqual(model.request_defaults, { response_format });
  const base = await readOk<Model>(await app.request('/v1/models/base'));
  assert.equal(base.request_defaults, undefined);
});

test('GET /v1/models/{id} of a classifier names its classes', async () => {
  assert.deepEqual((await readOk<Model>(await app.request('/v1/models/moods'))).labels, ['bad']);
  assert.equal((await readOk<Model>(await app.request('/v1/models/tooled'))).labels, undefined);
});

test('faulty ones are a refusal of the adapter that names the field', async () => {
  const body = { model: 'faulty', messages: [{ role: 'user', content: 'a' }] };
  const response = await post('/v1/chat/completions', body);
  const param = 'tools[0].function.name';
  await assertRefused(response, { status: 422, code: 'adapter_invalid', param });
});
