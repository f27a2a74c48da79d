// Constrained answers over HTTP. The scripted engine's logits are equal except for the end, so what is drawn is random text
// that the grammar allows.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ChatCompletion, ChatCompletionChunk } from '../../src/contracts/openai.ts';
import { readError, readFrames, readOk, serve } from './served.ts';

const URL = '/v1/chat/completions';
const SCHEMA = {
  type: 'object',
  properties: {
    intent: { enum: ['GetWeather', 'PlayMusic'] },
    slots: {
      type: 'object',
      properties: { city: { type: 'string', minLength: 1, maxLength: 8 } },
      required: ['city'],
      additionalProperties: false,
    },
  },
  required: ['intent', 'slots'],
  additionalProperties: false,
};

function request(schema: unknown, fields: Record<string, unknown> = {}) {
  return {
    model: 'base',
    messages: [{ role: 'user', content: 'Hi' }],
    temperature: 1,
    seed: 1,
    response_format: { type: 'json_schema', json_schema: { name: 'x', strict: true, schema } },
    ...fields,
  };
}

test('an answer with a schema is valid JSON of this schema and ends with stop', async () => {
  const { post } = serve({ reply: () => [] });
  const { choices } = await readOk<ChatCompletion>(await post(URL, request(SCHEMA, { n: 8 })));
  assert.equal(new Set(choices.map(({ message }) => message.content)).size, 8);
  for (const { message, finish_reason } of choices) {
    const { intent, slots } = JSON.parse(message.content!);
    assert.match(intent, /^(GetWeather|PlayMusic)$/);
    assert.ok([...slots.city].length <= 8 && slots.city.length > 0);
    assert.equal(finish_reason, 'stop');
    assert.equal(message.refusal, null);
  }
});

test('a stream with a schema has the text of the plain answer', async () => {
  const { post } = serve({ reply: () => [] });
  const { choices } = await readOk<ChatCompletion>(await post(URL, request(SCHEMA)));
  const frames = await readFrames(await post(URL, request(SCHEMA, { stream: true })));
  const chunks = (frames as ChatCompletionChunk[]).flatMap((frame) => frame.choices ?? []);
  const streamed = chunks.map(({ delta }) => delta.content ?? '').join('');
  assert.equal(streamed, choices[0]!.message.content);
  assert.equal(chunks.at(-1)!.finish_reason, 'stop');
});

test('an answer that max_tokens cuts says length', async () => {
  const { post } = serve({ reply: () => [] });
  const body = request(SCHEMA, { max_tokens: 12 });
  const { choices } = await readOk<ChatCompletion>(await post(URL, body));
  assert.equal(choices[0]!.finish_reason, 'length');
  assert.ok(choices[0]!.message.content!.startsWith('{"intent":"'));
});

test('json_object gives any JSON object', async () => {
  const { post } = serve({ reply: () => [] });
  const body = request({}, { response_format: { type: 'json_object' }, n: 8, max_tokens: 200 });
  const { choices } = await readOk<ChatCompletion>(await post(URL, body));
  for (const { message, finish_reason } of choices) {
    assert.ok(message.content!.startsWith('{'));
    if (finish_reason === 'stop') assert.equal(typeof JSON.parse(message.content!), 'object');
  }
});

const FAULTS: [name: string, schema: unknown, message: RegExp][] = [
  [
    'a minimum above the maximum',
    { type: 'string', minLength: 5, maxLength: 3 },
    /#\/minLength is above maxLength/,
  ],
  [
    'an empty enum',
    { properties: { a: { enum: [] } } },
    /#\/properties\/a\/enum must be a non-empty array/,
  ],
  ['an unknown type', { type: 'text' }, /#\/type must be one of object, array/],
  ['a keyword that is not enforced', { not: { type: 'string' } }, /#\/not is not supported/],
  ['a reference to nothing', { $ref: '#/$defs/x' }, /#\/\$ref nothing is at #\/\$defs\/x/],
  ['a broken pattern', { type: 'string', pattern: '(' }, /#\/pattern is not a regular expression/],
  [
    'endless recursion',
    { properties: { a: { $ref: '#' } }, required: ['a'] },
    /matches no finite text/,
  ],
];

for (const [name, schema, message] of FAULTS) {
  test(`a schema with ${name} is refused with the place of the fault`, async () => {
    const { post, client } = serve({ reply: () => [] });
    const response = await post(URL, request(schema));
    assert.equal(response.status, 400);
    const error = await readError(response);
    assert.equal(error.param, 'response_format.json_schema.schema');
    assert.match(error.message, message);
    assert.equal((await client.stats()).steps, 0);
  });
}
