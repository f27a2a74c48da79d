// Two tenants on a step loop with the real adapter cache: one floods it with adapters, the other has one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AdapterCache } from '../../adapters/cache/cache.ts';
import { toWeights } from '../../adapters/peft/weights.ts';
import type { TenantShare } from '../../src/contracts/tenant.ts';
import type { EngineEvent, PrefetchId, SequenceId } from '../../src/scheduler/protocol.ts';
import { isTerminal } from '../../src/scheduler/sequence.ts';
import { StepLoop } from '../../src/scheduler/step-loop.ts';
import { FakeEngine, referenceTokens, request, source } from './fake-engine.ts';

const SIZE = 10;

/** A loop whose cache has room for `room` adapters. */
function createLoop(room: number, { slotCount = 4 } = {}) {
  const loads: string[] = [];
  const adapters = new AdapterCache({
    capacityBytes: room * SIZE,
    openAdapter: async ({ digest }) => ({
      byteSize: SIZE,
      load: async () => {
        loads.push(digest);
        return { ...toWeights(digest, []), rank: 1, byteSize: SIZE };
      },
    }),
  });
  const loop = new StepLoop({ engine: new FakeEngine({ slotCount }), adapters });
  const events = new Map<SequenceId, EngineEvent[]>();
  const prefetches = new Map<PrefetchId, () => void>();
  const watchers = new Map<SequenceId, () => void>();
  const ended = loop.run((message) => {
    if (message.type === 'prefetched') prefetches.get(message.id)!();
    if (message.type !== 'step') return;
    for (const event of message.events) {
      events.get(event.id)!.push(event);
      if (isTerminal(event)) watchers.get(event.id)!();
    }
  });
  let lastId = 0;
  /** Resolves with the events of a request. */
  const ask = (tenant: string, adapter: string): Promise<EngineEvent[]> => {
    const id = ++lastId as SequenceId;
    const own: EngineEvent[] = [];
    events.set(id, own);
    const answer = new Promise<EngineEvent[]>((resolve) => watchers.set(id, () => resolve(own)));
    const of = {
      tenant: { id: tenant, weight: 1 },
      adapter: { ...source(adapter), owner: tenant },
    };
    loop.handle({ type: 'submit', id, ...of, request: request([id % 40]) });
    return answer;
  };
  /** Resolves once an adapter has been prefetched for its owner. */
  const prefetch = (owner: TenantShare, adapter: string): Promise<void> => {
    const id = ++lastId as PrefetchId;
    const prefetched = new Promise<void>((resolve) => prefetches.set(id, resolve));
    const of = { ...source(adapter), owner: owner.id };
    loop.handle({ type: 'prefetch', id, adapter: of, keepWarmMs: 0, tenant: owner });
    return prefetched;
  };
  const drain = async () => {
    loop.handle({ type: 'drain', deadlineMs: 10_000 });
    await ended;
  };
  return { ask, prefetch, loads, drain };
}

function tierOf(events: readonly EngineEvent[]): string | undefined {
  return events.flatMap((event) => (event.type === 'accepted' ? [event.tier] : []))[0];
}

test("T17, T15: beside 200 adapters of another tenant, a tenant's adapter is loaded once and its requests wait for no queue", async () => {
  const { ask, loads, drain } = createLoop(8);
  const own = await ask('b', 'b-1');
  assert.deepEqual(
    own.flatMap((event) => (event.type === 'token' ? [event.tokenId] : [])),
    referenceTokens(request([1]), 'b-1'),
  );
  let flooded = 0;
  const flood = Array.from({ length: 400 }, async (_, i) => {
    await ask('a', `a-${i % 200}`);
    flooded++;
  });
  for (let i = 0; i < 40; i++) {
    const before = flooded;
    const tier = tierOf(await ask('b', 'b-1'));
    assert.ok(tier === 'ram' || tier === 'slot', `request ${i} found its adapter in ${tier}`);
    assert.ok(flooded - before <= 20, `${flooded - before} requests of the other tenant first`);
  }
  assert.ok(flooded < 400, 'the flood went on meanwhile');
  await Promise.all(flood);
  assert.equal(loads.filter((digest) => digest === 'b-1').length, 1);
  await drain();
});

test('T17: a tenant that comes into a full cache gets its part of it before the queue of the other is served', async () => {
  const { ask, drain } = createLoop(4);
  let flooded = 0;
  const flood = Array.from({ length: 200 }, async (_, i) => {
    await ask('a', `a-${i}`);
    flooded++;
  });
  await Promise.race(flood);
  const answers = await Promise.all([ask('b', 'b-1'), ask('b', 'b-2')]);
  assert.deepEqual(
    answers.map((events) => events.at(-1)?.type),
    ['finished', 'finished'],
  );
  assert.ok(flooded <= 30, `${flooded} of 200 requests were served first`);
  await Promise.all(flood);
  await drain();
});

test('T17: what a tenant prefetches is protected like what its requests have loaded', async () => {
  const { ask, prefetch, loads, drain } = createLoop(8);
  const own = ['b-0', 'b-1', 'b-2', 'b-3', 'b-4', 'b-5'];
  const heavy = { id: 'b', weight: 3 };
  for (const adapter of own) await prefetch(heavy, adapter);
  for (let i = 0; i < 60; i++) await ask('a', `a-${i % 30}`);
  for (const adapter of own) await prefetch(heavy, adapter);
  assert.equal(loads.filter((digest) => digest.startsWith('b')).length, own.length);
  await drain();
});
