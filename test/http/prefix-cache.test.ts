// The prefix cache as clients see it, with a real engine of a tiny model.
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import type {
  ChatCompletion,
  ChatCompletionChunk,
  Completion,
} from '../../src/contracts/openai.ts';
import { Engine } from '../../src/engine/engine.ts';
import { prefixScope } from '../../src/http/request/prepare-generation.ts';
import { servingFolder, tinyModel } from '../fixtures.ts';
import { serveKeyed } from './keyed.ts';
import { VOCAB_SIZE } from './scripted-engine.ts';
import { assertRefused, readFrames, readOk } from './served.ts';

const COMPLETIONS = '/v1/completions';
const CHAT = '/v1/chat/completions';

/** A prompt of 100 tokens that no other test uses. */
let prompts = 0;
const newPrompt = () => `${prompts++} `.padEnd(100, 'The same instructions. ');

describe('the prefix cache', async () => {
  const model = tinyModel({ vocab_size: VOCAB_SIZE });
  const servingDir = await servingFolder({ after }, model, 'f32');
  const limits = { slotCount: 4, maxSeqLength: 128, prefixCacheBytes: 2 ** 24 };
  const engine = await Engine.create({ servingDir, ...limits });
  const { ask } = serveKeyed({
    tenants: { one: {}, two: {} },
    modelEngine: engine,
    maxSeqLength: 128,
  });

  async function complete(prompt: unknown, rest: object = {}, tenant = 'one'): Promise<Completion> {
    const body = { model: 'base', prompt, max_tokens: 3, temperature: 0, ...rest };
    return readOk(await ask(tenant, COMPLETIONS, body));
  }
  const cachedOf = ({ usage }: Pick<Completion, 'usage'>) =>
    usage.prompt_tokens_details.cached_tokens;

  test('a repeated prompt has cached tokens, the same answer and the same count of prompt tokens', async () => {
    const prompt = newPrompt();
    const first = await complete(prompt);
    const second = await complete(`${prompt.slice(0, 90)}another end`);
    const third = await complete(prompt);
    assert.deepEqual([first, second, third].map(cachedOf), [0, 80, 96]);
    assert.deepEqual(third.choices, first.choices);
    assert.equal(third.usage.prompt_tokens, 100);
    assert.equal(third.usage.total_tokens, 100 + third.usage.completion_tokens);
  });

  test('T04, I23: tenants share nothing, nor do requests with different salts', async () => {
    const prompt = newPrompt();
    assert.equal(cachedOf(await complete(prompt)), 0);
    assert.equal(cachedOf(await complete(prompt, {}, 'two')), 0);
    assert.equal(cachedOf(await complete(prompt, { cache_salt: 'x' })), 0);
    assert.equal(cachedOf(await complete(prompt, { cache_salt: 'y' })), 0);
    assert.equal(cachedOf(await complete(prompt, { cache_salt: 'x' })), 96);
    assert.equal(cachedOf(await complete(prompt, {}, 'two')), 96);
  });

  test('cache_prompt: false neither uses nor fills the cache, and prompt_cache_key changes nothing', async () => {
    const prompt = newPrompt();
    assert.equal(cachedOf(await complete(prompt, { cache_prompt: false })), 0);
    assert.equal(cachedOf(await complete(prompt, { prompt_cache_key: 'k' })), 0);
    assert.equal(cachedOf(await complete(prompt, { prompt_cache_key: 'other' })), 96);
    assert.equal(cachedOf(await complete(prompt, { cache_prompt: false })), 0);
  });

  test('a scored prompt is computed', async () => {
    const prompt = newPrompt();
    await complete(prompt);
    assert.equal(cachedOf(await complete(prompt, { prompt_logprobs: 0 })), 0);
    assert.equal(cachedOf(await complete(prompt, { echo: true, logprobs: 1 })), 0);
    assert.equal(cachedOf(await complete(prompt, { echo: true })), 96);
  });

  test('each prompt counts once, however many choices it has', async () => {
    const prompt = newPrompt();
    assert.equal(cachedOf(await complete(prompt, { n: 3 })), 0); // two choices copy what the first has computed
    const { usage } = await complete([prompt, prompt, newPrompt()], { n: 2 });
    assert.equal(usage.prompt_tokens_details.cached_tokens, 2 * 96);
    assert.equal(usage.prompt_tokens, 300);
  });

  test('chat reports cached tokens, also in the usage of a stream', async () => {
    const messages = [{ role: 'user', content: newPrompt() }];
    const body = { model: 'base', messages, max_tokens: 2, temperature: 0 };
    const whole = await readOk<ChatCompletion>(await ask('one', CHAT, body));
    assert.equal(cachedOf(whole), 0);
    for (const continuous_usage_stats of [false, true]) {
      const stream_options = { include_usage: true, continuous_usage_stats };
      const frames = await readFrames(
        await ask('one', CHAT, { ...body, stream: true, stream_options }),
      );
      const chunks = frames.slice(0, -1) as ChatCompletionChunk[];
      const { usage } = chunks.at(-1)!;
      assert.equal(usage!.prompt_tokens, whole.usage.prompt_tokens);
      assert.equal(cachedOf({ usage: usage! }), 112);
      const inner = chunks.at(-2)!.usage;
      assert.equal(inner && cachedOf({ usage: inner }), continuous_usage_stats ? 112 : null);
    }
  });

  test('an empty salt, a long one and one of another type are refused by name', async () => {
    for (const cache_salt of ['', 'x'.repeat(1025), 5]) {
      const response = await ask('one', COMPLETIONS, { model: 'base', prompt: 'a', cache_salt });
      await assertRefused(response, { status: 400, param: 'cache_salt' });
    }
  });
});

/** Whether no two of these users share a scope. */
function checkScopesDiffer(create: typeof prefixScope): void {
  const users = [
    ['one', undefined],
    ['two', undefined],
    ['one', 'x'],
    ['two', 'x'],
    ['onex', undefined],
  ] as const;
  const scopes = users.map(([tenant, cache_salt]) => create(tenant, { cache_salt }));
  assert.equal(new Set(scopes).size, users.length, 'two users share a scope');
}

test('a scope covers the tenant and the salt', () => {
  checkScopesDiffer(prefixScope);
  assert.equal(prefixScope('one', { cache_salt: null }), prefixScope('one', {}));
  assert.equal(prefixScope('one', { cache_prompt: false }), undefined);
});

const PLANTED_BUGS: Readonly<Record<string, typeof prefixScope>> = {
  tenant: (_, fields) => prefixScope('', fields),
  salt: (tenant) => prefixScope(tenant, {}),
  'border between the two': (tenant, { cache_salt }) =>
    prefixScope(`${tenant}${cache_salt ?? ''}`, {}),
};

for (const [missing, create] of Object.entries(PLANTED_BUGS)) {
  test(`a scope without the ${missing} is noticed`, () => {
    assert.throws(() => checkScopesDiffer(create), /two users share a scope/);
  });
}
