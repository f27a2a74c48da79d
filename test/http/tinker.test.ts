// The routes of training loops: what repeats a request, and what is refused.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { LOCAL_TENANT } from '../../src/contracts/tenant.ts';
import { sampleBody } from '../../src/http/schema/tinker.ts';
import type { TinkerOptions } from '../../src/tinker/tinker-service.ts';
import { sampleFolder } from '../adapters/published.ts';
import { startMachine } from '../tinker/machine.ts';
import { assertRefused, readError, readOk, serve } from './served.ts';

const refuse = async () => ({ status: 400, body: JSON.stringify({ error: { message: 'no' } }) });

async function start(t: TestContext, answer: TinkerOptions['answer'] = refuse) {
  const { service } = await startMachine(t).serve({ answer });
  return { service, ...serve({ tinker: service }) };
}

test('more samples than a completion has choices are refused before anything is made for them', async (t) => {
  const { post } = await start(t);
  const asked = { ...SAMPLE, base_model: 'toy', num_samples: 50_000_000 };
  const refusal = { param: 'num_samples', message: /128/ };
  await assertRefused(await post('/api/v1/asample', asked), refusal);
});

const SAMPLE = { prompt: { chunks: [{ tokens: [1, 2] }] }, sampling_params: { max_tokens: 1 } };

test('only a request for samples with a number in its sampler is a repetition', async (t) => {
  const { post } = await start(t);
  const session = await readOk<{ session_id: string }>(await post('/api/v1/create_session', {}));
  const asked = { ...session, sampling_session_seq_id: 0, base_model: 'toy' };
  const made = await post('/api/v1/create_sampling_session', asked);
  const sampler = await readOk<{ sampling_session_id: string }>(made);
  const ids = async (body: object) => {
    const headers = { 'x-request-id': 'always-the-same' };
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
  await assertRefused(response, { status: 400, param: 'limit' });
});

test('a list of checkpoints continues after its cursor, or at an offset', async (t) => {
  const { service, app } = await start(t);
  const id = 'tinker-0123456789abcdef01234567:train:0';
  const facts = { baseModel: 'toy', baseDigest: 'b'.repeat(64), rank: 4, metadata: null };
  await service.runs.create({ id, tenant: LOCAL_TENANT.id, ...facts });
  for (const name of ['a', 'b']) {
    await service.runs.save(
      await service.runs.find(LOCAL_TENANT.id, id),
      { folder: 'sampler_weights', name, expiresMs: null, metadata: null },
      { directory: sampleFolder(), momentsFile: undefined, publicationId: name },
    );
  }
  const list = async (query: string) => {
    const response = await app.request(`/api/v1/checkpoints?limit=1&${query}`);
    const { checkpoints, cursor } = await readOk<CheckpointList>(response);
    return [
      checkpoints.map((one) => one.checkpoint_id.slice(-1)),
      cursor.total_count,
      cursor.after,
    ];
  };
  const after = 'tinker-0123456789abcdef01234567-0@2';
  assert.deepEqual(await list(''), [['b'], 2, after]);
  assert.deepEqual(await list(`after=${after}`), [['a'], 1, null]);
  assert.deepEqual(await list('offset=1'), [['a'], 2, null]);
  await assertRefused(await app.request('/api/v1/checkpoints?after=b'), { param: 'after' });
});

interface CheckpointList {
  readonly checkpoints: readonly { readonly checkpoint_id: string }[];
  readonly cursor: { readonly total_count: number; readonly after: string | null };
}

test('a tenant with its share of unfinished requests waits, and others continue', async (t) => {
  const { service, post } = await start(t, () => new Promise(() => {}));
  const request = sampleBody.parse(SAMPLE);
  for (let i = 0; i < 2500; i++) service.sample(LOCAL_TENANT, `${i}`, 'base', request);
  const refused = await post('/api/v1/asample', { ...SAMPLE, base_model: 'toy' });
  assert.equal(refused.headers.get('retry-after'), '1');
  await assertRefused(refused, { status: 429, code: 'rate_limit_exceeded' });
  service.sample(LOCAL_TENANT, '0', 'base', request); // a repetition
  service.sample({ ...LOCAL_TENANT, id: 'other' }, 'first', 'base', request);
});

test('a request for samples that does not fit the context does not wait', async (t) => {
  const { post } = await start(t);
  const prompt = { chunks: [{ tokens: new Array(64).fill(1) }] };
  const refused = await post('/api/v1/asample', { ...SAMPLE, prompt, base_model: 'toy' });
  await assertRefused(refused, { status: 400, param: 'prompt' });
});

test('waiting requests for samples take no more memory than their bodies, and a tenant a part of it', async (t) => {
  const { service, post } = await start(t, () => new Promise(() => {}));
  // A row of targets may be as wide as the body allows.
  const data = new Array(300_000).fill(-1);
  const target_prompt_logprobs = { data, dtype: 'int64', shape: [1, data.length] };
  const body = { ...SAMPLE, base_model: 'toy', target_prompt_logprobs };
  const request = sampleBody.parse(body);
  const before = heapBytes();
  let count = 0;
  const draw = () => service.sample(LOCAL_TENANT, `${count++}`, 'base', request);
  assert.throws(
    () => {
      for (let i = 0; i < 200; i++) draw();
    },
    { code: 'rate_limit_exceeded' },
  );
  const taken = heapBytes() - before;
  assert.ok(count > 50 && taken < 80e6, `${count} requests take ${taken} bytes`);
  assert.equal((await post('/api/v1/asample', body)).status, 429);
  service.sample({ ...LOCAL_TENANT, id: 'other' }, 'first', 'base', request);
});

function heapBytes(): number {
  globalThis.gc!();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

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
      const refusal = { param: 'user_metadata', message: /16 kB.* 32 levels/ };
      await assertRefused(await send(note), refusal, name);
    }
    for (const note of ['x'.repeat(10_000), nested(20)])
      assert.notEqual((await send(note)).status, 400, name);
  }
});

