// A server dies at any call of the store, before or after the call was carried out, and others continue its batch: each line has
// exactly one result.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { type ObjectStore, StoreError } from '../../adapters/store/store.ts';
import { wrapStore } from '../adapters/store/wrapped-store.ts';
import { until } from '../until.ts';
import { answerNumber, type BatchServer, lineOf, openBatches } from './simulated.ts';

const LINES = 12;
const isLong = process.env['LORIKEET_E2E_LONG'] !== undefined;

interface Kill {
  /** The calls that the server makes before its last one. */
  readonly calls: number;
  /** Whether the store carries out the last call. */
  readonly isCarriedOut: boolean;
}

/** A store as a server sees it that dies: from one call on, none is answered. */
function dyingStore(inner: ObjectStore, { calls, isCarriedOut }: Kill) {
  let count = 0;
  const state = { isDead: false };
  const dead = () => new StoreError('unavailable', 'the server is dead');
  const call = async <T>(work: () => Promise<T>): Promise<T> => {
    if (state.isDead) throw dead();
    if (++count <= calls) return work();
    state.isDead = true;
    if (isCarriedOut) await work();
    throw dead();
  };
  const store = wrapStore(inner, call);
  return { store, state };
}

/** Runs a batch on servers that die one after the other, and on one that does not. */
async function runWithKills(kills: readonly Kill[]): Promise<void> {
  const store = createMemoryStore();
  const gone = new Set<string>();
  const isGone = (owner: string) => gone.has(owner);
  const client = openBatches({ store });
  const batch = await client.create(Array.from({ length: LINES }, (_, n) => lineOf(n)));
  const hasEnded = async () => (await client.get(batch)).status === 'completed';
  for (const [i, kill] of kills.entries()) {
    const dying = dyingStore(store, kill);
    const owner = { name: `dying-${i}`, isGone };
    const server = openBatches({ store: dying.store, owner });
    server.worker.start();
    await until('the kill or the end', async () => dying.state.isDead || hasEnded(), { pollMs: 1 });
    dying.state.isDead = true;
    await server.worker.close(0);
    gone.add(owner.name);
  }
  const last = openBatches({ store, owner: { name: 'last', isGone } });
  last.worker.start();
  await last.until(batch, 'completed');
  await checkResults(last, batch.id);
  await last.worker.close(0);
}

async function checkResults(server: BatchServer, id: string): Promise<void> {
  const batch = await server.get({ id });
  const output = await server.read(batch.outputFile);
  const errors = await server.read(batch.errorFile);
  const ids = (lines: readonly { custom_id: string }[]) => lines.map((line) => line.custom_id);
  const all = Array.from({ length: LINES }, (_, n) => n);
  const named = (numbers: readonly number[]) => numbers.map((n) => `line-${n}`).sort();
  assert.deepEqual(ids(output).sort(), named(all.filter((n) => n % 5 !== 4)));
  assert.deepEqual(ids(errors).sort(), named(all.filter((n) => n % 5 === 4)));
  for (const { custom_id, response } of output) {
    const n = Number(custom_id.slice('line-'.length));
    const expected = await answerNumber({ body: JSON.stringify({ n }) });
    assert.deepEqual(response?.body, JSON.parse(expected.body));
  }
  const { completed, failed, usage } = batch;
  assert.deepEqual([completed, failed], [output.length, errors.length]);
  assert.equal(usage.inputTokens, 2 * completed);
}

test('F40: a batch whose server is killed at any call of the store has each result once', async () => {
  for (let calls = 0; calls < 80; calls += isLong ? 1 : 7) {
    for (const isCarriedOut of [false, true]) await runWithKills([{ calls, isCarriedOut }]);
  }
});

test('F40: a batch whose servers are killed again and again has each result once', async () => {
  const kill = fc.record({ calls: fc.integer({ min: 0, max: 40 }), isCarriedOut: fc.boolean() });
  const property = fc.asyncProperty(fc.array(kill, { minLength: 2, maxLength: 5 }), runWithKills);
  await fc.assert(property, { seed: 20261129, numRuns: isLong ? 200 : 8 });
});
