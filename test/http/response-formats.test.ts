// text.format in responses. The scripted engine's logits are equal except for the end, so what is drawn is random text that
// the constraint allows.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { connect } from './openai-client.ts';
import { serve } from './served.ts';

const { app } = serve({ reply: () => [] });
const client = await connect({ app });
const hello = { model: 'base', input: 'Hi', ...{ seed: 1 } };

const Intent = z.object({
  intent: z.enum(['GetWeather', 'PlayMusic']),
  slots: z.object({ city: z.string().max(8) }),
});
const text = { format: zodTextFormat(Intent, 'intent') };

test('an answer with a schema is parsed by the official client, plain and streamed', async () => {
  const plain = await client.responses.parse({ ...hello, text });
  assert.equal(plain.status, 'completed');
  assert.match(plain.output_parsed!.intent, /^(GetWeather|PlayMusic)$/);
  const { type, name, schema, strict } = text.format;
  assert.deepEqual(plain.text!.format, { type, name, schema, strict });
  const streamed = await client.responses.stream({ ...hello, text }).finalResponse();
  assert.deepEqual(streamed.output_parsed, plain.output_parsed);
});

test('json_object is an object, and text is any text', async () => {
  const object = { format: { type: 'json_object' as const } };
  const { output_text } = await client.responses.create({ ...hello, text: object });
  assert.match(output_text, /^\{/);
  const plain = { format: { type: 'text' as const } };
  const free = await client.responses.create({ ...hello, text: plain });
  assert.equal(free.output_text, '');
});

test("vLLM's structured_outputs, which cannot be combined with another format", async () => {
  const create = (fields: object) => client.responses.create({ ...hello, ...fields });
  const choice = { structured_outputs: { choice: ['red', 'blue'] } };
  assert.match((await create(choice)).output_text, /^(red|blue)$/);
  const plain = { ...choice, text: { format: { type: 'text' } } };
  assert.match((await create(plain)).output_text, /^(red|blue)$/);
  const twice = { structured_outputs: { json: text.format.schema }, text };
  assert.equal((await create(twice)).output_text, (await create({ text })).output_text);
  const refused: [fields: object, message: RegExp, param: string][] = [
    [{ ...choice, text }, /cannot be combined with text.format/, 'structured_outputs'],
    [{ structured_outputs: { regex: '(' } }, /./, 'structured_outputs.regex'],
    [{ structured_outputs: {} }, /exactly one of json/, 'structured_outputs'],
    [{ response_format: { type: 'json_object' } }, /response_format/, 'response_format'],
  ];
  for (const [fields, message, param] of refused) {
    await assert.rejects(create(fields), (error) => {
      assert.ok(error instanceof OpenAI.BadRequestError);
      assert.match(error.message, message);
      assert.equal(error.param, param);
      return true;
    });
  }
});
