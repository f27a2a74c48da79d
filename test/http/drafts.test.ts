import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ChatCompletion, Completion } from '../../src/contracts/openai.ts';
import { NgramProposer } from '../../src/scheduler/drafter.ts';
import { ScriptedProposer } from '../scheduler/proposers.ts';
import { idle, readError, readFrames, readOk, serve, utf8 } from './served.ts';

const REPLY = 'one two three four five six seven eight nine ten';
const URL = '/v1/completions';
const request = { model: 'base', prompt: 'count', max_tokens: 64, temperature: 0 };

/** A server whose drafts are all right, and one without drafts. */
function servers() {
  const reply = () => utf8(REPLY);
  const createProposer = () => new ScriptedProposer(utf8(REPLY));
  return { drafted: serve({ reply, createProposer }), plain: serve({ reply }) };
}

const BODIES = {
  'to the end': request,
  'to a stop string inside a draft': { ...request, stop: ['five'] },
  'to a stop string that is kept': { ...request, stop: ['six'], include_stop_str_in_output: true },
  'to a stop token inside a draft': { ...request, stop_token_ids: [utf8('x')[0]] },
  'to max_tokens inside a draft': { ...request, max_tokens: 17 },
  'to one token': { ...request, max_tokens: 1 },
  'with logprobs': { ...request, logprobs: 1 },
};

for (const [name, body] of Object.entries(BODIES)) {
  test(`an answer ${name} is the same with drafts, and so is its usage`, async () => {
    const { drafted, plain } = servers();
    const read = async ({ post }: typeof plain) => {
      const { choices, usage } = await readOk<Completion>(await post(URL, body));
      return { choices, usage };
    };
    assert.deepEqual(await read(drafted), await read(plain));
    await idle(drafted);
  });

  test(`a stream ${name} has the same text with drafts`, async () => {
    const { drafted, plain } = servers();
    const read = async ({ post }: typeof plain) => {
      const stream = { stream: true, stream_options: { include_usage: true } };
      const frames = (await readFrames(await post(URL, { ...body, ...stream }))) as Completion[];
      const choices = frames.flatMap((frame) => frame.choices ?? []);
      return {
        text: choices.map(({ text }) => text).join(''),
        reasons: choices.flatMap(({ finish_reason }) => finish_reason ?? []),
        usage: frames.at(-2)!.usage,
      };
    };
    assert.deepEqual(await read(drafted), await read(plain));
  });
}

test('drafts take fewer steps, and are counted', async () => {
  const { drafted, plain } = servers();
  for (const { post } of [drafted, plain]) await readOk(await post(URL, request));
  const [fast, slow] = await Promise.all([drafted.client.stats(), plain.client.stats()]);
  assert.ok(fast.steps < slow.steps / 3, `${fast.steps} steps instead of ${slow.steps}`);
  assert.equal(fast.generatedTokens, slow.generatedTokens);
  assert.ok(fast.drafts > 0);
  assert.equal(fast.acceptedDraftTokens, fast.draftTokens);
  assert.deepEqual([slow.drafts, slow.draftTokens, slow.acceptedDraftTokens], [0, 0, 0]);
});

test('nothing is drafted at a temperature above 1', async () => {
  const { drafted } = servers();
  await readOk(await drafted.post(URL, { ...request, temperature: 1.1, seed: 1 }));
  assert.equal((await drafted.client.stats()).drafts, 0);
});

test('a client that leaves inside a draft frees its slot', async () => {
  const { drafted } = servers();
  const leaving = new AbortController();
  drafted.engine.beforeRun = (batch) => {
    if (batch.kind === 'decode' && batch.rows[0]!.draftIds!.length > 0) leaving.abort();
  };
  const { signal } = leaving;
  const answer = await drafted.post(URL, { ...request, stream: true }, { signal });
  await answer.text();
  await idle(drafted);
  const { generatedTokens } = await drafted.client.stats();
  assert.ok(generatedTokens < REPLY.length, `${generatedTokens} tokens were generated`);
});

test('a prediction of a chat makes its answer take fewer steps, and changes nothing else', async () => {
  const served = serve({
    reply: () => utf8(REPLY),
    createProposer: ({ promptIds, predictionIds }) => new NgramProposer(promptIds, predictionIds),
  });
  const chat = { model: 'base', messages: [{ role: 'user', content: 'count' }], temperature: 0 };
  const ask = async (prediction?: unknown) => {
    const before = (await served.client.stats()).steps;
    const answer = await served.post('/v1/chat/completions', { ...chat, prediction });
    const { choices, usage } = await readOk<ChatCompletion>(answer);
    return { choices, usage, steps: (await served.client.stats()).steps - before };
  };
  const plain = await ask();
  const parts = [{ type: 'text', text: REPLY }];
  for (const content of [REPLY, parts, REPLY.replace('five', '5')]) {
    const predicted = await ask({ type: 'content', content });
    assert.deepEqual(predicted.choices, plain.choices);
    assert.deepEqual(predicted.usage, plain.usage);
    assert.ok(predicted.steps < plain.steps / 2, `${predicted.steps} of ${plain.steps} steps`);
  }
});

test('a malformed prediction is refused by its name', async () => {
  const { post } = serve();
  const chat = { model: 'base', messages: [{ role: 'user', content: 'count' }] };
  for (const [prediction, param] of [
    ['text', 'prediction'],
    [{ type: 'content', content: 'x', more: 1 }, 'prediction'],
    [{ type: 'image', content: 'x' }, 'prediction.type'],
    [{ type: 'content', content: 5 }, 'prediction.content'],
  ] as const) {
    const response = await post('/v1/chat/completions', { ...chat, prediction });
    assert.equal(response.status, 400);
    assert.ok((await readError(response)).param?.startsWith(param), JSON.stringify(prediction));
  }
});
