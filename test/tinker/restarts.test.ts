// What a session's models compute does not depend on when a server or a trainer ends, or on a disk that is full.
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { serialize } from 'node:v8';
import { createRepository } from '../../adapters/repository/repository.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { adapterOfRun } from '../../src/contracts/tinker-path.ts';
import {
  decodeEntry,
  factsSchema,
  type JournaledRequest,
  requestSchema,
  resultSchema,
} from '../../src/tinker/journal-entries.ts';
import { TrainerLost } from '../../src/tinker/training-process.ts';
import { sampleFolder } from '../adapters/published.ts';
import { until } from '../until.ts';
import { startMachine, TENANT } from './machine.ts';
import { begin, done, pass, SAVE, STEP, send } from './requests.ts';

const FIRST = { from: 1, requests: [pass(1, 2, 3), pass(4, 5), STEP] };
const REST = { from: 4, requests: [pass(6, 7), STEP, pass(1, 2, 3)] };

async function startModel(t: TestContext) {
  const machine = startMachine(t);
  const server = await machine.serve();
  return { machine, server, model: await begin(server) };
}

async function undisturbed(t: TestContext): Promise<unknown> {
  const { server, model } = await startModel(t);
  await send(server, model, FIRST);
  return send(server, model, REST);
}

test('models continue to the same bytes in another trainer and in another server', async (t) => {
  const { machine, server: first, model } = await startModel(t);
  await send(first, model, { ...FIRST, requests: FIRST.requests.slice(0, 2) });
  first.trainer.end();
  await send(first, model, { from: 3, requests: [STEP] });
  const second = await machine.serve();
  assert.deepEqual(await send(second, model, REST), await undisturbed(t));
  const run = await second.service.runs.find(TENANT, model.modelId);
  assert.equal(second.service.progressOf(run).curve.steps, 2);
});

/** Rewrites a session's files as release 0.3.0 wrote them. */
function toOldFormat(folder: string): void {
  const schemas = { session: factsSchema, request: requestSchema, result: resultSchema };
  for (const name of readdirSync(folder)) {
    const schema = schemas[name.split('.').at(-1) as keyof typeof schemas];
    const file = path.join(folder, name);
    writeFileSync(file, serialize(decodeEntry<unknown>(readFileSync(file), schema, name)));
  }
}

test('a session of release 0.3.0 continues, even with more waiting requests than a client may send', async (t) => {
  const { machine, server: first, model } = await startModel(t);
  await send(first, model, FIRST);
  first.service.close();
  const folder = machine.folderOf(model.sessionId);
  toOldFormat(folder);
  for (let seq = 10; seq < 400; seq++) {
    writeFileSync(path.join(folder, `0-${seq}.request`), serialize(STEP));
  }
  const second = await machine.serve();
  assert.deepEqual(second.warnings, []);
  assert.deepEqual(await send(second, model, REST), await undisturbed(t));
});

/** Adds a field that no reader knows. */
function padded(
  { bytes }: Extract<JournaledRequest, { kind: 'pass' }>,
  length: number,
): JournaledRequest {
  const digits = [0, 7, 14, 21].map((bits, i) => ((length >> bits) & 127) | (i < 3 ? 128 : 0));
  const tag = Buffer.from([0x7a, ...digits]);
  return { kind: 'pass', bytes: Buffer.concat([bytes, tag, Buffer.alloc(length)]) };
}

test('a state replaces large requests before they fill the journal', async (t) => {
  const { machine, server, model } = await startModel(t);
  const requests = [padded(pass(1, 2, 3), 2 ** 26), pass(4, 5), STEP];
  await send(server, model, { from: 1, requests });
  const files = readdirSync(machine.folderOf(model.sessionId));
  assert.ok(files.includes('0-1.state') && !files.includes('0-1.request'), `${files}`);
  assert.deepEqual(await send(server, model, REST), await undisturbed(t));
});

