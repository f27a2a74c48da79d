// What a session keeps on the disk, until it is no longer needed: requests, results and states of its models.

import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { SessionJournal } from '../../src/tinker/journal.ts';
import type { SessionFacts } from '../../src/tinker/journal-entries.ts';
import { Sessions } from '../../src/tinker/sessions.ts';
import { temporaryFolder } from '../fixtures.ts';
import { pluck } from '../pluck.ts';

const FACTS = { tenant: 'acme', base: 'b'.repeat(64), metadata: { why: 'test' } };
const pass = (size: number) => ({ kind: 'pass', bytes: new Uint8Array(size).fill(7) }) as const;

async function begin(t: TestContext, facts: Partial<SessionFacts> = {}) {
  const root = temporaryFolder(t);
  const journal = await SessionJournal.create(root, { id: 'one', ...FACTS, ...facts });
  return { root, journal };
}

async function reopen(root: string) {
  const [journal] = await SessionJournal.findAll(root);
  await journal!.open();
  return { journal: journal!, facts: await journal!.readFacts() };
}

test('a journal that is opened again has its requests and results, and none that was cut off', async (t) => {
  const { root, journal } = await begin(t);
  await journal.addRequest(0, 1, pass(3));
  await journal.addResult(0, 1, { value: new Uint8Array([1, 2]) });
  const error = { code: 'invalid_request', message: 'no', param: 'data' } as const;
  await journal.addResult(0, 2, { error });
  await journal.addRequest(12, 3, { kind: 'sampler', sampler: 4 });
  writeFileSync(path.join(root, 'one', '0-3.request.tmp'), 'cut off');
  mkdirSync(path.join(root, 'two')); // its server was killed before the session had begun
  const { journal: again, facts } = await reopen(root);
  assert.deepEqual(facts, { id: 'one', ...FACTS });
  assert.deepEqual(again.entries(), journal.entries());
  assert.deepEqual(
    [...again.entries()],
    [
      [0, { request: [1], result: [1, 2], state: [] }],
      [12, { request: [3], result: [], state: [] }],
    ],
  );
  assert.deepEqual(await again.readRequest(0, 1), pass(3));
  assert.deepEqual(await again.readResult(0, 1), { value: new Uint8Array([1, 2]) });
  assert.deepEqual(await again.readResult(0, 2), { error });
});

test('a state replaces the requests before it, and the results before the state before it', async (t) => {
  const { journal } = await begin(t);
  const state = (seq: number) => journal.addState(0, seq, async () => {});
  for (let seq = 0; seq < 6; seq++) {
    await journal.addRequest(0, seq, pass(1));
    await journal.addResult(0, seq, { value: {} });
    if (seq === 2 || seq === 4) await state(seq);
  }
  assert.deepEqual(journal.entries().get(0), {
    request: [5],
    result: [3, 4, 5],
    state: [4],
  });
});

test('a state that is cut off changes nothing and takes no space', async (t) => {
  const { root, journal } = await begin(t);
  await journal.addRequest(0, 0, pass(1));
  const before = journal.entries();
  const failed = journal.addState(0, 0, async (folder) => {
    writeFileSync(path.join(folder, 'weights'), 'half');
    throw new Error('the disk is full');
  });
  await assert.rejects(failed, /full/);
  assert.deepEqual(journal.entries(), before);
  const files = ['0-0.request', 'session'];
  assert.deepEqual(readdirSync(path.join(root, 'one')).sort(), files);
  mkdirSync(path.join(root, 'one', '0-0.state.tmp')); // its server was killed
  await reopen(root);
  assert.deepEqual(readdirSync(path.join(root, 'one')).sort(), files);
});

test('a state keeps a request whose result is not written yet', async (t) => {
  const { journal } = await begin(t);
  await journal.addRequest(0, 1, pass(1));
  await journal.addResult(0, 1, { value: {} });
  await journal.addRequest(0, 2, pass(1));
  await journal.addState(0, 2, async () => {});
  assert.deepEqual(journal.entries().get(0), { request: [2], result: [1], state: [2] });
});

test('only the newest results of a model are kept', async (t) => {
  const { root } = await begin(t);
  for (let seq = 0; seq < 2500; seq++) writeFileSync(path.join(root, 'one', `0-${seq}.result`), '');
  const { journal } = await reopen(root);
  for (const seq of [2500, 2501]) await journal.addResult(0, seq, { value: {} });
  await journal.addResult(1, 0, { value: {} });
  const { journal: again } = await reopen(root);
  const { result } = again.entries().get(0)!;
  assert.deepEqual([result.length, result[0], result.at(-1)], [2500, 2, 2501]);
});

