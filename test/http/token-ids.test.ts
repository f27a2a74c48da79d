// Responses with the ids of their tokens, as trainers that sample here ask for them, and the server that they pause.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { LoadedAdapters } from '../../adapters/registry/folder-registry.ts';
import { withResolvers } from '../../src/common/waiting.ts';
import type { ChatCompletion, Completion, CompletionChunk } from '../../src/contracts/openai.ts';
import { temporaryFolder } from '../fixtures.ts';
import { END } from './scripted-engine.ts';
import { readError, readFrames, readOk, serve, utf8 } from './served.ts';

const COMPLETIONS = '/v1/completions';
const CHAT = '/v1/chat/completions';
const messages = [{ role: 'user', content: 'hi' }];

test('a completion has the ids of its prompt and of its tokens, with the one that ended it', async () => {
  const served = serve({ reply: () => utf8('ok') });
  const body = { model: 'toy', prompt: [97, 98], return_token_ids: true, logprobs: 0, n: 2 };
  const { choices } = await readOk<Completion>(await served.post(COMPLETIONS, body));
  assert.equal(choices.length, 2);
  for (const { text, logprobs, finish_reason, token_ids, prompt_token_ids } of choices) {
    assert.deepEqual([text, finish_reason], ['ok', 'stop']);
    assert.deepEqual(token_ids, [...utf8('ok'), END]);
    assert.deepEqual(prompt_token_ids, [97, 98]);
    assert.equal(logprobs!.token_logprobs.length, 3); // one for each id
  }
});

test('a token that ended the completion has an id and no text, even if it is an ordinary one', async () => {
  const served = serve({ reply: () => utf8('ok!') });
  const body = { model: 'toy', prompt: 'a', return_token_ids: true, stop_token_ids: utf8('!') };
  const { choices } = await readOk<Completion>(await served.post(COMPLETIONS, body));
  assert.deepEqual([choices[0]!.text, choices[0]!.token_ids], ['ok', utf8('ok!')]);
});

test('a chat has the ids of its prompt once', async () => {
  const served = serve({ reply: () => utf8('ok') });
  const body = { model: 'toy', messages, return_token_ids: true, n: 2 };
  const { choices, prompt_token_ids } = await readOk<ChatCompletion>(await served.post(CHAT, body));
  assert.deepEqual(prompt_token_ids!.slice(0, 5), [256, ...utf8('user')]);
  for (const choice of choices) {
    assert.deepEqual(choice.token_ids, [...utf8('ok'), END]);
    assert.ok(!('prompt_token_ids' in choice));
  }
  const plain = await readOk<ChatCompletion>(await served.post(CHAT, { model: 'toy', messages }));
  assert.ok(!('prompt_token_ids' in plain) && !('token_ids' in plain.choices[0]!));
});

test('the parts of a stream have the ids of all tokens, and its first part those of the prompt', async () => {
  const served = serve({ reply: () => utf8('ok') });
  const shared = { model: 'toy', return_token_ids: true, stream: true };
  for (const [path, input] of [
    [COMPLETIONS, { prompt: [97, 98] }],
    [CHAT, { messages }],
  ] as const) {
    const frames = await readFrames(await served.post(path, { ...shared, ...input }));
    const chunks = frames.filter((frame) => typeof frame === 'object') as CompletionChunk[];
    const ids = chunks.flatMap(({ choices }) => choices.flatMap((choice) => choice.token_ids!));
    assert.deepEqual(ids, [...utf8('ok'), END]);
    const owners = path === CHAT ? chunks : chunks.flatMap(({ choices }) => choices);
    const shown = owners.map((owner) => 'prompt_token_ids' in owner);
    assert.deepEqual(shown, [true, ...shown.slice(1).map(() => false)]);
  }
});

test('control tokens are shown if skip_special_tokens is false', async () => {
  const served = serve({ reply: () => [256, ...utf8('ok')] });
  const ask = async (rest: object) => {
    const body = { model: 'toy', prompt: 'a', ...rest };
    return (await readOk<Completion>(await served.post(COMPLETIONS, body))).choices[0]!.text;
  };
  assert.equal(await ask({}), 'ok');
  assert.equal(await ask({ skip_special_tokens: false }), '<|im_start|>ok');
});

test('a paused server keeps a running request, and goes on with it', async () => {
  const loaded = new LoadedAdapters(temporaryFolder(), { baseNames: ['toy'] });
  const served = serve({ reply: () => utf8('Hello, world'), loaded, hasOpenAdmin: true });
  let runs = 0;
  const { promise: third, resolve: reachThird } = withResolvers<void>();
  served.engine.beforeRun = () => {
    if (++runs === 3) reachThird();
  };
  const post = async (path: string) => (await served.post(path, '')).status;
  const answer = served.post(COMPLETIONS, { model: 'toy', prompt: 'a' });
  await third;
  assert.equal(await post('/pause?mode=keep'), 200);
  for (let i = 0; i < 20; i++) await nextTurn();
  const atPause = runs;
  for (let i = 0; i < 50; i++) await nextTurn();
  assert.equal(runs, atPause);
  assert.equal(await post('/resume'), 200);
  const { choices } = await readOk<Completion>(await answer);
  assert.equal(choices[0]!.text, 'Hello, world');
  assert.equal((await readError(await served.post('/pause?mode=abort', ''))).param, 'mode');
  const info = await readOk<{ vllm_config: { lora_config: { max_loras: number } } }>(
    await served.app.request('/server_info?config_format=json'),
  );
  assert.equal(info.vllm_config.lora_config.max_loras, 4);
});

test('a seed may be any whole number of 64 bits, and -1 is none', async () => {
  const served = serve({ reply: () => utf8('ok') });
  const statusOf = async (seed: string) => {
    const body = `{"model": "toy", "prompt": "a", "n": 2, "seed": ${seed}}`;
    return (await served.post(COMPLETIONS, body)).status;
  };
  for (const seed of ['-1', '0', '8223372036854775807', '-9223372036854775808'])
    assert.equal(await statusOf(seed), 200, seed);
  for (const seed of ['1.5', '1e30', '"1"']) assert.equal(await statusOf(seed), 400, seed);
});
