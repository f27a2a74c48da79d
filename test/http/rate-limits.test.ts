// T39 as clients see it: OpenAI's headers on every answer, 429 with retry-after, and refunds however a request ends.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { RateLimits } from '../../src/tenants/rate-limits.ts';
import type { TenantSettings } from '../tenants/keys.ts';
import { type Keyed, serveKeyed } from './keyed.ts';
import { assertRefused, idle, readFrames, readOk, utf8 } from './served.ts';

const URL = '/v1/completions';
/** 3 tokens of prompt. */
const request = { model: 'base', prompt: 'abc', max_tokens: 20 };

function limited(limits: TenantSettings['limits']): Keyed & { clock: { ms: number } } {
  const clock = { ms: 0 };
  const rateLimits = new RateLimits(() => clock.ms);
  const reply = () => utf8('0123456789');
  const served = serveKeyed({ tenants: { acme: { limits }, free: {} }, rateLimits, reply });
  return Object.assign(served, { clock });
}

const rest = ({ headers }: Response, what: string) => headers.get(`x-ratelimit-remaining-${what}`);

async function expectRefusal(response: Response, message: RegExp): Promise<void> {
  assert.match(response.headers.get('retry-after') ?? '', /^[1-9]\d*$/);
  const refusal = { status: 429, code: 'rate_limit_exceeded', message };
  assert.equal((await assertRefused(response, refusal)).type, 'rate_limit_error');
}