for (const { what, isNew } of [
  { what: 'a new model', isNew: true },
  { what: 'a model that has been trained', isNew: false },
]) {
  test(`a checkpoint that is loaded into ${what} has its result if the server is killed before it is written`, async (t) => {
    const machine = startMachine(t);
    const first = await machine.serve();
    const { sessionId, modelId } = await begin(first);
    await send(first, { modelId }, FIRST);
    await send(first, { modelId }, { from: 4, requests: [SAVE, pass(6, 7), STEP] });
    const from = { path: `tinker://${modelId}/weights/a`, withOptimizer: true, metadata: null };
    const number = isNew ? 1 : 0;
    const target = { tenant: TENANT, sessionId, number };
    const blocked = path.join(machine.folderOf(sessionId), `${number}-${isNew ? 0 : 7}.result.tmp`);
    mkdirSync(blocked); // the result is not written
    const id = await (isNew
      ? first.service.createFrom(target, from)
      : first.service.submit({ tenant: TENANT, modelId, seq: 7 }, { kind: 'load', ...from }));
    await assert.rejects(done(first.service, Promise.resolve(id)), { code: 'EISDIR' });
    rmdirSync(blocked);
    const second = await machine.serve();
    const model = { modelId: `${sessionId}:train:${number}` };
    assert.deepEqual(await done(second.service, Promise.resolve(id)), {
      ...{ type: 'load_weights', path: from.path, model_id: model.modelId },
    });
    const requests = { ...REST, from: isNew ? 1 : 8 };
    assert.deepEqual(await send(second, model, requests), await undisturbed(t));
  });
}

test('a result that a full disk has lost fails, and the model goes on', async (t) => {
  const { machine, server, model } = await startModel(t);
  await send(server, model, { ...FIRST, requests: FIRST.requests.slice(0, 2) });
  const blocked = path.join(machine.folderOf(model.sessionId), '0-3.result.tmp');
  mkdirSync(blocked); // writing the result fails
  await assert.rejects(send(server, model, { from: 3, requests: [STEP] }), { code: 'EISDIR' });
  rmdirSync(blocked);
  await send(server, model, { from: 4, requests: REST.requests.slice(0, 1) });
  const second = await machine.serve();
  const rest = { from: 5, requests: REST.requests.slice(1) };
  assert.deepEqual(await send(second, model, rest), await undisturbed(t));
});

test('a request is performed however often others end the trainer before it', async (t) => {
  const { server, model } = await startModel(t);
  const { trainer } = server;
  trainer.end();
  let ends = 0;
  trainer.onPerformed = () => {
    if (trainer.performed.at(-1) === 'create' && ends++ < 5) trainer.end(); // another tenant's task is next
  };
  await send(server, model, { from: 1, requests: [pass(1, 2)] });
  assert.equal(trainer.performed.filter((kind) => kind === 'create').length, 1 + 6);
});

test('a request that ends the trainer three times is refused, and the model goes on', async (t) => {
  const { server, model } = await startModel(t);
  const { trainer } = server;
  trainer.onPerformed = () => {
    if (trainer.performed.at(-1) !== 'pass') return;
    trainer.end();
    throw new TrainerLost();
  };
  const requests = [pass(1, 2)];
  await assert.rejects(send(server, model, { from: 1, requests }), { code: 'internal_error' });
  assert.equal(trainer.performed.filter((kind) => kind === 'pass').length, 3);
  trainer.onPerformed = () => {};
  await send(server, model, { from: 2, requests: FIRST.requests });
  assert.deepEqual(await send(server, model, { ...REST, from: 5 }), await undisturbed(t));
});

test('a model whose files are lost says so', async (t) => {
  const { machine, server: first, model } = await startModel(t);
  await send(first, model, { from: 1, requests: [padded(pass(1, 2, 3), 2 ** 26), STEP] });
  rmSync(path.join(machine.folderOf(model.sessionId), '0-1.state'), { recursive: true });
  rmSync(path.join(machine.folderOf(model.sessionId), '0-2.request'));
  const second = await machine.serve();
  const lost = send(second, model, { from: 3, requests: [STEP] });
  await assert.rejects(lost, { code: 'internal_error', message: /files on the server are lost/ });
});

