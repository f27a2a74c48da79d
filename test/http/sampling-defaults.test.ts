// Sampling defaults of the base and of adapters, for requests that leave fields out.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import type { GenerationRequest } from '../../src/contracts/generation.ts';
import type { GenerationConfig } from '../../src/contracts/generation-config.ts';
import type { Model, ModelList } from '../../src/contracts/openai.ts';
import { adapterFolder } from './adapter-folder.ts';
import { assertRefused, readOk, serve } from './served.ts';

const FILE = 'generation_config.json';
const { root, write, registry } = adapterFolder();
const own = { temperature: 0.7, top_k: 20, repetition_penalty: 1.05, max_new_tokens: 30 };
write('plain');
write('own', { [FILE]: own });
write('faulty', { [FILE]: { top_p: 'much' } });

const DEFAULTS = { temperature: 0.2, top_p: 0.9, repetition_penalty: 1.1, max_tokens: 20 };
const messages = [{ role: 'user', content: 'hi' }];
const MODEL = {
  id: 'toy',
  baseDigest: 'b'.repeat(64),
  maxSeqLength: 200,
  vocabSize: 259,
  hiddenSize: 4,
  eosTokenIds: [258],
};

/** A server whose base has these defaults, and what it asks of its engine. */
function serveWith(generationConfig?: GenerationConfig) {
  const model = { ...MODEL, ...(generationConfig && { generationConfig }) };
  const served = serve({ registry, model });
  const asked: GenerationRequest[] = [];
  const { client } = served;
  const submit = client.submit.bind(client);
  client.submit = (tenant, adapter, request, listener) => {
    asked.push(request);
    return submit(tenant, adapter, request, listener);
  };
  /** Sampling of a chat with these fields, and its most tokens. */
  const chat = async (fields: object) => {
    await readOk(await served.post('/v1/chat/completions', { model: 'base', messages, ...fields }));
    const { sampling, maxTokens } = asked.at(-1)!;
    const { temperature, topP, topK, minP, repetitionPenalty } = sampling;
    return { temperature, topP, topK, minP, repetitionPenalty, maxTokens };
  };
  return { ...served, asked, chat };
}

const NEUTRAL = { temperature: 1, topP: 1, topK: 0, minP: 0, repetitionPenalty: 1 };

test('a request gets the defaults of the base for fields that it leaves out, and its own values win', async () => {
  const { chat } = serveWith(DEFAULTS);
  const all = { ...NEUTRAL, temperature: 0.2, topP: 0.9, repetitionPenalty: 1.1, maxTokens: 20 };
  assert.deepEqual(await chat({}), all);
  assert.deepEqual(await chat({ temperature: null }), all);
  assert.deepEqual(await chat({ temperature: 0, repetition_penalty: 1, max_tokens: 5 }), {
    ...all,
    temperature: 0,
    repetitionPenalty: 1,
    maxTokens: 5,
  });
  assert.equal((await chat({ max_completion_tokens: 50 })).maxTokens, 20);
});

test("without defaults OpenAI's hold", async () => {
  const { chat } = serveWith();
  const { maxTokens, ...sampling } = await chat({});
  assert.deepEqual(sampling, NEUTRAL);
  assert.ok(maxTokens > 100, 'as many tokens as the context has');
});

test('completions have the defaults of the base, too', async () => {
  const { post, asked } = serveWith(DEFAULTS);
  await readOk(await post('/v1/completions', { model: 'base', prompt: 'a', top_p: 0.5 }));
  const { temperature, topP, repetitionPenalty } = asked[0]!.sampling;
  assert.deepEqual([temperature, topP, repetitionPenalty], [0.2, 0.5, 1.1]);
  assert.equal(asked[0]!.maxTokens, 16);
});

test("an adapter has its base's defaults but for the penalty, and its own file wins", async () => {
  const { chat } = serveWith(DEFAULTS);
  const inherited = { ...NEUTRAL, temperature: 0.2, topP: 0.9, maxTokens: 20 };
  assert.deepEqual(await chat({ model: 'plain' }), inherited);
  const own = { temperature: 0.7, topK: 20, repetitionPenalty: 1.05, maxTokens: 30 };
  assert.deepEqual(await chat({ model: 'own' }), { ...inherited, ...own });
  assert.deepEqual(await chat({ model: 'own+plain' }), inherited);
});

test('a model shows its defaults, those that are set', async () => {
  const { app } = serveWith(DEFAULTS);
  const show = async (id: string) => {
    const model = await readOk<Model>(await app.request(`/v1/models/${id}`));
    return model.generation_config;
  };
  assert.deepEqual(await show('base'), DEFAULTS);
  assert.deepEqual(await show('plain'), { temperature: 0.2, top_p: 0.9, max_tokens: 20 });
  assert.deepEqual(await show('own'), {
    temperature: 0.7,
    top_p: 0.9,
    top_k: 20,
    repetition_penalty: 1.05,
    max_tokens: 30,
  });
  const { data } = await readOk<ModelList>(await app.request('/v1/models'));
  assert.equal(data[0]!.generation_config, undefined);
});

test('a faulty file of an adapter is refused by its field, and changes are seen at once', async () => {
  const { chat, post } = serveWith(DEFAULTS);
  const response = await post('/v1/chat/completions', { model: 'faulty', messages });
  const param = 'generation_config.json: top_p';
  await assertRefused(response, { status: 422, code: 'adapter_invalid', param });
  writeFileSync(path.join(root, 'faulty', FILE), '{"top_p": 0.5}');
  assert.equal((await chat({ model: 'faulty' })).topP, 0.5);
});
