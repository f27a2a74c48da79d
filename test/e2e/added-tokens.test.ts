// Adapters with tokens of their own on a real server: in text, ids, logprobs, constraints and templates, and never in an answer of
// the base or of another adapter.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { postJson } from '../api.ts';
import { temporaryFolder } from '../fixtures.ts';
import { serveFor, succeed } from './program.ts';
import { NEW_TOKENS, writeResizedAdapter, writeToyAdapter } from './toy-adapter.ts';

const MODEL = 'models/toy';
const [WORD, CONTROL] = NEW_TOKENS.map(({ id }) => id) as [number, number];

interface Choice {
  readonly text: string;
  readonly finish_reason: string;
  readonly logprobs: { readonly tokens: string[]; readonly top_logprobs: object[] };
}

/** The members of all answers. */
interface Answer {
  readonly tokens: number[];
  readonly prompt: string;
  readonly choices: [Choice];
  readonly error: { readonly param: string; readonly message: string };
}

async function serveToy(t: TestContext, ...options: readonly string[]) {
  const adapters = temporaryFolder(t);
  writeResizedAdapter(path.join(adapters, 'words'), 1);
  writeResizedAdapter(path.join(adapters, 'others'), 2);
  writeResizedAdapter(path.join(adapters, 'short'), 3, 1);
  writeToyAdapter(path.join(adapters, 'plain'), 4);
  const args = ['--model', MODEL, '--adapters', adapters, '--no-demo', ...options];
  const serving = await serveFor(t, args);
  return async (route: string, body: object) => {
    const response = await postJson(`${serving.url}${route}`, body);
    return { status: response.status, body: (await response.json()) as Answer };
  };
}

test('tokens of an adapter are its own, wherever text and ids meet', async (t) => {
  const post = await serveToy(t);
  const ok = async (route: string, body: object) => {
    const answer = await post(route, body);
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    return answer.body;
  };
  const refused = async (route: string, body: object, status: number, param: string) => {
    const answer = await post(route, body);
    assert.deepEqual([answer.status, answer.body.error.param], [status, param], route);
    return answer.body.error.message;
  };
  const greedy = { temperature: 0, max_tokens: 3 };
  const text = 'a foo bar <|tool|>';

  const { tokens } = await ok('/tokenize', { model: 'words', prompt: text });
  assert.ok(tokens.includes(WORD) && !tokens.includes(CONTROL), `${tokens}`);
  for (const model of ['base', 'plain']) {
    const other = await ok('/tokenize', { model, prompt: text });
    assert.ok(other.tokens.every((id) => id < WORD));
  }
  const ids = { tokens: [WORD, CONTROL] };
  assert.equal((await ok('/detokenize', { model: 'words', ...ids })).prompt, 'foo bar<|tool|>');
  const message = await refused('/detokenize', ids, 400, 'tokens');
  assert.match(message, /item 0 is not a token id in \[0, 1024\)/);

  const forced = { ...greedy, prompt: 'a', logit_bias: { [WORD]: 100 }, logprobs: 2 };
  const { choices } = await ok('/v1/completions', { model: 'words', ...forced });
  assert.equal(choices[0].text, 'foo barfoo barfoo bar');
  assert.deepEqual(choices[0].logprobs.tokens, ['foo bar', 'foo bar', 'foo bar']);
  const control = { ...forced, logit_bias: { [CONTROL]: 100 } };
  const ended = (await ok('/v1/completions', { model: 'words', ...control })).choices[0];
  assert.deepEqual([ended.text, ended.finish_reason], ['', 'stop'], 'its own token ends an answer');
  for (const model of ['base', 'plain']) {
    await refused('/v1/completions', { model, ...forced }, 400, 'logit_bias');
    await refused('/v1/completions', { model, ...greedy, prompt: [1, WORD] }, 400, 'prompt');
    const stop = { model, ...greedy, prompt: 'a', stop_token_ids: [CONTROL] };
    await refused('/v1/completions', stop, 400, 'stop_token_ids');
    await refused('/v1/embeddings', { model, input: [[1], [WORD]] }, 400, 'input');
  }
  await refused(
    '/v1/completions',
    { model: 'words', ...greedy, prompt: [CONTROL + 1] },
    400,
    'prompt',
  );
  await ok('/v1/embeddings', { model: 'words', input: [[1], [WORD]] });

  const regex = { structured_outputs: { regex: 'foo bar!?' } };
  const matched = await ok('/v1/completions', { model: 'words', ...regex, ...forced });
  assert.equal(matched.choices[0].logprobs.tokens[0], 'foo bar');
  assert.match(matched.choices[0].text, /^foo bar!?$/);
  const spelled = { model: 'plain', prompt: 'a', max_tokens: 20, temperature: 0, ...regex };
  assert.match((await ok('/v1/completions', spelled)).choices[0].text, /^foo bar!?$/);

  await refused('/v1/completions', { model: 'words+others', ...forced }, 422, 'model');
  await ok('/v1/completions', { model: 'words+0.5*plain', ...forced });
  const few = await refused('/v1/completions', { model: 'short', ...forced }, 422, 'added_tokens');
  assert.match(few, /short: has token 1025, but 1025 rows/);
});

test('a published adapter has its tokens from the manifest', async (t) => {
  const [home, folder] = [temporaryFolder(t), path.join(temporaryFolder(t), 'words')];
  writeResizedAdapter(folder, 1);
  const store = path.join(home, 'store');
  mkdirSync(store);
  await succeed(
    ['adapters', 'push', folder, '--name', 'words', '--base', MODEL, '--store', store],
    home,
  );
  const serving = await serveFor(t, ['--model', MODEL, '--store', store, '--no-demo'], home);
  const post = async (route: string, body: object) => {
    const response = await postJson(`${serving.url}${route}`, body);
    return (await response.json()) as Answer;
  };
  const prompt = 'a foo bar';
  assert.ok((await post('/tokenize', { model: 'words', prompt })).tokens.includes(WORD));
  const forced = { prompt, temperature: 0, max_tokens: 2, logit_bias: { [WORD]: 100 } };
  const { choices } = await post('/v1/completions', { model: 'words@1', ...forced });
  assert.equal(choices[0].text, 'foo barfoo bar');
  assert.equal(
    (await post('/v1/completions', { model: 'base', ...forced })).error.param,
    'logit_bias',
  );
});

test('the base and other adapters answer as alone beside an adapter with its own tokens', async (t) => {
  const post = await serveToy(t);
  const ask = async (model: string, i: number) => {
    const body = { model, prompt: [5 + i, 6, 7], temperature: 0, max_tokens: 12, logprobs: 5 };
    const { body: answer } = await post('/v1/completions', body);
    return answer.choices[0];
  };
  const models = ['base', 'words', 'plain', 'others', 'words+plain'];
  const alone: Choice[] = [];
  for (const [i, model] of models.entries()) alone.push(await ask(model, i));
  const together = await Promise.all(models.map(ask));
  together.forEach(({ logprobs }, i) => {
    assert.deepEqual(logprobs.tokens, alone[i]!.logprobs.tokens, models[i]);
    const isOwn = models[i] !== 'base' && models[i] !== 'plain';
    const seen = JSON.stringify(logprobs.top_logprobs);
    if (!isOwn) assert.ok(!/foo bar|tool/.test(seen), models[i]);
  });
});
