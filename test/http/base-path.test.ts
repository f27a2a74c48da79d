import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serve } from './served.ts';

test('with a base path every route answers below it and without it', async () => {
  const { app, post } = serve({ basePath: '/openai' });
  for (const path of ['/livez', '/v1/models', '/openapi.json']) {
    assert.equal((await app.request(path)).status, 200, path);
    assert.equal((await app.request(`/openai${path}`)).status, 200, path);
  }
  const answer = await post('/openai/v1/completions', { model: 'base', prompt: 'a' });
  assert.equal(answer.status, 200);
});

test('nothing but the whole prefix, once, is taken off', async () => {
  const { app } = serve({ basePath: '/openai' });
  for (const path of ['/openaiv1/models', '/openai/openai/v1/models', '/OpenAI/v1/models']) {
    assert.equal((await app.request(path)).status, 404, path);
  }
  const plain = serve();
  assert.equal((await plain.app.request('/openai/v1/models')).status, 404);
});
