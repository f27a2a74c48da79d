// Numbers of requests that never arrive or that are refused, and what they leave behind.
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, rmdirSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { fieldError, ServeError } from '../../src/common/errors.ts';
import { LOCAL_TENANT } from '../../src/contracts/tenant.ts';
import { sampleBody } from '../../src/http/schema/tinker.ts';
import type { JournaledRequest } from '../../src/tinker/journal-entries.ts';
import type { TinkerOptions } from '../../src/tinker/tinker-service.ts';
import { ADAPTER, startMachine, TENANT } from './machine.ts';
import { begin, done, pass, STEP, send } from './requests.ts';

async function start(t: TestContext, answer?: TinkerOptions['answer']) {
  const machine = startMachine(t);
  const server = await machine.serve({ ...(answer && { answer }) });
  const { service } = server;
  const { sessionId, modelId } = await begin(server);
  return {
    machine,
    server,
    sessionId,
    modelId,
    submit: (seq: number, request: JournaledRequest = STEP) =>
      service.submit({ tenant: TENANT, modelId, seq }, request),
    files: (kind: string) =>
      readdirSync(machine.folderOf(sessionId)).filter((name) => name.endsWith(`.${kind}`)),
  };
}

test('requests over the limit leave no file, the next server continues the others, and the refused ones can be sent again', async (t) => {
  const { machine, sessionId, modelId, submit, files } = await start(t);
  const numbers = Array.from({ length: 400 }, (_, i) => i + 2);
  const outcomes = await Promise.allSettled(numbers.map((seq) => submit(seq)));
  const refused = outcomes.filter(({ status }) => status === 'rejected');
  assert.equal(refused.length, 144);
  assert.ok(refused.every((one) => one.status === 'rejected' && one.reason.status === 429));
  assert.equal(files('request').length, 1 + 256);
  const second = await machine.serve();
  assert.deepEqual(second.warnings, []);
  await send(second, { modelId }, { from: 1, requests: [STEP] });
  await done(second.service, Promise.resolve(`${sessionId}:train:0:257`));
  await send(second, { modelId }, { from: 258, requests: [STEP] });
});

test('a tenant with its share of unfinished requests can still send the one that others wait for', async (t) => {
  const { server, submit } = await start(t, () => new Promise(() => {}));
  const { service } = server;
  const early = await submit(2);
  const sample = sampleBody.parse({ prompt: { chunks: [{ tokens: [1] }] }, sampling_params: {} });
  for (let i = 1; i < 2500; i++) {
    service.sample({ ...LOCAL_TENANT, id: TENANT }, `sample ${i}`, 'base', sample);
  }
  await assert.rejects(submit(3), { code: 'rate_limit_exceeded' });
  await done(service, submit(1));
  await done(service, Promise.resolve(early));
});

test('a request waits for an earlier one until its client is quiet, and then runs without it', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: Date.now() });
  const { server, modelId, submit } = await start(t);
  const early = await submit(2);
  for (let minutes = 1; minutes <= 2; minutes++) t.mock.timers.tick(60_000);
  const model = server.service.sessions.peekModel(TENANT, modelId)!;
  await model.work.run(async () => assert.equal(model.done, 0));
  t.mock.timers.tick(60_000);
  await done(server.service, Promise.resolve(early));
  await assert.rejects(submit(1), { code: 'expired', param: 'seq_id' });
  await done(server.service, submit(3));
});

test('a refused request fails in its turn, also in the next server', async (t) => {
  const { machine, server, modelId, submit } = await start(t);
  const to = { tenant: TENANT, modelId };
  await submit(3);
  await server.service.refuse({ ...to, seq: 2 }, fieldError('adam_params.beta1', 'is wrong'));
  await server.service.refuse({ ...to, seq: 4 }, new ServeError('rate_limit_exceeded', 'later'));
  const second = await machine.serve();
  await send(second, { modelId }, { from: 1, requests: [STEP] });
  const failed = done(second.service, Promise.resolve(`${modelId}:2`));
  await assert.rejects(failed, { code: 'invalid_request', message: /beta1/ });
  await done(second.service, Promise.resolve(`${modelId}:3`));
  await send(second, { modelId }, { from: 4, requests: [STEP] }); // it can be sent again
});

test('when a session ends, requests that wait for one that never came fail', async (t) => {
  const { server, sessionId, submit } = await start(t);
  const early = await submit(2);
  server.service.sessions.end(TENANT, sessionId);
  await assert.rejects(done(server.service, Promise.resolve(early)), { code: 'expired' });
});

test('requests that changed nothing leave no file of theirs', async (t) => {
  const { server, modelId, submit, files } = await start(t);
  const unknownToken = pass(1, 200);
  for (const seq of [1, 2]) {
    await assert.rejects(done(server.service, submit(seq, unknownToken)), /not a token/);
  }
  await send(server, { modelId }, { from: 3, requests: [pass(1, 2), STEP] });
  assert.deepEqual(files('request').sort(), ['0-0.request', '0-3.request', '0-4.request']);
  assert.equal(files('result').length, 5);
});

test('a new model that could not be written can be created again', async (t) => {
  const { machine, server, sessionId } = await start(t);
  const blocked = path.join(machine.folderOf(sessionId), '1-0.request.tmp');
  const create = () =>
    server.service.createModel(
      { tenant: TENANT, sessionId, number: 1 },
      { baseModel: 'tiny', adapter: ADAPTER, metadata: null },
    );
  mkdirSync(blocked);
  await assert.rejects(create(), { code: 'EISDIR' });
  assert.equal(server.service.sessions.find(TENANT, sessionId).models.size, 1);
  rmdirSync(blocked);
  await done(server.service, create());
});
