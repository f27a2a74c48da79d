import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ClassificationList } from '../../src/contracts/openai.ts';
import { assertRefused, idle, readError, readOk, serve } from './served.ts';

const URL = '/classify';

describe('classification', () => {
  const served = serve({ adapters: ['alpha'] });
  // The hidden state of a token is [token, 1, -2, 3], so the scores are the token / 100 and 1.
  const weight = Float32Array.of(0.01, 0, 0, 0, 0, 1, 0, 0);
  served.leases.classifier = { labels: ['high', 'low'], weight };
  const classify = async (body: object) =>
    readOk<ClassificationList>(await served.post(URL, { model: 'alpha', ...body }));

  test('answers as vLLM does: a label, the probabilities of all, and the usage', async () => {
    const { id, created, data, ...rest } = await classify({ input: ['a', 'x\u0001'] });
    assert.match(id, /^classify-[0-9a-f]{32}$/);
    assert.ok(created > 1.7e9);
    assert.deepEqual(rest, {
      object: 'list',
      model: 'alpha',
      usage: {
        prompt_tokens: 3,
        total_tokens: 3,
        completion_tokens: 0,
        prompt_tokens_details: null,
      },
    });
    assert.deepEqual(
      data.map(({ index, label, num_classes: count }) => [index, label, count]),
      [
        [0, 'low', 2],
        [1, 'low', 2],
      ],
    );
    for (const [i, token] of [97, 1].entries()) {
      const high = 1 / (1 + Math.exp(1 - token / 100));
      assert.ok(Math.abs(data[i]!.probs[0]! - high) < 1e-6);
      assert.ok(Math.abs(data[i]!.probs[1]! - (1 - high)) < 1e-6);
    }
  });

  test('gives the scores themselves without an activation, by any of its names', async () => {
    for (const name of ['use_activation', 'activation', 'softmax']) {
      const { data } = await classify({ input: [[5, 200]], [name]: false });
      assert.equal(data[0]!.label, 'high');
      assert.deepEqual(data[0]!.probs, [Math.fround(200 * Math.fround(0.01)), 1]);
    }
  });

  test('of a single score is its sigmoid', async () => {
    const both = served.leases.classifier!;
    served.leases.classifier = { labels: ['LABEL_0'], weight: weight.slice(0, 4) };
    const { data } = await classify({ input: [100] });
    served.leases.classifier = both;
    assert.deepEqual([data[0]!.label, data[0]!.num_classes], ['LABEL_0', 1]);
    assert.ok(Math.abs(data[0]!.probs[0]! - 1 / (1 + Math.exp(-1))) < 1e-6);
  });

  test('needs an adapter with a head, which generates nothing', async () => {
    for (const [path, body, message] of [
      [URL, { model: 'base', input: 'a' }, /the base has no classification head/],
      ['/v1/completions', { model: 'alpha', prompt: 'a' }, /Use POST \/classify/],
    ] as const) {
      await assertRefused(await served.post(path, body), { param: 'model', message });
    }
    const plain = serve({ adapters: ['alpha'] });
    const refused = await plain.post(URL, { model: 'alpha', input: 'a' });
    await assertRefused(refused, { message: /has no classification head/ });
    await idle(served);
  });

  test('refuses fields that it does not know', async () => {
    for (const field of ['dimensions', 'pooling', 'encoding_format']) {
      const body = { model: 'alpha', input: 'a', [field]: null };
      assert.equal((await readError(await served.post(URL, body))).param, field);
    }
  });
});
