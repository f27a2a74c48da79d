// The routes of training loops: what repeats a request, and what is refused.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { LOCAL_TENANT } from '../../src/contracts/tenant.ts';
import { sampleBody } from '../../src/http/schema/tinker.ts';
import type { TinkerOptions } from '../../src/tinker/tinker-service.ts';
import { startMachine } from '../tinker/machine.ts';
import { readError, readOk, serve } from './served.ts';

const refuse = async () => ({ status: 400, body: JSON.stringify({ error: { message: 'no' } }) });

async function start(t: TestContext, answer: TinkerOptions['answer'] = refuse) {
  const { service } = await startMachine(t).serve({ answer });
  return { service, ...serve({ tinker: service }) };
}

test('more samples than a completion has choices are refused before anything is made for them', async (t) => {
  const { post } = await start(t);
  const asked = { ...SAMPLE, base_model: 'toy', num_samples: 50_000_000 };
  const { param, message } = await readError(await post('/api/v1/asample', asked));
  assert.deepEqual([param, /128/.test(message)], ['num_samples', true]);
});

const SAMPLE = { prompt: { chunks: [{ tokens: [1, 2] }] }, sampling_params: { max_tokens: 1 } };

test('only a request for samples with a number in its sampler is a repetition', async (t) => {
  const { post } = await start(t);
  const session = await readOk<{ session_id: string }>(await post('/api/v1/create_session', {}));
  const sampler = await readOk<{ sampling_session_id: string }>(
    await post('/api/v1/create_sampling_session', {
      ...session,
      ...{ sampling_session_seq_id: 0, base_model: 'toy' },
    }),
  );
  const ids = async (body: object) => {
    const headers = { 'content-type': 'application/json', 'x-request-id': 'always-the-same' };
    const both = [0, 1].map(() => post('/api/v1/asample', { ...SAMPLE, ...body }, { headers }));
    const answers = await Promise.all(both);
    const found = await Promise.all(answers.map((one) => readOk<{ request_id: string }>(one)));
    return new Set(found.map(({ request_id }) => request_id)).size;
  };
  assert.equal(await ids({ ...sampler, seq_id: 3 }), 1);
  assert.equal(await ids(sampler), 2);
  assert.equal(await ids({ base_model: 'toy' }), 2);
});

test('a page that is not a number is refused, and names the parameter', async (t) => {
  const { app } = await start(t);
  const response = await app.request('/api/v1/training_runs?limit=many');
  assert.equal(response.status, 400);
  assert.equal((await readError(response)).param, 'limit');
});

test('a tenant with its share of unfinished requests waits, and others continue', async (t) => {
  const { service, post } = await start(t, () => new Promise(() => {}));
  const request = sampleBody.parse(SAMPLE);
  for (let i = 0; i < 2500; i++) service.sample(LOCAL_TENANT, `${i}`, 'base', request);
  const refused = await post('/api/v1/asample', { ...SAMPLE, base_model: 'toy' });
  assert.equal(refused.status, 429);
  assert.equal(refused.headers.get('retry-after'), '1');
  assert.equal((await readError(refused)).code, 'rate_limit_exceeded');
  service.sample(LOCAL_TENANT, '0', 'base', request); // a repetition
  service.sample({ ...LOCAL_TENANT, id: 'other' }, 'first', 'base', request);
});

test('metadata that is too large or too deep is refused by each request that has some', async (t) => {
  const { post } = await start(t);
  const created = { session_id: 's', model_seq_id: 0 };
  const saved = { model_id: 'm', seq_id: 1, path: 'a' };
  const bodies = {
    create_session: {},
    create_model: { ...created, base_model: 'toy', lora_config: { rank: 1 } },
    load_weights: { ...created, path: 'a', optimizer: false },
    save_weights: saved,
    save_weights_for_sampler: saved,
  };
  for (const [name, body] of Object.entries(bodies)) {
    const send = (note: unknown) => post(`/api/v1/${name}`, { ...body, user_metadata: { note } });
    const nested = (levels: number) => JSON.parse('['.repeat(levels) + ']'.repeat(levels));
    for (const note of ['x'.repeat(20_000), nested(40)]) {
      const { param, message } = await readError(await send(note));
      assert.deepEqual([param, /16 kB.* 32 levels/.test(message)], ['user_metadata', true], name);
    }
    for (const note of ['x'.repeat(10_000), nested(20)])
      assert.notEqual((await send(note)).status, 400, name);
  }
});

test('a copy with a token, or into a session of its own choice, is refused by the name of the field', async (t) => {
  const { post } = await start(t);
  const send = (body: object, headers = {}) =>
    post(
      '/api/v1/copy_weights',
      { source_path: 'tinker://a', ...body },
      { headers: { 'content-type': 'application/json', ...headers } },
    );
  for (const field of ['session_id', 'weights_access_token']) {
    assert.equal((await readError(await send({ [field]: 'x' }))).param, field);
  }
  const withToken = await send({}, { 'x-tinker-weights-access-token': 'x' });
  assert.equal((await readError(withToken)).param, 'weights_access_token');
  assert.equal((await readError(await send({}))).param, 'source_path');
});