test('a request that is repeated while it is written is performed once', async (t) => {
  const machine = startMachine(t);
  const { service, trainer } = await machine.serve();
  const { modelId } = await begin({ service });
  const submit = () => service.submit({ tenant: TENANT, modelId, seq: 1 }, pass(1, 2));
  const [id, again] = await Promise.all([submit(), submit()]);
  assert.equal(id, again);
  await done(service, Promise.resolve(id));
  assert.deepEqual(trainer.performed, ['create', 'pass']);
});

test('the folder of a server is never old for servers of other machines', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const machine = startMachine(t);
  const { sessionId } = await begin(await machine.serve());
  const directory = path.join(machine.folderOf(sessionId), '..', '..');
  utimesSync(directory, 1, 1);
  t.mock.timers.tick(60_000);
  t.mock.timers.reset();
  await until('a new time', () => statSync(directory).mtimeMs > 1_000_000);
});

test('a state is kept before the next request, not after all that wait', async (t) => {
  const machine = startMachine(t);
  const { service } = await machine.serve();
  const { modelId, sessionId } = await begin({ service });
  service.sessions.peekModel(TENANT, modelId)!.computedMs = 30_000;
  const to = { tenant: TENANT, modelId };
  const ids = [2, 3, 1].map((seq) => service.submit({ ...to, seq }, pass(1, 2)));
  for (const id of ids) await done(service, id);
  const states = readdirSync(machine.folderOf(sessionId)).filter((name) => name.endsWith('.state'));
  assert.deepEqual(states, ['0-0.state']);
});

test('a server starts with damaged sessions, and with a store that has lost the runs', async (t) => {
  const machine = startMachine(t);
  const first = await machine.serve();
  const [sound, damaged, newer] = [await begin(first), await begin(first), await begin(first)];
  await send(first, sound, FIRST);
  first.service.close();
  writeFileSync(path.join(machine.folderOf(damaged.sessionId), 'session'), '');
  writeFileSync(path.join(machine.folderOf(newer.sessionId), 'session'), '{"version":3}\n');
  const second = await machine.serve({ objects: createMemoryStore() });
  assert.equal(second.warnings.length, 2);
  assert.deepEqual(await send(second, sound, REST), await undisturbed(t));
  await assert.rejects(send(second, damaged, FIRST), { code: 'expired' });
});

test('when a session ends, its waiting requests are not performed, and the trainer ends', async (t) => {
  const machine = startMachine(t);
  const { service, trainer } = await machine.serve();
  const { modelId, sessionId } = await begin({ service });
  const submit = (seq: number) => service.submit({ tenant: TENANT, modelId, seq }, pass(1, 2));
  const late = [submit(2), submit(3), submit(4)];
  await Promise.all(late);
  const first = submit(1);
  await first;
  service.sessions.end(TENANT, sessionId);
  await until('the end', () => trainer.holder === undefined);
  await until('the removal', () => !existsSync(machine.folderOf(sessionId)));
  assert.ok(trainer.performed.filter((kind) => kind === 'pass').length <= 1);
  await assert.rejects(done(service, late[2]!), { code: 'expired' });
});

test('a server that starts removes what has expired', async (t) => {
  const machine = startMachine(t);
  const first = await machine.serve();
  const { modelId } = await begin(first);
  await first.service.runs.save(
    await first.service.runs.find(TENANT, modelId),
    { folder: 'weights', name: 'brief', expiresMs: 1, metadata: null },
    { directory: sampleFolder(), momentsFile: undefined, publicationId: 'brief' },
  );
  const repository = createRepository(machine.store);
  const version = () => repository.readManifest(TENANT, adapterOfRun(modelId)!, 1);
  assert.ok(await version());
  await machine.serve();
  await until('the removal', async () => !(await version()));
});
