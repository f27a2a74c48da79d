import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { EmbeddingList } from '../../src/contracts/openai.ts';
import { pluck } from '../pluck.ts';
import { serveKeyed } from './keyed.ts';
import { hiddenOf } from './scripted-engine.ts';
import { assertRefused, idle, readError, readOk, serve } from './served.ts';

const URL = '/v1/embeddings';

/** What pooling, truncation to `dimensions` and normalization make of a prompt. */
function expected(ids: readonly number[], pooling: 'mean' | 'last', dimensions = 4): number[] {
  const rows = (pooling === 'last' ? ids.slice(-1) : ids).map(hiddenOf);
  const sums = Array.from({ length: dimensions }, (_, i) =>
    rows.reduce((sum, row) => sum + row[i]!, 0),
  );
  return sums.map((sum) => sum / Math.hypot(...sums));
}

function assertNear(got: unknown, want: readonly number[]): void {
  assert.ok(Array.isArray(got) && got.length === want.length);
  for (const [i, value] of want.entries()) assert.ok(Math.abs(got[i] - value) < 1e-6);
}

describe('embeddings', () => {
  const served = serve({ adapters: ['alpha'], maxSeqLength: 64, scheduler: { prefillChunk: 3 } });
  const embed = async (body: object) =>
    readOk<EmbeddingList>(await served.post(URL, { model: 'base', ...body }));

  test('of one text are a list with one vector of length 1', async () => {
    const { data, ...rest } = await embed({ input: 'Hello' });
    assert.deepEqual(rest, {
      object: 'list',
      model: 'toy',
      usage: { prompt_tokens: 5, total_tokens: 5 },
    });
    const [item] = data;
    assert.deepEqual({ ...item, embedding: [] }, { object: 'embedding', index: 0, embedding: [] });
    assertNear(item!.embedding, expected([...Buffer.from('Hello')], 'mean'));
  });

  test('of texts, token ids and arrays of token ids come in their order', async () => {
    const texts = Array.from({ length: 100 }, (_, i) => `${i}`.padEnd(1 + (i % 7), 'x'));
    const prompts = texts.map((text) => [...Buffer.from(text)]);
    for (const [input, ids] of [
      [texts, prompts],
      [prompts, prompts],
      [prompts[3], [prompts[3]!]],
    ] as const) {
      const { data, usage } = await embed({ input, model: 'alpha', pooling: 'last' });
      assert.deepEqual(pluck(data, 'index'), [...ids.keys()]);
      data.forEach(({ embedding }, i) => {
        assertNear(embedding, expected(ids[i]!, 'last'));
      });
      assert.equal(usage.total_tokens, ids.flat().length);
    }
    await idle(served);
  });

  test('with dimensions are cut and have length 1 again', async () => {
    const { data } = await embed({ input: [[7, 9]], dimensions: 2 });
    assertNear(data[0]!.embedding, expected([7, 9], 'mean', 2));
  });

  test('in base64 are little-endian floats', async () => {
    const { data } = await embed({ input: [7, 9, 11], encoding_format: 'base64' });
    const bytes = Buffer.from(data[0]!.embedding as string, 'base64');
    const values = Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
    assertNear(values, expected([7, 9, 11], 'mean'));
  });

  test('are those of the cut input with truncate_prompt_tokens', async () => {
    const ids = Array.from({ length: 100 }, (_, i) => i);
    for (const [fields, kept] of [
      [{ truncate_prompt_tokens: 2 }, ids.slice(-2)],
      [{ truncate_prompt_tokens: 2, truncation_side: 'right' }, ids.slice(0, 2)],
      [{ truncate_prompt_tokens: -1 }, ids.slice(-64)],
    ] as const) {
      const { data, usage } = await embed({ input: ids, ...fields });
      assert.equal(usage.prompt_tokens, kept.length);
      assertNear(data[0]!.embedding, expected(kept, 'mean'));
    }
  });

  test('fill the context, and more is refused with both counts', async () => {
    const { usage } = await embed({ input: 'x'.repeat(64) });
    assert.equal(usage.prompt_tokens, 64);
    await assertRefused(await served.post(URL, { model: 'base', input: ['a', 'x'.repeat(65)] }), {
      code: 'context_length_exceeded',
      param: 'input',
      message: /maximum context length is 64 .*\(65 in the input/,
    });
  });

  test('refuse what cannot be answered, by the name of the field', async () => {
    const inputs = [undefined, '', [], ['a', ''], [[1], []], [260], [-1], Array(2049).fill('a')];
    const cases: [fields: object, param: string, code?: string][] = [
      ...inputs.map((input): [object, string] => [{ input }, 'input']),
      [{ dimensions: 0 }, 'dimensions'],
      [{ dimensions: 5 }, 'dimensions'],
      [{ dimensions: 1.5 }, 'dimensions'],
      [{ encoding_format: 'int8' }, 'encoding_format'],
      [{ pooling: 'cls' }, 'pooling'],
      [{ normalize: false }, 'normalize', 'unsupported_parameter'],
      [{ messages: [{}] }, 'messages', 'unsupported_parameter'],
      [{ max_tokens: 1 }, 'max_tokens', 'unknown_parameter'],
      [{ model: 'nobody' }, 'model', 'model_not_found'],
    ];
    for (const [fields, param, code = 'invalid_request'] of cases) {
      const response = await served.post(URL, { model: 'base', input: 'a', ...fields });
      await assertRefused(response, { code, param });
    }
  });

  test('fail together if the engine fails at one of them', async () => {
    served.engine.beforeRun = (batch) => {
      if (batch.kind === 'prefill' && batch.tokenIds.includes(99)) throw new Error('broken');
    };
    const response = await served.post(URL, { model: 'base', input: [[1], [99], [2]] });
    served.engine.beforeRun = () => {};
    assert.equal(response.status, 500);
    await idle(served);
  });

  test('count as requests and prompt tokens of their operation', async () => {
    const own = serve({ adapters: ['alpha'] });
    await readOk(await own.post(URL, { model: 'alpha', input: ['abc', 'de'] }));
    const text = await (await own.app.request('/metrics')).text();
    const sum = text
      .split('\n')
      .find((line) => /^gen_ai_client_token_usage.*_sum/.test(line) && line.includes('"input"'));
    assert.match(sum!, /gen_ai_operation_name="embeddings"/);
    assert.match(sum!, / 5$/);
    assert.match(text, /request_success_total\{[^}]*finished_reason="stop"[^}]*\} 2/);
    const usage = own.logged.map((line) => JSON.parse(line)).find(({ msg }) => msg === 'usage');
    assert.equal(usage.promptTokens, 5);
    assert.equal(usage.completionTokens, 0);
  });
});

test('a key embeds within the limits of its tenant, and with the adapters that it may use', async () => {
  const { ask } = serveKeyed({
    tenants: { small: { limits: { tokensPerMinute: 4 } }, narrow: { allowedAdapters: [] } },
    adapters: ['alpha'],
  });
  await readOk(await ask('small', URL, { model: 'base', input: 'abc' }));
  const over = await ask('small', URL, { model: 'base', input: 'abcd' });
  assert.equal(over.status, 429);
  const hidden = await ask('narrow', URL, { model: 'alpha', input: 'abc' });
  assert.equal((await readError(hidden)).code, 'model_not_found');
});