test('requests that are written at the same time share the limit', async (t) => {
  const { root } = await begin(t);
  const file = path.join(root, 'one', '0-1.request');
  writeFileSync(file, '');
  truncateSync(file, 2 ** 30 - 600); // takes no space
  const { journal: full } = await reopen(root);
  const added = [2, 3, 4].map((seq) => full.addRequest(0, seq, pass(400)));
  const outcomes = await Promise.allSettled(added);
  assert.deepEqual(pluck(outcomes, 'status'), ['fulfilled', 'rejected', 'rejected']);
});

test('the sampler that was not used for the longest time is forgotten with its file', async (t) => {
  const root = temporaryFolder(t);
  const log = { warn: () => {} };
  const sessions = new Sessions({ now: Date.now, base: FACTS.base, root, log, onEnd: () => {} });
  const session = await sessions.begin('acme', null);
  const source = { model: 'base', baseModel: 'base' };
  const [reference, second] = [0, 1].map((number) => `${session.id}:sample:${number}`);
  const add = (number: number) => sessions.addSamplingSession(session, number, source);
  for (const number of [0, 1]) await add(number);
  await Promise.all(Array.from({ length: 998 }, (_, i) => add(i + 2)));
  sessions.samplingSession('acme', reference!);
  await add(1000);
  sessions.samplingSession('acme', reference!);
  assert.throws(() => sessions.samplingSession('acme', second!), { code: 'not_found' });
  const files = readdirSync(path.join(root, session.id)).filter((name) => /sampler/.test(name));
  assert.deepEqual([files.length, files.includes('1.sampler')], [1000, false]);
  const samplers = await session.journal.samplingSessions(2); // as after a start with more than the limit
  assert.deepEqual(
    samplers.map(([number]) => number),
    [999, 1000],
  );
  assert.equal(readdirSync(path.join(root, session.id)).length, 3);
});

test('a sampler is made and joined in parallel, and the next server counts on', async (t) => {
  const root = temporaryFolder(t);
  const log = { warn: () => {} };
  const sessions = new Sessions({ now: Date.now, base: FACTS.base, root, log, onEnd: () => {} });
  const session = await sessions.begin('acme', null);
  const id = `${session.id}:sample:0`;
  const join = () => sessions.joinSamplingSession('acme', id);
  const make = async () => {
    await sessions.addSamplingSession(session, 0, { model: 'base', baseModel: 'base' });
    return join();
  };
  const made = await Promise.all([make(), make(), make()]);
  const joined = await Promise.all(Array.from({ length: 20 }, join));
  assert.deepEqual(
    [...made, ...joined],
    Array.from({ length: 23 }, (_, i) => i + 1),
  );
  assert.equal((await session.journal.samplingSessions(1))[0]![1].clones, 23);
});

test('requests that are not done have a limit, which a state frees', async (t) => {
  const { root, journal } = await begin(t);
  const file = path.join(root, 'one', '0-1.request');
  writeFileSync(file, '');
  truncateSync(file, 2 ** 30 + 1); // takes no space
  await journal.addResult(0, 1, { value: {} });
  const { journal: full } = await reopen(root);
  await assert.rejects(full.addRequest(0, 2, pass(1)), { code: 'rate_limit_exceeded' });
  await full.addState(0, 1, async () => {});
  await full.addRequest(0, 2, pass(1));
  assert.deepEqual(full.entries().get(0)!.request, [2]);
});

test('sessions of this base continue with their samplers; those of others wait for a day', async (t) => {
  const { root, journal } = await begin(t, { id: 'one' });
  const sampler = { model: 'one-0@1', baseModel: 'base', clones: 2 };
  await journal.writeSamplingSession(7, sampler);
  for (const id of ['old', 'new']) {
    await SessionJournal.create(root, { id, ...FACTS, base: 'c'.repeat(64) });
  }
  const now = Date.now();
  utimesSync(path.join(root, 'old'), now / 1000 - 90_000, now / 1000 - 90_000);
  const log = { warn: () => {} };
  const onEnd = () => {};
  const sessions = new Sessions({ now: () => now, base: FACTS.base, root, log, onEnd });
  sessions.reopen(async ({ id }) => assert.equal(id, 'one'));
  await sessions.whenReopened('acme');
  assert.deepEqual(pluck(sessions.of('acme'), 'id'), ['one']);
  assert.deepEqual(readdirSync(root).sort(), ['new', 'one']);
  assert.deepEqual(sessions.samplingSession('acme', 'one:sample:7'), {
    ...sampler,
    id: 'one:sample:7',
  });
  assert.equal(await sessions.joinSamplingSession('acme', 'one:sample:7'), 3);
  assert.equal((await journal.samplingSessions(1))[0]![1].clones, 3);
});