test('a copy with a token, or into a session of its own choice, is refused by the name of the field', async (t) => {
  const { post } = await start(t);
  const send = (body: object, headers = {}) =>
    post('/api/v1/copy_weights', { source_path: 'tinker://a', ...body }, { headers });
  for (const field of ['session_id', 'weights_access_token']) {
    assert.equal((await readError(await send({ [field]: 'x' }))).param, field);
  }
  const withToken = await send({}, { 'x-tinker-weights-access-token': 'x' });
  assert.equal((await readError(withToken)).param, 'weights_access_token');
  assert.equal((await readError(await send({}))).param, 'source_path');
});

test('a request that is refused uses up its number, so the next ones run', async (t) => {
  const { post } = await start(t);
  const session = await readOk<{ session_id: string }>(await post('/api/v1/create_session', {}));
  const model = { ...session, model_seq_id: 0, base_model: 'toy', lora_config: { rank: 2 } };
  const made = await post('/api/v1/create_model', model);
  const created = await readOk<{ request_id: string }>(made);
  const result = async (request_id: string) =>
    readOk<{ error?: string }>(await post('/api/v1/retrieve_future', { request_id }));
  await result(created.request_id);
  const model_id = `${session.session_id}:train:0`;
  const refused: [name: string, body: object, param: string][] = [
    ['optim_step', { adam_params: { beta1: 1.5 } }, 'adam_params.beta1'],
    ['optim_step', { adam_params: { learning_rate: null } }, 'adam_params.learning_rate'],
    ['save_weights', { path: 'step 10' }, 'path'],
    ['save_weights', { path: 'a', user_metadata: { a: 'x'.repeat(20_000) } }, 'user_metadata'],
    ['save_weights_for_sampler', { path: '..' }, 'path'],
    ['load_weights', { path: 'a' }, ''],
  ];
  for (const [i, [name, body, param]] of refused.entries()) {
    const response = await post(`/api/v1/${name}`, { model_id, seq_id: i + 1, ...body });
    const { param: named } = await readError(response);
    assert.deepEqual([response.status, named ?? ''], [400, param]);
  }
  const step = await post('/api/v1/optim_step', { model_id, seq_id: refused.length + 1 });
  const { request_id } = await readOk<{ request_id: string }>(step);
  assert.equal((await result(request_id)).error, undefined);
  assert.match((await result(`${model_id}:1`)).error!, /beta1/);
});

test('a server answers while it still reads the sessions of the last one', async (t) => {
  const machine = startMachine(t);
  const { service: last } = await machine.serve();
  const { id } = await last.sessions.begin(LOCAL_TENANT.id, null);
  const facts = path.join(machine.folderOf(id), 'session');
  const content = readFileSync(facts);
  rmSync(facts);
  execFileSync('mkfifo', [facts]); // reading it waits for a writer
  const { app, post } = serve({ tinker: machine.open().service });
  let isAnswered = false;
  const heartbeat = post('/api/v1/session_heartbeat', { session_id: id }).then((response) => {
    isAnswered = true;
    return response;
  });
  assert.equal((await app.request('/livez')).status, 200);
  assert.equal(isAnswered, false);
  await writeFile(facts, content);
  await readOk(await heartbeat);
});
