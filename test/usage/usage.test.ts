// Usage that several servers count, over one store: nothing is lost or counted twice but what was not written.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { guardStore } from '../../adapters/store/guarded-store.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { UsageArchive } from '../../src/usage/usage-archive.ts';
import { UsageRecorder } from '../../src/usage/usage-recorder.ts';
import type { UsageRow } from '../../src/usage/usage-table.ts';
import { watchStore } from '../adapters/published.ts';

const DAY_MS = 86_400_000;
const START_MS = Date.UTC(2026, 10, 29);
const request = {
  tenant: 'acme',
  model: 'zen',
  isBatch: false,
  inputTokens: 10,
  cachedTokens: 4,
  outputTokens: 3,
};

function openServer(store: ObjectStore, server: string, clock: { ms: number }) {
  const now = () => clock.ms;
  const archive = new UsageArchive({ store: guardStore(store) }, now);
  return { archive, recorder: new UsageRecorder({ archive, server, now }) };
}

/** Sums by day and labels: the plain twin. */
function summed(
  rows: readonly (Omit<UsageRow, 'requests'> & { day: number; requests?: number })[],
) {
  const sums: Record<string, number[]> = {};
  for (const { day, tenant, model, isBatch, requests = 1, ...tokens } of rows) {
    const counts = [requests, tokens.inputTokens, tokens.cachedTokens, tokens.outputTokens];
    const key = [day, tenant, model, isBatch].join();
    sums[key] = counts.map((count, i) => count + (sums[key]?.[i] ?? 0));
  }
  return sums;
}

async function readAll(archive: UsageArchive) {
  const days = await archive.read(START_MS, START_MS + 40 * DAY_MS);
  return summed(
    days.flatMap(({ startMs, rows }) =>
      rows.map((row) => ({ ...row, day: (startMs - START_MS) / DAY_MS })),
    ),
  );
}

test('a server that is killed loses what it has not written, and its successor does not overwrite the rest', async () => {
  const store = createMemoryStore();
  const clock = { ms: START_MS };
  const killed = openServer(store, 'aa', clock);
  killed.recorder.add(request);
  await killed.recorder.flush();
  killed.recorder.add(request);
  const next = openServer(store, 'bb', clock);
  next.recorder.add(request);
  await next.recorder.flush();
  assert.deepEqual(await readAll(next.archive), { '0,acme,zen,false': [2, 20, 8, 6] });
});

test('a write that fails is repeated with all that it would have written', async () => {
  const store = createMemoryStore();
  const clock = { ms: START_MS };
  let isDown = true;
  const failing = watchStore(store);
  failing.put = async (...call) => {
    if (isDown) throw new Error('no network');
    return store.put(...call);
  };
  const { archive, recorder } = openServer(failing, 'aa', clock);
  recorder.add(request);
  await assert.rejects(recorder.flush(), /no network/);
  clock.ms += DAY_MS; // the day of the first request is over
  recorder.add(request);
  isDown = false;
  await recorder.flush();
  assert.deepEqual(await readAll(archive), {
    '0,acme,zen,false': [1, 10, 4, 3],
    '1,acme,zen,false': [1, 10, 4, 3],
  });
});

test('a day that is over is read with one request, until a server writes late', async () => {
  const inner = createMemoryStore();
  const clock = { ms: START_MS };
  const servers = ['aa', 'bb', 'cc'].map((name) => openServer(inner, name, clock));
  for (const { recorder } of servers) {
    recorder.add(request);
    await recorder.flush();
  }
  clock.ms += 2 * DAY_MS;
  const cold = async () => {
    const store = watchStore(inner);
    const sums = await readAll(openServer(store, 'dd', clock).archive);
    return { sums, reads: store.reads };
  };
  const first = await cold();
  assert.equal(first.reads.length, 4); // a list, three objects
  const second = await cold();
  assert.deepEqual(second.reads, ['.usage/', '.usage/2026-11-29/all']);
  assert.deepEqual(second.sums, first.sums);
  clock.ms -= 2 * DAY_MS;
  servers[1]!.recorder.add(request);
  clock.ms += 2 * DAY_MS;
  await servers[1]!.recorder.flush();
  assert.deepEqual((await cold()).sums, { '0,acme,zen,false': [4, 40, 16, 12] });
  assert.equal((await cold()).reads.length, 2);
});

test('today is read again only if it changed', async () => {
  const inner = createMemoryStore();
  const clock = { ms: START_MS };
  const busy = openServer(inner, 'aa', clock);
  const store = watchStore(inner);
  const reader = openServer(store, 'bb', clock);
  busy.recorder.add(request);
  await busy.recorder.flush();
  for (let i = 0; i < 3; i++) await readAll(reader.archive);
  assert.deepEqual(store.reads, ['.usage/', '.usage/2026-11-29/aa', '.usage/', '.usage/']);
});

test('whatever servers count and whenever they write, the sums are those of a plain list', async () => {
  const step = fc.record({
    server: fc.nat(2),
    tenant: fc.constantFrom('acme', 'beta'),
    model: fc.constantFrom('base', 'zen'),
    isBatch: fc.boolean(),
    inputTokens: fc.nat(100),
    cachedTokens: fc.nat(10),
    outputTokens: fc.nat(50),
    waitMs: fc.constantFrom(1, 30_000, DAY_MS / 3),
    isWritten: fc.boolean(),
    isRead: fc.boolean(),
  });
  const property = fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
    const store = createMemoryStore();
    const clock = { ms: START_MS };
    const servers = ['aa', 'bb', 'cc'].map((name) => openServer(store, name, clock));
    const all = [];
    for (const { server, waitMs, isWritten, isRead, ...row } of steps) {
      servers[server]!.recorder.add(row);
      all.push({ ...row, day: Math.floor((clock.ms - START_MS) / DAY_MS) });
      if (isWritten) await servers[server]!.recorder.flush();
      clock.ms += waitMs;
      if (isRead) await readAll(servers[0]!.archive);
    }
    for (const { recorder } of servers) await recorder.flush();
    for (const { archive } of servers) assert.deepEqual(await readAll(archive), summed(all));
  });
  await fc.assert(property, { numRuns: 100 });
});