describe('a limited tenant', () => {
  test('sees its limits on every answer, errors too, and an unlimited one sees none', async () => {
    const { ask } = limited({ requestsPerMinute: 9, tokensPerMinute: 100 });
    const answers = [
      await ask('acme', '/v1/models'),
      await ask('acme', '/nowhere'),
      await ask('acme', '/v1/models', {}),
      await ask('acme', URL, { ...request, model: 'no-such' }),
      await ask('acme', URL, { ...request, max_tokens: -1 }),
      await ask('acme', URL, request),
      await ask('acme', URL, { ...request, stream: true }),
    ];
    const statuses = answers.map(({ status }) => status);
    assert.deepEqual(statuses, [200, 404, 405, 404, 400, 200, 200]);
    const left = answers.map((answer) => rest(answer, 'requests'));
    assert.deepEqual(left, ['8', '7', '6', '5', '4', '3', '2']);
    for (const { headers } of answers) {
      assert.equal(headers.get('x-ratelimit-limit-tokens'), '100');
      assert.equal(headers.get('x-ratelimit-reset-requests'), '1m0s');
    }
    const free = await ask('free', URL, request);
    assert.ok([...free.headers.keys()].every((name) => !name.startsWith('x-ratelimit')));
    const health = await ask('acme', '/livez');
    assert.equal(rest(health, 'requests'), null);
  });

  test('is let in as often as its limit says, whatever the path, and again after a minute', async () => {
    const { ask, clock } = limited({ requestsPerMinute: 3 });
    for (const path of ['/v1/models', '/nowhere', '/v1/models/x']) await ask('acme', path);
    clock.ms += 20_000;
    const refused = await ask('acme', '/v1/models');
    assert.equal(refused.headers.get('retry-after'), '40');
    assert.equal(rest(refused, 'requests'), '0');
    await expectRefusal(refused, /3 requests per minute/);
    assert.equal((await ask('free', '/v1/models')).status, 200);
    clock.ms += 40_000;
    assert.equal((await ask('acme', '/v1/models')).status, 200);
  });

  test('T39: reserves prompt and max_tokens, and returns what it did not use', async () => {
    const { ask } = limited({ tokensPerMinute: 100 });
    const first = await ask('acme', URL, request);
    assert.equal(rest(first, 'tokens'), '77');
    const { usage } = await readOk<{ usage: { total_tokens: number } }>(first);
    assert.equal(usage.total_tokens, 13);
    const second = await ask('acme', URL, { ...request, stream: true });
    assert.equal(rest(second, 'tokens'), '64'); // 100 - 13 - 23
    assert.equal((await readFrames(second)).at(-1), '[DONE]');
    const third = await ask('acme', URL, { ...request, n: 2 });
    assert.equal(rest(third, 'tokens'), '31'); // 100 - 26 - 43
  });

  test('is refused if the minute has too few tokens left', async () => {
    const { ask } = limited({ tokensPerMinute: 40 });
    await readOk(await ask('acme', URL, request)); // leaves 27
    const refused = await ask('acme', URL, { ...request, max_tokens: 25 });
    assert.equal(rest(refused, 'tokens'), '27');
    await expectRefusal(refused, /40 tokens per minute/);
    await readOk(await ask('acme', URL, { ...request, max_tokens: 24 }));
  });

  test('refuses at once a request that can never fit', async () => {
    const { ask } = limited({ tokensPerMinute: 40 });
    const response = await ask('acme', URL, { ...request, max_tokens: 38 });
    await assertRefused(response, { status: 400, code: 'invalid_request', param: 'max_tokens' });
  });

  for (const stream of [true, false]) {
    const what = stream ? 'a stream' : 'an answer';
    test(`pays for what was generated when it leaves ${what}, and no longer counts as running`, async () => {
      const served = limited({ tokensPerMinute: 250, concurrentRequests: 1 });
      const { ask, engine } = served;
      const client = new AbortController();
      let leave: () => Promise<void> | void = () => client.abort();
      let runs = 0;
      engine.beforeRun = () => (++runs === 5 ? leave() : undefined);
      const long = { ...request, max_tokens: 200, ignore_eos: true, stream };
      const sent = ask('acme', URL, long, { signal: client.signal });
      if (stream) {
        const { body } = await sent;
        leave = () => body!.cancel();
      }
      await sent;
      await idle(served);
      const next = await ask('acme', URL, { ...request, max_tokens: 1 });
      assert.equal(next.status, 200);
      const paid = 250 - 4 - Number(rest(next, 'tokens'));
      assert.ok(paid > 3 && paid < 15, `${paid} tokens`);
    });
  }

  test('runs so many concurrent requests, streams until their end', async () => {
    const { ask } = limited({ concurrentRequests: 2 });
    const stream = { ...request, stream: true };
    const [one, two] = [await ask('acme', URL, stream), await ask('acme', URL, stream)];
    await expectRefusal(await ask('acme', '/v1/models'), /2 concurrent requests/);
    assert.equal((await ask('free', '/v1/models')).status, 200);
    await readFrames(one);
    assert.equal((await ask('acme', '/v1/models')).status, 200);
    await readFrames(two);
  });

  test('returns everything if the engine never accepted the request', async () => {
    const { ask, client } = limited({ tokensPerMinute: 100, concurrentRequests: 1 });
    await client.drain(0);
    for (const stream of [true, false]) {
      const response = await ask('acme', URL, { ...request, stream });
      assert.equal(response.status, 503);
      assert.equal(rest(response, 'tokens'), '100');
    }
  });
});

test('a response reserves tokens and returns them in the same way', async () => {
  const { ask } = limited({ tokensPerMinute: 100 });
  const body = { model: 'base', input: 'abc', max_output_tokens: 20 };
  const first = await ask('acme', '/v1/responses', body);
  const { usage } = await readOk<{ usage: { total_tokens: number } }>(first);
  assert.equal(rest(first, 'tokens'), '59'); // 100 - 21 - 20
  const second = await ask('acme', '/v1/responses', { ...body, stream: true });
  assert.equal(Number(rest(second, 'tokens')), 59 + 41 - usage.total_tokens - 41);
  await second.text();
  const never = await ask('acme', '/v1/responses', { ...body, max_output_tokens: 90 });
  await assertRefused(never, { param: 'max_output_tokens' });
});
